"""Learning rates over a training: diffusers' numbers, from what the host has."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product

import pytest
import torch
from diffusers.optimization import get_scheduler

from facechain_impl.errors import BadInput
from facechain_impl.identity.training import optimisers
from facechain_impl.identity.training.presets import PRESETS, from_preset
from facechain_impl.identity.training.settings import SCHEDULES, Optimiser, TrainSettings

STEPS = 12


def settings_of(schedule: str, warmup: int = 0, cycles: int = 1) -> TrainSettings:
    return replace(PRESETS["FaceChain"].settings, schedule=schedule, warmup_steps=warmup, cycles=cycles, steps=STEPS)


def adamw(settings: TrainSettings) -> torch.optim.Optimizer:
    chosen, _ = optimisers.optimiser([torch.nn.Parameter(torch.zeros(1))], replace(settings, optimiser=optimisers.Optimiser.ADAMW))
    return chosen


def rates(chosen: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, steps: int) -> list[float]:
    """The learning rate of each step, and two more after the last."""
    found = []
    for _ in range(steps):
        found.append(chosen.param_groups[0]["lr"])
        chosen.step()
        schedule.step()
    return found


@pytest.mark.parametrize(("schedule", "warmup", "cycles"), [*product(SCHEDULES, (0, 1, 5, STEPS - 1), (1, 2, 3))])
def test_every_schedule_gives_the_rates_of_diffusers(schedule, warmup, cycles):
    settings = settings_of(schedule, warmup, cycles)
    ours, theirs = adamw(settings), adamw(settings)
    reference = get_scheduler(schedule, optimizer=theirs, num_warmup_steps=warmup, num_training_steps=STEPS, num_cycles=cycles)
    assert rates(ours, optimisers.schedule(ours, settings), STEPS + 2) == rates(theirs, reference, STEPS + 2)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_needs_no_diffusers(schedule, monkeypatch):
    """And a state that a training saved with diffusers' schedule goes on here."""
    settings = settings_of(schedule, warmup=3, cycles=2)
    theirs = adamw(settings)
    reference = get_scheduler(schedule, optimizer=theirs, num_warmup_steps=3, num_training_steps=STEPS, num_cycles=2)
    rates(theirs, reference, 5)
    for name in [name for name in sys.modules if name.split(".")[0] == "diffusers"]:
        monkeypatch.setitem(sys.modules, name, None)
    ours = adamw(settings)
    resumed = optimisers.schedule(ours, settings)
    ours.load_state_dict(theirs.state_dict())
    resumed.load_state_dict(reference.state_dict())
    assert rates(ours, resumed, STEPS - 5) == rates(theirs, reference, STEPS - 5)


def lora() -> list[torch.nn.Parameter]:
    """The two matrices of a layer as they begin: down random, up zero."""
    with torch.inference_mode(False):
        return [torch.nn.Parameter(torch.randn(4, 8, generator=torch.Generator().manual_seed(0))), torch.nn.Parameter(torch.zeros(8, 4))]


def learn(parameters: list[torch.nn.Parameter], chosen: torch.optim.Optimizer, steps: int) -> list[float]:
    """Towards a product of a fixed target; the loss of each step."""
    found = []
    with torch.inference_mode(False), torch.enable_grad():
        target = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
        for _ in range(steps):
            loss = (parameters[1] @ parameters[0] - target).square().mean()
            chosen.zero_grad()
            loss.backward()
            chosen.step()
            found.append(loss.item())
    return found


class TestAdafactor:
    settings = replace(PRESETS["FaceChain"].settings, optimiser=Optimiser.ADAFACTOR, steps=STEPS, learning_rate=1e-3)

    def test_its_learning_rate_is_that_of_adamw(self):
        """A first step moves each number by about the learning rate, also in the matrix that begins at zero."""
        moved = {}
        for kind in (Optimiser.ADAMW, Optimiser.ADAFACTOR):
            parameters = lora()
            chosen, note = optimisers.optimiser(parameters, replace(self.settings, optimiser=kind))
            learn(parameters, chosen, 1)
            moved[kind] = parameters[1].detach().square().mean().sqrt().item()
            assert not note
        assert moved[Optimiser.ADAMW] == pytest.approx(1e-3, rel=0.01) and 0.5e-3 < moved[Optimiser.ADAFACTOR] < 2e-3

    def test_it_keeps_a_row_and_a_column_and_no_matrix(self):
        parameters = lora()
        chosen, _ = optimisers.optimiser(parameters, self.settings)
        losses = learn(parameters, chosen, 300)
        assert losses[-1] < 0.9 * losses[0]
        kept = [value for value in chosen.state[parameters[0]].values() if value.ndim]
        assert sum(value.numel() for value in kept) == 4 + 8

    def test_an_older_pytorch_is_named(self, monkeypatch):
        optimisers.require_package(self.settings)
        monkeypatch.delattr(torch.optim, "Adafactor")
        with pytest.raises(BadInput, match="has no Adafactor; PyTorch 2.5"):
            optimisers.require_package(self.settings)


class TestProdigy:
    def test_without_its_package_it_is_named(self, monkeypatch):
        monkeypatch.setattr(optimisers.importlib.util, "find_spec", lambda name: None)
        with pytest.raises(BadInput, match="needs the package prodigyopt.*pip install prodigyopt"):
            optimisers.require_package(from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY}))

    def test_its_learning_rate_is_1_where_none_is_chosen(self):
        assert from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY}).learning_rate == 1.0
        assert from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY, "learning_rate": 0.5}).learning_rate == 0.5
        assert from_preset("FaceChain", 1, {"optimiser": Optimiser.ADAFACTOR}).learning_rate == 1.5e-4

    def test_two_learning_rates_are_refused(self):
        with pytest.raises(BadInput, match="one learning rate for all"):
            from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY, "text_encoder_learning_rate": 1e-5, "train_text_encoder": True})

    def test_it_finds_a_learning_rate_and_learns(self, prodigyopt):
        settings, parameters = from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY}), lora()
        optimisers.require_package(settings)
        chosen, note = optimisers.optimiser(parameters, settings)
        assert isinstance(chosen, prodigyopt.Prodigy) and not note
        at_first = optimisers.found_rate(chosen)
        losses = learn(parameters, chosen, 300)
        assert optimisers.found_rate(chosen) > 100 * at_first and losses[-1] < 0.7 * losses[0]

    def test_its_state_comes_back(self, prodigyopt, tmp_path):
        settings = from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY})
        whole, first = lora(), lora()
        learn(whole, optimisers.optimiser(whole, settings)[0], 40)
        chosen = optimisers.optimiser(first, settings)[0]
        learn(first, chosen, 25)
        torch.save([chosen.state_dict(), [value.detach() for value in first]], tmp_path / "state.pt")
        with torch.inference_mode(False):
            state, values = torch.load(tmp_path / "state.pt", weights_only=True)
            second = [torch.nn.Parameter(value.clone()) for value in values]
        resumed = optimisers.optimiser(second, settings)[0]
        resumed.load_state_dict(state)
        learn(second, resumed, 15)
        assert all(torch.equal(one, other) for one, other in zip(whole, second))

    def test_a_learning_rate_of_another_optimiser_is_noticed(self, prodigyopt):
        settings = from_preset("FaceChain", 1, {"optimiser": Optimiser.PRODIGY, "learning_rate": 1e-4})
        assert "learning_rate 0.0001 multiplies it, and 1 is usual" in optimisers.optimiser(lora(), settings)[1]

    def test_an_optimiser_without_an_estimate_multiplies_by_nothing(self):
        assert optimisers.found_rate(adamw(settings_of("constant"))) == 1.0
