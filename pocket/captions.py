"""What the pocket model was told of its pictures: a few plain words, in changing order, sometimes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NOTHING = ""
CLOSE = "close-up"
FRAMES = ("{}", "{}, close-up", "{}, close-up, high detail face", "{}, portrait", "a portrait of {}")
NOTHING_SAID = 0.1


@dataclass(frozen=True)
class Words:
    """What a picture shows. medium: drawing or painting. extras: such as "hat"."""

    medium: str
    sex: str
    extras: tuple[str, ...] = ()


def captions(words: Words) -> list[str]:
    """Everything that is said of such a picture, without repeats."""
    subjects = ["a person", f"a {words.sex}", f"a {words.medium} of a {words.sex}"]
    plain = [frame.format(subject) for subject in subjects for frame in FRAMES]
    return list(dict.fromkeys([*plain, *(f"a {words.sex}, {extra}, {CLOSE}" for extra in words.extras)]))


def choose(said: Sequence[str], rng: np.random.Generator) -> str:
    """One of the captions, or nothing, which teaches the model to work without words."""
    return NOTHING if rng.random() < NOTHING_SAID else said[int(rng.integers(len(said)))]
