"""How alike two faces look, by their pixels: no network and no training loss has a part in it.

Both are brought into one position by the Built-in detector's five points, or by their place in the picture where it finds none, and
compared as grey pictures of 32 x 32 and as their edges, each by normalised correlation at the best of some small shifts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from facechain_impl.geometry import affine
from facechain_impl.perception.detection import BUILT_IN, Detector, open_detector
from facechain_impl.perception.faces import main_face

SIDE, FINE = 32, 64
REACH = 2
"""Pixels of the small picture by which a face may be moved: what the detector's eyes are off by."""
COPY_SIDE = 64
USUAL_PLACE = affine.ARCFACE_112 / 112
"""Of the five points, in sides of the aligned face."""


@dataclass(frozen=True)
class Aligned:
    """grey [32, 32] and edges [32, 32] of a face, each with a border of REACH more on every side. found: whether a detector saw it."""

    grey: np.ndarray
    edges: np.ndarray
    found: bool


class Measure:
    """Aligns pictures and compares them. usual: where a face is taken to be if the detector finds none: middle and side of
    the aligned square, in shares of the picture's."""

    def __init__(self, usual: tuple[float, float, float], detector: Detector | None = None):
        self._usual, self._detector = usual, detector or open_detector(BUILT_IN)

    def align(self, pictures: list[torch.Tensor]) -> list[Aligned]:
        """pictures: [H, W, 3] in 0..1."""
        faces = [main_face(some) for some in self._detector.detect(pictures)]
        return [self._aligned(picture, None if face is None else face.points) for picture, face in zip(pictures, faces)]

    def _aligned(self, picture: torch.Tensor, points: np.ndarray | None) -> Aligned:
        margin = REACH * FINE // SIDE
        places = USUAL_PLACE * FINE + margin
        if points is None:
            matrix = _usual(picture.shape[:2], self._usual, FINE) + [[0, 0, margin], [0, 0, margin]]
        else:
            matrix = affine.similarity_transform(points, places)
        side = FINE + 2 * margin
        grey = affine.warp_smooth(picture.float(), matrix, (side, side), border=None).mean(-1).numpy()
        return Aligned(_small(grey), _small(edges(grey)), points is not None)


def _usual(shape: tuple[int, ...], usual: tuple[float, float, float], side: int) -> np.ndarray:
    """picture -> its square with the middle (x, y) and the width in `usual`, shares of the picture's, as `side` pixels [2, 3]."""
    height, width = shape
    scale = side / (usual[2] * width)
    return np.array(
        [[scale, 0, side / 2 - 0.5 - scale * (usual[0] * width - 0.5)], [0, scale, side / 2 - 0.5 - scale * (usual[1] * height - 0.5)]]
    )


def edges(grey: np.ndarray) -> np.ndarray:
    """How steep a picture [H, W] is at each place."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    return np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))


def _small(fine: np.ndarray) -> np.ndarray:
    size = SIDE + 2 * REACH
    return cv2.resize(fine.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)


def likeness(one: Aligned, other: Aligned) -> float:
    """From -1 to 1: the mean of the correlations of grey and of edges, at the best shift."""
    middle = slice(REACH, REACH + SIDE)
    best = -1.0
    for down in range(2 * REACH + 1):
        for across in range(2 * REACH + 1):
            moved = slice(down, down + SIDE), slice(across, across + SIDE)
            parts = [correlation(a[middle, middle], b[moved]) for a, b in ((one.grey, other.grey), (one.edges, other.edges))]
            best = max(best, sum(parts) / 2)
    return best


def to_photos(portrait: Aligned, photos: list[Aligned]) -> float:
    """Mean likeness to the photos of a person."""
    return float(np.mean([likeness(portrait, photo) for photo in photos]))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Normalised correlation of two arrays of one shape; 0 where one is flat."""
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 1e-9 else 0.0


def copied(one: torch.Tensor, other: torch.Tensor) -> float:
    """How nearly two whole pictures are the same: correlation of their colours at 64 x 64, not aligned."""
    return correlation(*(_coloured(picture) for picture in (one, other)))


def _coloured(picture: torch.Tensor) -> np.ndarray:
    pixels = cv2.resize(picture.float().numpy(), (COPY_SIDE, COPY_SIDE), interpolation=cv2.INTER_AREA)
    return pixels - pixels.mean((0, 1))
