"""Which step is used: held against always taking the last and against taking the maximum, on curves whose truth is known."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from facechain_impl.identity.training import judge
from facechain_impl.identity.training.judge import LOOKS, Look, choose, steps_of_looks

PICTURES, SPREAD, DRAWS = 4, 0.08, 1000
"""Portraits in a look, how much their likeness varies, and simulated trainings of each kind."""


def looks(*scores: tuple[float, ...] | float) -> list[Look]:
    return [Look(step, one if isinstance(one, tuple) else (one, one), 0.1) for step, one in enumerate(scores, 1)]


def curves(random: np.random.Generator, at: np.ndarray) -> dict[str, np.ndarray]:
    """True likeness at these fractions of a training."""
    low, high = random.uniform(0.1, 0.3), random.uniform(0.5, 0.7)
    peak, fall, collapse = random.uniform(0.4, 0.7), random.uniform(0.1, 0.3), random.uniform(0.16, 0.4)
    rising = low + (high - low) * at
    after = np.clip((at - peak) / (1 - peak), 0, None)
    late = rising.copy()
    late[-1] = late[-2] - collapse
    return {
        "rising": rising, "flat": np.full(len(at), high), "early peak": high - fall * after**2 - 0.3 * np.clip(peak - at, 0, None),
        "late collapse": late,
    }  # fmt: skip


def table(regrets: dict[str, dict[str, list[float]]], caught: list[bool]) -> str:
    """The mean regrets of each rule, over all kinds of curves and of each kind, as docs/testing.md has them."""
    rules, kinds = list(regrets), list(next(iter(regrets.values())))
    rows = [("mean regret", *rules), *[("---",) * (1 + len(rules))]]
    rows += [("all", *(f"{np.mean(list(regrets[rule].values())):.3f}" for rule in rules))]
    rows += [(kind, *(f"{np.mean(regrets[rule][kind]):.3f}" for rule in rules)) for kind in kinds]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{lines}\n\nCollapses caught: {np.mean(caught):.1%}."


@pytest.mark.parametrize("between", [0.0, 0.2], ids=["alike prompts", "prompts that differ"])
def test_regret_and_collapses_over_simulated_trainings(capsys, between):
    """between: how much prompts and seeds differ among themselves, the same in every look. The numbers are shown, and those without such
    differences stand in docs/testing.md."""
    random = np.random.default_rng(0)
    steps = steps_of_looks(1000, LOOKS)
    regrets: dict[str, dict[str, list[float]]] = {}
    caught, caught_unpaired = [], []
    for _ in range(DRAWS):
        for kind, truth in curves(random, np.array(steps) / 1000).items():
            drawn = truth[:, None] + random.normal(0, between, PICTURES) + random.normal(0, SPREAD, (len(steps), PICTURES))
            seen = [Look(step, tuple(scores), 0.0) for step, scores in zip(steps, drawn)]
            chosen = {"judge": seen.index(choose(seen)), "always last": len(seen) - 1, "maximum": int(drawn.mean(1).argmax())}
            for rule, index in chosen.items():
                regrets.setdefault(rule, {}).setdefault(kind, []).append(truth.max() - truth[index])
            if kind == "late collapse":
                caught.append(chosen["judge"] != len(seen) - 1)
                caught_unpaired.append(max(look.score for look in seen) - seen[-1].score > unpaired(seen))
    means = {rule: float(np.mean([value for values in found.values() for value in values])) for rule, found in regrets.items()}
    with capsys.disabled():
        sys.stdout.write(f"\n{table(regrets, caught)} Without pairing: {np.mean(caught_unpaired):.1%}.\n")
    assert means["judge"] < means["maximum"] < means["always last"]
    assert np.mean(caught) >= 0.95
    if between:
        assert np.mean(caught_unpaired) < 0.95
    else:
        page = Path(__file__).parents[3] / "docs/testing.md"
        assert table(regrets, caught) in page.read_text("utf-8"), f"{page} has other numbers than those shown"


def test_most_looks_are_where_the_learning_rate_has_fallen():
    """A cosine is below half of its beginning in the second half."""
    steps = steps_of_looks(1000, LOOKS)
    assert len(steps) == LOOKS and 6 <= LOOKS <= 8 and steps[-1] == 1000
    assert sum(step > 500 for step in steps) > LOOKS / 2
    gaps = np.diff(steps)
    assert all(later <= earlier for earlier, later in zip(gaps, gaps[1:]))


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 800])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_last_step_is_always_looked_at(steps, count):
    found = steps_of_looks(steps, count)
    assert found[-1] == steps and found[0] >= 1 and len(found) <= count and list(found) == sorted(set(found))


def test_the_last_step_wins_unless_an_earlier_one_is_better_by_more_than_chance():
    assert choose(looks((0.5, 0.6), (0.4, 0.62))).step == 2
    assert choose(looks((0.5, 0.52), (0.1, 0.12))).step == 1
    assert choose(looks((0.3, 0.9), (0.5, 0.4))).step == 2


def test_what_a_prompt_adds_to_every_look_is_no_chance():
    """A full-length portrait is always less alike than a close one, and the last look is worse in both."""
    steady = looks((0.3, 0.9), (0.31, 0.9), (0.2, 0.81))
    assert choose(steady).step == 2 and steady[1].score - steady[2].score < unpaired(steady)


def unpaired(given: list[Look]) -> float:
    """The standard error of a difference between looks whose prompts and seeds differ."""
    return math.sqrt(2 * float(np.mean([np.var(look.scores, ddof=1) for look in given])) / len(given[0].scores))


def test_short_trainings_are_looked_at_less_often():
    assert [judge.affordable(7, steps) for steps in (1, 24, 60, 800)] == [1, 1, 2, 7]
    assert judge.affordable(0, 800) == 0


def test_of_equals_the_later_wins():
    assert choose(looks((0.6, 0.61), (0.6, 0.61), (0.1, 0.11))).step == 2


def test_without_scores_the_last_step_is_used():
    assert choose([Look(1, (), 0.1), Look(2, (), 0.9)]).step == 2
    assert choose(looks((0.9, 0.9))).step == 1


def test_one_picture_says_nothing_about_chance():
    assert judge.noise([Look(1, (0.9,), 0.0), Look(2, (0.1,), 0.0)]) == math.inf
    assert choose([Look(1, (0.9,), 0.0), Look(2, (0.1,), 0.0)]).step == 2


def test_a_look_that_could_not_be_drawn_does_not_hide_a_better_one():
    unseen = Look(2, (), 0.1)
    first, _, last = looks((0.5, 0.52), (), (0.1, 0.12))
    assert choose([first, unseen, last]).step == 1 and judge.noise([first, unseen, last]) == judge.noise([first, last])


def test_the_noise_of_a_difference_by_hand():
    """The differences 0.1 and 0.3 have the variance 0.02, and their mean, of two, half of it; of a look alone the scores have 0.02."""
    assert judge.noise(looks((0.1, 0.3), (0.2, 0.6))) == pytest.approx(math.sqrt(0.01))
    assert judge.noise(looks((0.1, 0.3))) == pytest.approx(math.sqrt(0.02))
    assert judge.noise(looks((0.1, 0.3), (0.1, 0.2, 0.3))) == pytest.approx(math.sqrt(2 * 0.015 / 2))
