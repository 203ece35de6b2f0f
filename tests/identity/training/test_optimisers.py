"""Learning rates over a training: diffusers' numbers, from what the host has."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import product

import pytest
import torch
from diffusers.optimization import get_scheduler

from facechain_impl.identity.training import optimisers
from facechain_impl.identity.training.settings import PRESETS, SCHEDULES, TrainSettings

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
