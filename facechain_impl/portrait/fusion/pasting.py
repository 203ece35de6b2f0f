"""Putting a face crop back into its picture: soft masks, softening of small faces, and pixels that stay exactly as they were."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ...errors import WeightsError
from ...geometry.affine import homogeneous, invert, shift, transform_points, warp
from ...geometry.pixels import size_of

ALPHA_SIZE = 256
ENHANCE_SIZE = 1024
INSET, FEATHER, SIGMA = 26, 101, 11  # of the enhancement's mask, at 512 pixels


def paste(picture: torch.Tensor, crop: torch.Tensor, mask: torch.Tensor, matrix: np.ndarray) -> None:
    """Blend `crop` [S, S, 3] into `picture` [H, W, 3], in place, by `mask` [S, S] in 0..1. matrix: picture -> crop.

    Pixels outside the mask are bit-identical."""
    x0, y0, x1, y1 = _reach(matrix, size_of(crop), size_of(picture))
    if x1 <= x0 or y1 <= y0:
        return
    back = shift(-x0, -y0) @ homogeneous(invert(matrix))
    size = (y1 - y0, x1 - x0)
    weight = warp(mask, back, size)[..., None]
    region = picture[y0:y1, x0:x1]
    region.copy_(weight * warp(crop, back, size) + (1 - weight) * region)


def within(mask: torch.Tensor, changed: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """`changed` where `mask` [H, W] is 1, `picture` where it is 0, both [H, W, 3]."""
    weight = mask[..., None].to(picture)
    return weight * changed + (1 - weight) * picture


def soft_edge(mask: torch.Tensor, pixels: int) -> torch.Tensor:
    """`mask` [H, W] falling to 0 over its outermost `pixels`; it never grows, so nothing outside of it changes."""
    if not pixels:
        return mask
    inside = (mask.detach().cpu() > 0).to(torch.uint8).numpy()
    depth = cv2.distanceTransform(np.pad(inside, 1, mode="edge"), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return mask * torch.from_numpy(depth / pixels).clamp(max=1).to(mask)


def read_alpha(path: Path) -> torch.Tensor:
    """The published blending mask as [256, 256] in 0..1. Raises WeightsError."""
    try:
        with Image.open(path) as picture:
            alpha = np.asarray(picture.convert("L"), np.float32) / 255
    except OSError as error:
        raise WeightsError(
            f"{path} should be the blending mask, but cannot be read as a picture ({error}). Delete it and get it again."
        ) from error
    return torch.from_numpy(cv2.resize(alpha, (ALPHA_SIZE, ALPHA_SIZE)))


def enhancement_mask(size: int = ENHANCE_SIZE) -> torch.Tensor:
    """[size, size], 1 in the middle of the crop and close to 0 at its edge."""
    mask: np.ndarray = np.zeros((512, 512), np.float32)
    mask[INSET : 512 - INSET + 1, INSET : 512 - INSET + 1] = 1
    for _ in range(2):
        mask = cv2.GaussianBlur(mask, (FEATHER, FEATHER), SIGMA)
    return torch.from_numpy(cv2.resize(mask, (size, size)))


def soften(face: torch.Tensor, side: float) -> torch.Tensor:
    """An enhanced face [1024, 1024, 3] softened to suit its size in the picture, `side` pixels."""
    pixels = face.numpy()
    if side < 40:
        pixels = cv2.pyrUp(cv2.pyrUp(cv2.pyrDown(cv2.pyrDown(pixels))))
    elif side < 60:
        large = cv2.resize(cv2.pyrDown(pixels), (ENHANCE_SIZE, ENHANCE_SIZE))
        pixels = cv2.pyrUp(cv2.resize(large, (ENHANCE_SIZE // 2, ENHANCE_SIZE // 2)))
    elif side < 80:
        pixels = cv2.pyrUp(cv2.pyrDown(pixels))
    elif side < 100:
        pixels = cv2.resize(cv2.pyrDown(pixels), (ENHANCE_SIZE, ENHANCE_SIZE))
    return torch.from_numpy(pixels)


def _reach(matrix: np.ndarray, size: tuple[int, int], picture: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part x0 y0 x1 y1 of a picture (height, width) that a crop of `size` covers, one pixel wider."""
    height, width = size
    corners = transform_points(np.array([[-1, -1], [width, -1], [-1, height], [width, height]], float), invert(matrix))
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
    return max(low[0], 0), max(low[1], 0), min(high[0], picture[1]), min(high[1], picture[0])
