"""The crop of the face, and its place in the picture."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np

from ..perception.landmarks import LEFT_MOUTH, RIGHT_MOUTH, eye_centres

EYES_TO_BOX, MOUTH_TO_BOX = 2.0, 1.8
SHRINK_AT = 512
BORDER, LEAST_BORDER = 0.1, 3

Box = tuple[int, int, int, int]


class Mode(str, Enum):
    """Which part of the picture is animated, and whether it is pasted into the whole picture."""

    CROP = "crop"
    EXTCROP = "extcrop"
    RESIZE = "resize"
    FULL = "full"
    EXTFULL = "extfull"

    @property
    def pastes(self) -> bool:
        return self in (Mode.FULL, Mode.EXTFULL)

    @property
    def extended(self) -> bool:
        return self in (Mode.EXTCROP, Mode.EXTFULL)


@dataclass(frozen=True)
class Cut:
    """How a picture of `picture` (width, height) is cut: shrunk to `size`, then `outer`, then `inner` inside it.

    outer: x0 y0 x1 y1 in the shrunk picture. inner: the same relative to outer, not rounded.
    """

    mode: Mode
    picture: tuple[int, int]
    size: tuple[int, int]
    outer: Box
    inner: tuple[float, float, float, float]

    @property
    def shrunk_box(self) -> Box:
        """The animated part, in the shrunk picture."""
        if self.mode is Mode.RESIZE:
            return (0, 0, *self.size)
        if self.mode.extended:
            return self.outer
        (x, y, _, _), (left, top, right, bottom) = self.outer, map(int, self.inner)
        return x + left, y + top, x + right, y + bottom

    @property
    def box(self) -> Box:
        """The animated part, x0 y0 x1 y1 in the picture."""
        scale = np.array(self.picture) / self.size
        corners = np.rint(np.reshape(self.shrunk_box, (2, 2)) * scale).astype(int)
        return tuple(corners.clip(0, self.picture).ravel().tolist())

    @property
    def aspect(self) -> tuple[int, int]:
        """Width and height whose ratio the finished crop has."""
        if self.mode is Mode.RESIZE:
            return self.picture
        left, top, right, bottom = self.box
        return right - left, bottom - top

    @property
    def centre(self) -> tuple[int, int]:
        left, top, right, bottom = self.box
        return (left + right) // 2, (top + bottom) // 2

    def framed(self, pixels: np.ndarray) -> np.ndarray:
        """The part of `pixels` uint8 [H, W, 3] that is animated, before it is made square."""
        if self.mode is Mode.RESIZE:
            return pixels
        if pixels.shape[1::-1] != self.size:
            pixels = cv2.resize(pixels, self.size)
        left, top, right, bottom = self.shrunk_box
        return pixels[top:bottom, left:right]

    def square(self, pixels: np.ndarray, size: int) -> np.ndarray:
        """`pixels` of the whole picture -> the networks' input, uint8 [size, size, 3]. The aspect is not kept."""
        return cv2.resize(self.framed(pixels), (size, size))

    def to_square(self, points: np.ndarray, size: int) -> np.ndarray:
        """Points [N, 2] of the picture in pixels of the square."""
        left, top, right, bottom = self.box
        return (points + 0.5 - [left, top]) * [size / (right - left), size / (bottom - top)] - 0.5


def cut(landmarks: np.ndarray, picture: tuple[int, int], mode: Mode) -> Cut:
    """The cut for 68 landmarks [68, 2] of a picture of (width, height)."""
    centre, across, down = _axes(landmarks.astype(np.float32))
    corners = np.stack([centre - across - down, centre - across + down, centre + across + down, centre + across - down])
    side = 2 * float(np.hypot(*across))
    size, shrink = picture, int(side / SHRINK_AT * 0.5)
    if shrink > 1:
        size = (round(picture[0] / shrink), round(picture[1] / shrink))
        corners, side = corners / shrink, side / shrink
    border = max(round(side * BORDER), LEAST_BORDER)
    low = np.floor(corners.min(0)).astype(int) - border
    high = np.ceil(corners.max(0)).astype(int) + border
    outer = (max(int(low[0]), 0), max(int(low[1]), 0), min(int(high[0]), size[0]), min(int(high[1]), size[1]))
    return Cut(mode, picture, size, outer, _inner(corners - outer[:2] + 0.5, outer))


def _axes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre of the face, and half of its square along and across the line of the eyes (as FFHQ was cut)."""
    left_eye, right_eye = eye_centres(landmarks)
    eyes = (left_eye + right_eye) * 0.5
    between = right_eye - left_eye
    to_mouth = (landmarks[LEFT_MOUTH] + landmarks[RIGHT_MOUTH]) * 0.5 - eyes
    across = between - to_mouth[::-1] * [-1, 1]
    across /= np.hypot(*across)
    across *= max(np.hypot(*between) * EYES_TO_BOX, np.hypot(*to_mouth) * MOUTH_TO_BOX)
    return eyes + to_mouth * 0.1, across, across[::-1] * [-1, 1]


def _inner(corners: np.ndarray, outer: Box) -> tuple[float, float, float, float]:
    """The upright box of the tilted square's corners (upper left, lower left, lower right, upper right)."""
    (ax, ay), (bx, by), (cx, cy), (dx, dy) = corners.tolist()
    right, bottom = outer[2] - outer[0], outer[3] - outer[1]
    return max(min(ax, bx), 0.0), max(min(ay, dy), 0.0), min(max(cx, dx), right), min(max(by, cy), bottom)
