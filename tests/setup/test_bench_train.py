"""The verdict of `run.py bench train`."""

from __future__ import annotations

import pytest

from bench.train import GOALS, missed


@pytest.mark.parametrize(
    ("kind", "ours", "said"),
    [
        ("cpu", {"seconds": 1.0, "memory": 100}, []),
        ("cpu", {"seconds": 1.1, "memory": 100}, ["seconds: 1.10 of that of diffusers + peft"]),
        ("cpu", {"seconds": 1.0, "memory": 130}, ["memory: 1.30 of that of diffusers + peft"]),
        ("cpu", {"seconds": 1.7, "memory": 210}, ["diffusers", "diffusers", "0.85 of that of the host's", "1.05 of that of the host's"]),
        ("cuda", {"seconds": 0.7, "memory": 300}, []),
        ("cuda", {"seconds": 0.9, "memory": 100}, ["seconds: 0.90 of that of diffusers + peft"]),
    ],
)  # fmt: skip
def test_goals_that_are_missed_are_named(kind, ours, said):
    found = {"pack": ours, "diffusers": {"seconds": 1.0, "memory": 100}, "encoding": {"seconds": 3.0, "memory": 1}}
    problems = missed({**found, "host": {"seconds": 2.0, "memory": 200}}, GOALS[kind])
    assert len(problems) == len(said) and all(part in problem for part, problem in zip(said, problems))
