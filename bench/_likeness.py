"""How alike two faces look, by their pixels: no network and no training loss has a part in it.

Both are brought into one position by the Built-in detector's five points, or by their place in the picture where it finds none, and
compared as grey pictures of 32 x 32 and as their edges, each by normalised correlation in an oval, which leaves hair and background out,
at the best of some small shifts and scales: the detector's eyes are off by some pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from facechain_impl.geometry import affine
from facechain_impl.perception.detection import BUILT_IN, Detector, open_detector
from facechain_impl.perception.faces import main_face

SIDE, FINE = 32, 64
REACH, SCALES = 2, (0.85, 1.0, 1.15)
"""Pixels of the small picture by which a face may be moved, and how much larger it may be."""
_down, _across = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
OVAL = (_across / 13) ** 2 + (_down / 16) ** 2 < 1
"""The face in an aligned picture."""
COPY_SIDE = 64
USUAL_PLACE = (affine.ARCFACE_112 + 0.5) / 112
"""Of the five points, in sides of the aligned face from its upper left corner."""


Layer = tuple[np.ndarray, np.ndarray]
"""grey and edges [36, 36]: 32 pixels and REACH more on every side."""


@dataclass(frozen=True)
class Aligned:
    """A face at each of SCALES. found: whether a detector saw it."""

    layers: tuple[Layer, ...]
    found: bool

    @property
    def plain(self) -> Layer:
        return self.layers[SCALES.index(1.0)]


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
        matrix = _usual(picture.shape[:2], self._usual) if points is None else affine.similarity_transform(points, USUAL_PLACE)
        return Aligned(tuple(_layer(picture.float(), matrix, scale) for scale in SCALES), points is not None)


def _layer(picture: torch.Tensor, matrix: np.ndarray, scale: float) -> Layer:
    """matrix: picture -> aligned face, whose side is 1 [2, 3]."""
    margin = REACH * FINE // SIDE
    larger = scale * matrix
    larger[:, 2] += (1 - scale) / 2
    larger *= FINE
    larger[:, 2] += margin - 0.5
    side = FINE + 2 * margin
    grey = affine.warp_smooth(picture, larger, (side, side), border=None).mean(-1).numpy()
    return _small(grey), _small(edges(grey))


def _usual(shape: tuple[int, ...], usual: tuple[float, float, float]) -> np.ndarray:
    """picture -> its square with the middle (x, y) and the width in `usual`, shares of the picture's, as a square of side 1 [2, 3]."""
    height, width = shape
    x, y, side = usual[0] * width, usual[1] * height, usual[2] * width
    return np.array([[1 / side, 0, 0.5 - x / side], [0, 1 / side, 0.5 - y / side]])


def edges(grey: np.ndarray) -> np.ndarray:
    """How steep a picture [H, W] is at each place."""
    soft = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    return np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))


def _small(fine: np.ndarray) -> np.ndarray:
    size = SIDE + 2 * REACH
    return cv2.resize(fine.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)


def likeness(one: Aligned, other: Aligned) -> float:
    """From -1 to 1: the mean of the correlations of grey and of edges, at the best shift and scale of the other."""
    shifts = range(2 * REACH + 1)
    return max(_at(one.plain, layer, down, across) for layer in other.layers for down in shifts for across in shifts)


def _at(one: Layer, other: Layer, down: int, across: int) -> float:
    middle = slice(REACH, REACH + SIDE)
    return sum(correlation(a[middle, middle][OVAL], b[down : down + SIDE, across : across + SIDE][OVAL]) for a, b in zip(one, other)) / 2


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
