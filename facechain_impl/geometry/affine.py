"""Five-point alignment: similarity transforms to the published templates, and warping by them.

Points are float [5, 2], x before y: left eye, right eye, nose, left and right mouth corner, left meaning left in the picture.
Matrices are float64 [2, 3], picture -> crop, in pixel-index coordinates: whole numbers are the centres of pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import BadInput

_REFERENCE = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
ARCFACE_112 = np.array(_REFERENCE, np.float32).astype(np.float64)  # rounded as the networks were trained
FUSION_256 = (np.array(_REFERENCE) * 256 / 112 - 128) * 0.85 + 128
ENHANCE_1024 = (ARCFACE_112 + 28) * 1024 / 168  # a quarter of 112 pixels of room on every side
WHITE, BLACK = 1.0, 0.0


def similarity_transform(points: np.ndarray, reference: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """The rotation, scale and shift [2, 3] that brings `points` [N, 2] closest to `reference` [N, 2] (Umeyama, 1991).

    `mirrored` allows a reflection where that is closer. Raises BadInput when the points are not finite or coincide.
    """
    points, reference = np.asarray(points, np.float64), np.asarray(reference, np.float64)
    centre, target = points.mean(0), reference.mean(0)
    spread = ((points - centre) ** 2).sum()
    if not np.isfinite(spread) or spread < 1e-12:
        raise BadInput(f"The facial points {points.round(2).tolist()} are not finite or coincide; five distinct points are needed.")
    u, strengths, vt = np.linalg.svd((reference - target).T @ (points - centre))
    signs = np.ones(2)
    if not mirrored:
        signs[1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * signs) @ vt * (strengths @ signs) / spread
    return np.column_stack([rotation, target - rotation @ centre])


def fusion256(points: np.ndarray) -> np.ndarray:
    """Picture -> 256 crop of the face fusion [2, 3]: fitted in the picture's own pixels and inverted, as its networks were trained."""
    return invert(similarity_transform(FUSION_256, points, mirrored=True))


def homogeneous(matrix: np.ndarray) -> np.ndarray:
    """A [2, 3] matrix with its third row."""
    return np.vstack([matrix, [0.0, 0.0, 1.0]]) if matrix.shape[0] == 2 else matrix


def invert(matrix: np.ndarray) -> np.ndarray:
    """The inverse of a [2, 3] or [3, 3] matrix, in the shape of the input."""
    return np.linalg.inv(homogeneous(matrix))[: matrix.shape[0]]


def transform_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """`points` [N, 2] moved by a [2, 3] or [3, 3] matrix."""
    return np.asarray(points, np.float64) @ matrix[:2, :2].T + matrix[:2, 2]


def scale_matrix(scale: float) -> np.ndarray:
    """A picture -> the same picture `scale` times as large [3, 3]."""
    return _scaling(scale, (scale - 1) / 2, (scale - 1) / 2)


def shift(x: float, y: float) -> np.ndarray:
    """A picture -> the same picture moved by (x, y) pixels [3, 3]."""
    return _scaling(1, x, y)


def downscale_factor(matrix: np.ndarray) -> float:
    """Picture pixels per crop pixel, along one side."""
    return 1 / np.sqrt(abs(np.linalg.det(matrix[:2, :2])))


def warp(image: torch.Tensor, matrix: np.ndarray, size: tuple[int, int], border: float | None = BLACK) -> torch.Tensor:
    """`image` float [H, W, C] or [H, W] warped by a picture -> crop `matrix`: float32 on the CPU, bilinear.

    size is (height, width). Outside the picture it is `border`, or the repeated edge for None. Nothing is averaged when shrinking,
    see `warp_smooth`.
    """
    left, top, right, bottom = _source_window(matrix, size, 2, image.shape)
    window = image.detach()[top:bottom, left:right].to("cpu", torch.float32)
    return _sample(window, homogeneous(matrix) @ shift(left, top), size, border)


def warp_smooth(image: torch.Tensor, matrix: np.ndarray, size: tuple[int, int], border: float | None = BLACK) -> torch.Tensor:
    """Like `warp`, but a picture at least twice as fine as the crop is averaged first to avoid aliasing."""
    factor = int(downscale_factor(matrix) + 1e-6)
    if factor < 2:
        return warp(image, matrix, size, border)
    left, top, right, bottom = _source_window(matrix, size, 2 * factor, image.shape)
    window = _whole_blocks(image.detach()[top:bottom, left:right].to("cpu", torch.float32), factor, border)
    blocks = window.unflatten(1, (-1, factor)).unflatten(0, (-1, factor)).mean((1, 3))
    # the centre of a block lies half a block less half a pixel after its first pixel
    offset = (factor - 1) / 2
    return _sample(blocks, homogeneous(matrix) @ _scaling(factor, left + offset, top + offset), size, border)


def align112(image: torch.Tensor, points: np.ndarray) -> torch.Tensor:
    """The face at `points` aligned for the recognition networks: [112, 112, 3], black outside the picture."""
    return warp(image, similarity_transform(points, ARCFACE_112), (112, 112))


def _scaling(factor: float, x: float, y: float) -> np.ndarray:
    return np.array([[factor, 0.0, x], [0.0, factor, y], [0.0, 0.0, 1.0]])


def _whole_blocks(window: torch.Tensor, factor: int, border: float | None) -> torch.Tensor:
    """`window` [h, w, ...] continued below and to the right to multiples of `factor`."""
    height, width = window.shape[:2]
    below, beside = -height % factor, -width % factor
    if border is not None:
        return F.pad(window, (0, 0) * (window.ndim - 2) + (0, beside, 0, below), value=border)
    rows, columns = torch.arange(height + below).clamp(max=height - 1), torch.arange(width + beside).clamp(max=width - 1)
    return window[rows][:, columns]


def _sample(window: torch.Tensor, matrix: np.ndarray, size: tuple[int, int], border: float | None) -> torch.Tensor:
    """Bilinear sampling at exact positions: OpenCV 4 rounds them to 1/32 of a pixel, which costs up to three levels of 255."""
    back, (height, width) = invert(matrix), window.shape[:2]
    columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    places = transform_points(np.stack([columns, rows], -1).reshape(-1, 2), back)
    grid = torch.from_numpy(((2 * places + 1) / [width, height] - 1).astype(np.float32)).view(1, *size, 2)
    mode, background = ("border", 0.0) if border is None else ("zeros", border)
    planes = (window.reshape(height, width, -1) - background).permute(2, 0, 1)[None]
    crop = F.grid_sample(planes, grid, padding_mode=mode, align_corners=False)
    return (crop[0].permute(1, 2, 0) + background).reshape(*size, *window.shape[2:]).contiguous()


def _source_window(matrix: np.ndarray, size: tuple[int, int], margin: int, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part x0 y0 x1 y1 of a picture of `shape` that the crop can see, `margin` pixels wider, at least one pixel."""
    height, width = size
    corners = transform_points(np.array([[0, 0], [width, 0], [0, height], [width, height]], float) - 0.5, invert(matrix))
    last = np.array([shape[1], shape[0]]) - 1
    low = np.clip(np.floor(corners.min(0)) - margin, 0, last).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + margin, low, last).astype(int) + 1
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
