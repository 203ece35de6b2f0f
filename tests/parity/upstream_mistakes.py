"""Mistakes of SadTalker that its fixtures contain and the pack does not repeat: each replaces one small part of the pack's own code, so
that what is compared with the fixtures is the rest of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from facechain_impl.perception import landmarks98
from facechain_impl.talking import crop, motion


def neighbours(cells: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The neighbours above and below are the corners of the map for all points as soon as one point is at its edge."""
    last = height * width - 1
    below = np.full_like(cells, last) if (cells + width > last).any() else cells + width
    above = np.zeros_like(cells) if (cells - width <= 0).any() else cells - width
    return (cells + 1).clip(0, last), cells - 1, below, above


@contextmanager
def corners_for_all() -> Iterator[None]:
    """Landmarks are read from heat maps with upstream's neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landmarks98, "neighbours", neighbours)
        yield


class Cut(crop.Cut):
    """Boxes of a shrunk picture are not scaled back, and an extended crop has the aspect of the inner box."""

    @property
    def box(self) -> crop.Box:
        return self.shrunk_box

    @property
    def aspect(self) -> tuple[int, int]:
        if self.mode is crop.Mode.RESIZE:
            return self.picture
        left, top, right, bottom = map(int, self.inner)
        return right - left, bottom - top

    def framed(self, pixels: np.ndarray) -> np.ndarray:
        """Of the inner box only what is in the outer one."""
        (x0, y0, x1, y1), (left, top, right, bottom) = self.outer, self.inner
        inner = left, top, min(right, x1 - x0), min(bottom, y1 - y0)
        return crop.Cut(self.mode, self.picture, self.size, self.outer, inner).framed(pixels)


def cut(landmarks: np.ndarray, picture: tuple[int, int], mode: crop.Mode) -> Cut:
    """The right and the lower edge of the inner box are limited by the width of the picture instead of the outer box."""
    inner, (width, _) = crop._inner, crop.cut(landmarks, picture, mode).size
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crop, "_inner", lambda corners, outer: inner(corners, (0, 0, width, width)))
        return Cut(**vars(crop.cut(landmarks, picture, mode)))


def angle_curve(degrees: tuple[float, ...], frames: int) -> torch.Tensor:
    """The way starts anew at each of the angles, and never quite reaches the last."""
    distances = motion.travelled(degrees)
    if len(degrees) == 1:
        return motion.angle_curve(degrees, frames)
    step = distances[-1] / (frames - 1)
    legs = [np.abs(np.arange(a, b, step * abs(b - a) / (b - a)) - a) for a, b in zip(degrees, degrees[1:])]
    places = np.concatenate([start + leg for start, leg in zip(distances, legs)])[:frames]
    return motion.angles_at(degrees, np.pad(places, (0, frames - len(places)), mode="edge"))
