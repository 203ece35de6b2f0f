"""How long the demo still takes: estimated from the jobs that are done, once there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

FLOOR = 0.05
"""What a job that takes longer than expected is said to need still, as a share of its time."""


class Kind(Enum):
    """What a job does. The value: the time of one unit, compared with a sampling step of one picture, until it has been measured."""

    SAMPLING = 1.0
    PAINTING = 2.0
    TRAINING = 2.5


@dataclass(frozen=True)
class Job:
    """A piece of work. units: sampling steps of one picture, or training steps, in all; 0 for what may be left out, never measured."""

    title: str
    kind: Kind
    units: float


class Clock:
    """The jobs in their order, one of which runs."""

    def __init__(self, jobs: Sequence[Job], now: Callable[[], float] = time.monotonic):
        self._jobs, self._now = list(jobs), now
        self._done, self._start = 0, now()
        self._rates: dict[Kind, float] = {}

    def begin(self, title: str) -> str:
        """Start the next job, which has this title. Returns its place, such as 3/14."""
        if self._jobs[self._done].title != title:
            raise ValueError(f"the next job is {self._jobs[self._done].title}, not {title}")
        self._start = self._now()
        return f"{self._done + 1}/{len(self._jobs)}"

    def end(self) -> None:
        """The running job is done; later ones of its kind will take as long for each unit."""
        job = self._jobs[self._done]
        if job.units:
            self._rates[job.kind] = (self._now() - self._start) / job.units
        self._done, self._start = self._done + 1, self._now()

    def remaining(self) -> float | None:
        """Seconds until all is done; None while nothing was measured."""
        if self._done == len(self._jobs):
            return 0.0
        if not self._rates:
            return None
        running, *later = (job.units * self._rate(job.kind) for job in self._jobs[self._done :])
        return max(running - (self._now() - self._start), FLOOR * running) + sum(later)

    def text(self) -> str:
        seconds = self.remaining()
        if seconds is None:
            return "the remaining time is known after the first pictures"
        return f"about {round(seconds / 60)} min left" if seconds >= 90 else f"about {max(5, 5 * round(seconds / 5))} s left"

    def _rate(self, kind: Kind) -> float:
        """Seconds of a unit; of a kind that was not measured, in proportion to one that was."""
        if kind in self._rates:
            return self._rates[kind]
        other, rate = next(iter(self._rates.items()))
        return rate * kind.value / other.value
