"""The place of a face in its crop, and the alignment of a generated face to it (FaceChain's inpainting).

Boxes and points are in pixels, x before y. Crops are squares around the whole-number box; what of a square is outside the
picture is black.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from ...geometry import affine
from ...geometry.crop import grown
from ...geometry.pixels import size_of

FACE_RATIO = 0.45
GENERATED_GROWTH = 1.5


@dataclass(frozen=True)
class Square:
    """The square of side 2 * half around the pixel (x, y)."""

    x: int
    y: int
    half: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x - self.half, self.y - self.half, self.x + self.half, self.y + self.half

    def inside(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part x0 y0 x1 y1 of the square inside the picture."""
        x0, y0, x1, y1 = self.box
        return max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)

    def to_crop(self, size: int) -> np.ndarray:
        """Picture -> crop of `size` pixels [3, 3]; whole numbers are the centres of pixels."""
        scale = size / (2 * self.half)
        shift = 0.5 * scale - 0.5
        x0, y0, _, _ = self.box
        return np.array([[scale, 0.0, shift - x0 * scale], [0.0, scale, shift - y0 * scale], [0.0, 0.0, 1.0]])


def whole(box: np.ndarray) -> tuple[int, int, int, int]:
    """`box` in whole pixels, towards zero."""
    x0, y0, x1, y1 = (int(value) for value in box)
    return x0, y0, x1, y1


def face_square(box: np.ndarray, ratio: float = FACE_RATIO) -> Square:
    """The crop whose side is the longer side of the face divided by `ratio`."""
    x0, y0, x1, y1 = whole(box)
    return Square(int((x0 + x1) / 2), int((y0 + y1) / 2), max(int(max(y1 - y0, x1 - x0) / ratio / 2), 1))


def cut(image: torch.Tensor, square: Square) -> torch.Tensor:
    """The pixels [2h, 2h, ...] of `square`, zero outside `image` [H, W, ...]."""
    x0, y0, _, _ = square.box
    left, top, right, bottom = square.inside(*image.shape[:2])
    side = 2 * square.half
    pixels = image.new_zeros((side, side, *image.shape[2:]))
    if left < right and top < bottom:
        pixels[top - y0 : bottom - y0, left - x0 : right - x0] = image[top:bottom, left:right]
    return pixels


def resize(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """`image` [H, W, C] or [H, W] in another size, bilinear without averaging, as OpenCV resizes by default."""
    planes = image.reshape(*image.shape[:2], -1).permute(2, 0, 1)[None].float()
    scaled = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)
    return scaled[0].permute(1, 2, 0).reshape(height, width, *image.shape[2:])


def crop(image: torch.Tensor, square: Square, size: int) -> torch.Tensor:
    """`square` of `image` in `size` x `size` pixels."""
    return resize(cut(image, square), size, size)


def eye_line(points: np.ndarray) -> int:
    """The row of the eyes, given five points or more of which the first two are the eyes."""
    return int((points[0][1] + points[1][1]) / 2)


def face_only(mask: torch.Tensor, box: np.ndarray) -> torch.Tensor:
    """`mask` [H, W] of a generated picture, zero outside its face box made half as large again."""
    x0, y0, x1, y1 = grown(box, GENERATED_GROWTH, size_of(mask))
    kept = torch.zeros_like(mask)
    kept[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
    return kept


def warp_mask(mask: torch.Tensor, matrix: np.ndarray, size: int) -> torch.Tensor:
    """1 where any of the generated face `mask` [H, W] lands in the crop, moved by `matrix` [2, 3]; [size, size]."""
    return (affine.warp(mask, matrix, (size, size)) > 0).float()


def territory(own: np.ndarray, others: list[np.ndarray], window: tuple[int, int, int, int]) -> torch.Tensor:
    """Which pixels of `window` (x0 y0 x1 y1) belong to the face `own`: 1, and 0 on the boxes of the other faces.

    Where two boxes overlap, a pixel belongs to the face whose centre is nearer, to the left one on a tie.
    """
    left, top, right, bottom = window
    mine = torch.ones(bottom - top, right - left)
    for other in others:
        x0, y0, x1, y1 = whole(other)
        x0, y0, x1, y1 = max(x0, left), max(y0, top), min(x1, right), min(y1, bottom)
        if x0 < x1 and y0 < y1:
            rows, columns = np.mgrid[y0:y1, x0:x1]
            lost = ~_nearer(own, other, columns, rows)
            mine[y0 - top : y1 - top, x0 - left : x1 - left][torch.from_numpy(lost)] = 0.0
    return mine


def _nearer(own: np.ndarray, other: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Which pixels are in the box of `own` and closer to its centre than to that of `other`."""
    x0, y0, x1, y1 = whole(own)
    inside = (columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1)
    distance, rival = (_square_distance(box, columns, rows) for box in (own, other))
    first = tuple(whole(own)) < tuple(whole(other))
    return inside & ((distance < rival) | ((distance == rival) & first))


def _square_distance(box: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    x0, y0, x1, y1 = whole(box)
    return (2 * columns - x0 - x1 + 1) ** 2 + (2 * rows - y0 - y1 + 1) ** 2
