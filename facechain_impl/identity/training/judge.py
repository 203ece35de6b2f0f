"""Which step of a training is used: the last, unless an earlier one is better by more than chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOOKS = 7
STEPS_BETWEEN = 25
"""A look takes as long as some twenty steps: short trainings have fewer."""
# Where the first look is, and how much closer the later ones lie, when the learning rate has fallen.
_FIRST, _CLOSER = 0.35, 1.5


@dataclass(frozen=True)
class Look:
    """One look at a training after `step`. scores: of sample portraits, always from the same prompts and seeds, 0 for one without a face;
    empty where nothing scores them. loss: on fixed noise and noise levels."""

    step: int
    scores: tuple[float, ...]
    loss: float

    @property
    def score(self) -> float | None:
        return float(np.mean(self.scores)) if self.scores else None


def steps_of_looks(steps: int, count: int) -> tuple[int, ...]:
    """After which of `steps` to look: `count` times at fixed fractions, the last time after the last step."""
    fractions = [1 - (1 - _FIRST) * (1 - number / max(count - 1, 1)) ** _CLOSER for number in range(count - 1)]
    return tuple(sorted({max(1, round(fraction * steps)) for fraction in fractions} | {steps}))


def affordable(count: int, steps: int) -> int:
    """How many of `count` looks a training of so many steps can afford; at least one, at its end, if any are wanted."""
    return min(count, max(1, steps // STEPS_BETWEEN))


def noise(looks: Sequence[Look]) -> float:
    """Standard error of the difference between the mean scores of two looks, from all looks that have scores.

    Prompts and seeds are the same in every look. A prompt's effect on all of them is not chance: it is left out, and what remains of the
    variance is that of a two-way analysis without repetition (of one look alone, that within it)."""
    scored = [look.scores for look in looks if look.scores]
    counts = {len(scores) for scores in scored}
    if min(counts, default=0) < 2:
        return math.inf
    if len(scored) == 1 or len(counts) > 1:
        return math.sqrt(2 * float(np.mean([np.var(scores, ddof=1) for scores in scored])) / min(counts))
    table = np.array(scored)
    rest = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return math.sqrt(2 * float((rest**2).sum()) / freedom / table.shape[1])


def choose(looks: Sequence[Look]) -> Look:
    """The last look, or the best earlier one where it is better by more than one standard error."""
    *earlier, last = looks
    scored = [(look.score, look.step, look) for look in earlier if look.score is not None]
    if last.score is None or not scored:
        return last
    score, _, best = max(scored, key=lambda one: one[:2])
    return best if score - last.score > noise(looks) else last
