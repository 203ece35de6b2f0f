"""From a photograph to a training crop: turned upright on a white square, cut so that the face has its published proportion.

Every step is a matrix [3, 3] in pixel-index coordinates (whole numbers are centres of pixels); they are multiplied and the picture is
sampled once. Numbers without another source are FaceChain's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from .affine import WHITE, homogeneous, similarity_transform, warp_smooth

CROP_SIZE = 512
LARGEST_SIZE, SIZE_STEP = 1536, 64
"""From a crop of this side, training pictures of 1024 pixels are cut without being enlarged."""
FACE_SHARE = 0.35 / 1.15
FACE_HEIGHT = 0.5 / 1.15
SQUARE_RATIO = 1.5
UPRIGHT = np.array(
    [
        [0.31074522411511746, 0.2798131190011913],
        [0.6892073313037804, 0.2797830232679366],
        [0.49997367716346774, 0.5099309118810921],
        [0.35811903020866753, 0.7233174007629063],
        [0.6418878095835022, 0.7232890570786875],
    ]
)


class Upright(NamedTuple):
    """A picture on its square: `matrix` [3, 3] picture -> square, and the side of the square in pixels."""

    matrix: np.ndarray
    side: int


class Window(NamedTuple):
    """A square of a picture, in its pixels; it may extend beyond the edges."""

    left: int
    top: int
    side: int

    def matrix(self, size: int = CROP_SIZE) -> np.ndarray:
        """picture -> the window enlarged to `size` pixels [3, 3]."""
        scale = size / self.side
        return np.array([[scale, 0, (0.5 - self.left) * scale - 0.5], [0, scale, (0.5 - self.top) * scale - 0.5], [0, 0, 1]])


def angle_of(points: np.ndarray) -> float:
    """The angle in radians by which the picture must be turned, clockwise, to bring the face at `points` [5, 2] upright."""
    matrix = similarity_transform(points, UPRIGHT)
    return float(np.arctan2(matrix[1, 0], matrix[0, 0]))


def upright(size: tuple[int, int], angle: float) -> Upright:
    """The (height, width) picture centred on a square one and a half times as long, turned clockwise by `angle` about its centre."""
    height, width = size
    side = int(SQUARE_RATIO * max(height, width))
    left, top, middle = (side - width) // 2, (side - height) // 2, side / 2
    cos, sin = np.cos(angle), np.sin(angle)
    about = np.array([[cos, -sin, middle - cos * middle + sin * middle], [sin, cos, middle - sin * middle - cos * middle], [0, 0, 1]])
    return Upright(about @ np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]]), max(side, 1))


def window_of(box: np.ndarray) -> Window:
    """The published square around the face `box`: its longer side is 0.304 of it, its centre is at 0.435 of the height."""
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(int(max(x1 - x0, y1 - y0) / FACE_SHARE), 1)
    return Window(int((x0 + x1) / 2 - 0.5 * side), int((y0 + y1) / 2 - FACE_HEIGHT * side), side)


def size_for(windows: Sequence[Window]) -> int:
    """Side of crops at which the largest face of all photos keeps its detail: from FaceChain's to LARGEST_SIZE pixels, in steps of 64."""
    largest = max((window.side for window in windows), default=CROP_SIZE)
    return min(max(SIZE_STEP * math.ceil(largest / SIZE_STEP), CROP_SIZE), LARGEST_SIZE)


def cut(image: torch.Tensor, matrix: np.ndarray, size: int = CROP_SIZE, border: float | None = WHITE) -> torch.Tensor:
    """The crop [size, size, 3] that `matrix` [3, 3] makes of `image` [H, W, 3]; `border` outside, or its repeated edge for None."""
    return warp_smooth(image, homogeneous(matrix), (size, size), border).clamp(0, 1)


def contain(size: tuple[int, int], target: int = CROP_SIZE) -> np.ndarray:
    """picture -> a square of `target` pixels that shows all of the (height, width) picture in its middle [3, 3]."""
    height, width = size
    scale = target / max(height, width)
    return np.array([[scale, 0, (target - scale * (width - 1) - 1) / 2], [0, scale, (target - scale * (height - 1) - 1) / 2], [0, 0, 1]])


def grown(box: np.ndarray, ratio: float, size: tuple[int, int]) -> np.ndarray:
    """`box` enlarged by `ratio` about its centre, on whole pixels, cut to the (height, width) picture: int [4]."""
    x0, y0, x1, y1 = (float(value) for value in box)
    wider, higher = (x1 - x0) * (ratio - 1) / 2, (y1 - y0) * (ratio - 1) / 2
    last = np.array([size[1] - 1, size[0] - 1] * 2)
    return np.clip([int(x0) - wider, int(y0) - higher, int(x1) + wider, int(y1) + higher], 0, last).astype(int)
