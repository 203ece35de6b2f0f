"""Trainings that can be stopped anywhere."""

from __future__ import annotations

import pytest
import torch

from pocket import training
from pocket.training import Plan, train


class Stopped(Exception):
    pass


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))


def run(plan, state, stop_at: int | None = None):
    model, calls = network(), []

    def loss(generator, batch):
        if len(calls) == stop_at:
            raise Stopped
        calls.append(1)
        x = torch.randn((batch, 4), generator=generator)
        return (model(x) - x.flip(1)).pow(2).mean()

    return train(model, loss, plan, state, "Test"), len(calls)


@pytest.mark.parametrize("average", [False, True])
def test_stopped_and_resumed_it_ends_bit_identically(average, tmp_path, monkeypatch):
    plan = Plan(30, 8, 1e-2, seed=5, average=average)
    whole, _ = run(plan, tmp_path / "whole.pt")
    monkeypatch.setattr(training, "SAVE_SECONDS", -1)
    with pytest.raises(Stopped):
        run(plan, tmp_path / "parts.pt", stop_at=17)
    resumed, steps = run(plan, tmp_path / "parts.pt")
    assert steps == 13
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), resumed.state_dict().values()))


def test_another_plan_begins_anew(tmp_path):
    run(Plan(5, 8, 1e-2, seed=5), tmp_path / "a.pt")
    assert run(Plan(6, 8, 1e-2, seed=5), tmp_path / "a.pt")[1] == 6


def test_it_learns(tmp_path, capsys):
    model, _ = run(Plan(300, 32, 2e-2, seed=1), tmp_path / "a.pt")
    x = torch.randn(100, 4)
    assert (model(x) - x.flip(1)).pow(2).mean() < 0.3 * (network()(x) - x.flip(1)).pow(2).mean()
    assert "step 1 of 300" in capsys.readouterr().out


def test_the_rate_rises_stays_and_falls():
    plan = Plan(1000, 1, 2.0, seed=0, level=0.5)
    assert plan.rate_at(0) == pytest.approx(0.1)
    assert plan.rate_at(19) == plan.rate_at(499) == 2.0
    assert plan.rate_at(749) == pytest.approx(1.02, rel=0.01)
    assert plan.rate_at(999) == pytest.approx(0.04, rel=0.01)


def test_the_average_lies_between_the_last_weights(tmp_path):
    last, _ = run(Plan(40, 8, 1e-2, seed=5), tmp_path / "a.pt")
    mean, _ = run(Plan(40, 8, 1e-2, seed=5, average=True), tmp_path / "b.pt")
    start = network()
    for begun, averaged, ended in zip(start.parameters(), mean.parameters(), last.parameters()):
        assert 0 < (averaged - begun).norm() < (ended - begun).norm() * 1.2
        assert not torch.equal(averaged, ended)
