"""Faces cropped for editing, and all of them put back with one blend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import BadInput
from .affine import invert, scale_matrix, shift, transform_points, warp_smooth
from .crop import angle_of, cut


@dataclass(frozen=True)
class Patch:
    """An edited crop [S, S, 3] to be put back. matrix: picture -> crop [3, 3], for crops of `size` pixels, whatever S is now.

    mask: [S, S] or another size, 1 where the crop may replace the picture; None is everywhere."""

    crop: torch.Tensor
    matrix: np.ndarray
    size: int
    mask: torch.Tensor | None = None

    @property
    def to_crop(self) -> np.ndarray:
        """picture -> the crop in its present size [3, 3]."""
        return scale_matrix(self.crop.shape[0] / self.size) @ self.matrix


def face_matrix(box: np.ndarray, points: np.ndarray | None, share: float, size: int, upright: bool) -> np.ndarray:
    """picture -> a crop of `size` pixels [3, 3] whose middle is the middle of the face and whose `share` its longer side takes.

    upright: turn the face straight by its five points. Raises BadInput for a box without an extent.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    longer = max(x1 - x0, y1 - y0)
    if not longer > 0:
        raise BadInput(f"The face box {[round(value, 1) for value in (x0, y0, x1, y1)]} is empty; find the faces again.")
    angle = angle_of(points) if upright and points is not None else 0.0
    scale = size * share / longer
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([x0 + x1, y0 + y1]) / 2
    return np.vstack([np.column_stack([rotation, (size - 1) / 2 - rotation @ centre]), [0, 0, 1]])


def cut_out(image: torch.Tensor, matrix: np.ndarray, size: int) -> torch.Tensor:
    """The crop [size, size, 3] to edit. Edges are repeated outwards, so that no frame is painted into the picture on the way back."""
    return cut(image, matrix, size, border=None)


def feathered(size: int, feather: float) -> torch.Tensor:
    """Weights [size, size]: 1 inside, falling smoothly to 0 at the edge over the share `feather` of the side."""
    edge = torch.arange(size, dtype=torch.float32)
    edge = torch.minimum(edge, size - 1 - edge)
    ramp = (edge / max(feather * size, 1.0)).clamp(0, 1)
    ramp = ramp * ramp * (3 - 2 * ramp)
    return ramp[:, None] * ramp[None, :]


def stitch(image: torch.Tensor, patches: list[Patch], feather: float) -> torch.Tensor:
    """`image` [H, W, 3] with all `patches` in it. Pixels outside all patches are bit-identical.

    Where patches overlap they are averaged by their weights, so their order does not matter. A patch that was not edited is left
    out: the picture under it stays bit-identical.
    """
    result = image.detach().to("cpu", torch.float32).clone()
    edited = [(patch, _window(patch, result.shape)) for patch in patches if not is_unedited(result, patch)]
    edited = [(patch, window) for patch, window in edited if window[2] > window[0] and window[3] > window[1]]
    if not edited:
        return result
    windows = np.array([window for _, window in edited])
    (left, top), (right, bottom) = windows[:, :2].min(0), windows[:, 2:].max(0)
    region = result[top:bottom, left:right]
    total, colour = torch.zeros(region.shape[:2]), torch.zeros_like(region)
    for patch, (x0, y0, x1, y1) in edited:
        part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        weights, pixels = _placed(patch, feather, x0, y0, (y1 - y0, x1 - x0))
        total[part] += weights
        colour[part] += pixels * weights[..., None]
    weight = total.clamp(max=1)[..., None]
    blended = region * (1 - weight) + colour / total.clamp(min=1)[..., None]
    region.copy_(torch.where(weight > 0, blended, region))
    return result


def is_unedited(image: torch.Tensor, patch: Patch) -> bool:
    """Whether the crop still equals what was cut out of `image`."""
    if patch.crop.shape[0] != patch.size:
        return False
    return torch.equal(cut_out(image, patch.matrix, patch.size).to(patch.crop), patch.crop)


def _placed(patch: Patch, feather: float, left: int, top: int, window: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights [h, w] and pixels [h, w, 3] of `patch` in the (height, width) window of the picture that starts at (left, top)."""
    back = shift(-left, -top) @ invert(patch.to_crop)
    weights = feathered(patch.crop.shape[0], feather)
    if patch.mask is not None:
        weights = weights * _fitted(patch.mask, patch.crop.shape[0])
    return warp_smooth(weights, back, window).clamp(0, 1), warp_smooth(patch.crop, back, window, None)


def _fitted(mask: torch.Tensor, size: int) -> torch.Tensor:
    """A square mask in another size."""
    return warp_smooth(mask, scale_matrix(size / mask.shape[0]), (size, size)).clamp(0, 1)


def _window(patch: Patch, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The part x0 y0 x1 y1 of a picture of `shape` that `patch` covers."""
    last = patch.crop.shape[0] - 1
    corners = transform_points(np.array([[0, 0], [last, 0], [0, last], [last, last]], float), invert(patch.to_crop))
    low, high = np.floor(corners.min(0)).astype(int), np.ceil(corners.max(0)).astype(int) + 1
    return max(low[0], 0), max(low[1], 0), min(high[0], shape[1]), min(high[1], shape[0])
