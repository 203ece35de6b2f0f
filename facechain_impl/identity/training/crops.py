"""Training pictures from photos: the recipe's random face crop and flip, prepared as a fixed number of variants."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ...errors import BadInput
from ...picture_names import numbered
from ...types import Faces
from .settings import Augmentation

# Ranges of FaceChain's FaceCrop for a square crop whose face takes 0.35 / 1.15 of the side.
_FACE_RATIO = (0.35, 0.45)
_FACE_CENTRE = (0.35, 0.50)
_HEADROOM = 1.15
# FaceChain's own face crops of 512 pixels are enlarged 1.15 to 1.5 times.
_BLURRED = 1.5
_STEP = 64
"""Sides of aspect buckets are multiples of it, as in kohya's sd-scripts: every family can do with them."""
_WIDEST = 2.0


def variants(
    photo: torch.Tensor, count: int, augmentation: Augmentation, side: int, generator: torch.Generator, mirror: bool = True
) -> torch.Tensor:
    """`count` training pictures [count, side, side, C] of a photo [H, W, C] in 0..1, or [count, height, width, C] of its aspect bucket.
    mirror: every other one is."""
    pictures = [_variant(photo, augmentation, side, generator, flipped=mirror and bool(index % 2)) for index in range(count)]
    return torch.stack(pictures)


def scales(photos: Sequence[torch.Tensor], faces: Faces | None) -> list[float]:
    """How many times each photo [H, W, 3] was enlarged when it was cut out of another; 1 where it was not, or where that is not known.

    Raises BadInput when the faces belong to other pictures."""
    if faces is None:
        return [1.0] * len(photos)
    cuts = {picture.digest: face.crop_transform for picture in faces.pictures for face in picture.faces if face.crop_transform is not None}
    found = [faces.of(photo) for photo in photos]
    matrices = [cuts.get(picture.source) if picture is not None else None for picture in found]
    return [1.0 if matrix is None else max(1.0, float(abs(np.linalg.det(matrix[:2, :2])) ** 0.5)) for matrix in matrices]


def enlargement(photo: torch.Tensor, augmentation: Augmentation, side: int, scale: float = 1.0) -> float:
    """Pixels of the training pictures of `side` for each pixel of the picture that they show a part of, where that is most. scale: how
    many times the photo [H, W, 3] was enlarged before."""
    smallest = min(photo.shape[:2])
    window = face_window(smallest, _FACE_RATIO[1], _FACE_CENTRE[0])[2] if augmentation is Augmentation.FACE_CROP else smallest
    return side * scale / max(window, 1)


def remark(photos: Sequence[torch.Tensor], augmentation: Augmentation, side: int, scales: Sequence[float]) -> str:
    """What to say about training pictures that would be blurred. Empty for others. scales: as in `enlargement`."""
    ratios = [enlargement(photo, augmentation, side, scale) for photo, scale in zip(photos, scales, strict=True)]
    blurred = [name for name, ratio in zip(numbered("photo", photos), ratios) if ratio > _BLURRED]
    if not blurred:
        return ""
    which = "" if len(blurred) == len(photos) else f" ({', '.join(blurred)})"
    return (
        f"The training pictures of {side} pixels are enlarged up to {max(ratios):.1f} times{which}, so the LoRA learns blur. Set size of "
        "Face Align to 0, use photos that show the face larger, or a lower resolution."
    )


def original_size(photo: torch.Tensor, augmentation: Augmentation, side: int, scale: float) -> tuple[int, int] | None:
    """Width and height in pixels of what a training picture shows, before any enlargement; None where there is none. Of face crops, whose
    windows differ, that of a middle one. photo: [H, W, 3], enlarged `scale` times before."""
    height, width = photo.shape[:2]
    size = bucket(width, height, side) if augmentation is Augmentation.BUCKETS else (side, side)
    if augmentation is Augmentation.FACE_CROP:
        window = face_window(height, sum(_FACE_RATIO) / 2, sum(_FACE_CENTRE) / 2)[2]
    else:
        window = _largest(width, height, size)[0]
    share = window / (scale * size[0])
    return None if share >= 1 else (max(1, round(share * size[0])), max(1, round(share * size[1])))


def _variant(photo: torch.Tensor, augmentation: Augmentation, side: int, generator: torch.Generator, flipped: bool) -> torch.Tensor:
    left, top, width, height = _window(photo, augmentation, side, generator)
    window = photo[top : top + height, left : left + width].permute(2, 0, 1)[None]  # [H,W,C] -> [1,C,H,W]
    size = bucket(photo.shape[1], photo.shape[0], side)[::-1] if augmentation is Augmentation.BUCKETS else (side, side)
    picture = F.interpolate(window, size, mode="bilinear", antialias=height > size[0]).clamp(0, 1)[0].permute(1, 2, 0)
    return picture.flip(1) if flipped else picture


def bucket(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of the training pictures of a photo of this size: multiples of 64 of an area of at most `side` x `side` and an
    aspect ratio of at most 2:1, nearest to the photo's own shape."""
    widths = range(_STEP, int(side * _WIDEST) + 1, _STEP)
    sizes = [(one, side * side // one // _STEP * _STEP) for one in widths]
    fitting = [(one, other) for one, other in sizes if other and max(one / other, other / one) <= _WIDEST]
    return min(fitting, key=lambda size: (abs(math.log(size[0] * height / (size[1] * width))), -size[0] * size[1]))


def _window(photo: torch.Tensor, augmentation: Augmentation, side: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Left, top, width and height of what is cut from a photo."""
    height, width = photo.shape[:2]
    if augmentation is Augmentation.FACE_CROP:
        if height != width:
            raise BadInput(
                f"Face crop needs square pictures with the face where Face Align puts it; this one is {width}x{height}. "
                "Connect the crops of Face Align, or set 'augmentation' to Centre crop, Random crop or Aspect buckets."
            )
        left, top, size = face_window(height, _uniform(_FACE_RATIO, generator), _uniform(_FACE_CENTRE, generator))
        return left, top, size, size
    across, down = _largest(width, height, bucket(width, height, side) if augmentation is Augmentation.BUCKETS else (1, 1))
    if augmentation is Augmentation.CENTRE:
        return (width - across) // 2, (height - down) // 2, across, down
    left, top = (int(_uniform((0, room + 1), generator)) for room in (width - across, height - down))
    return left, top, across, down


def _largest(width: int, height: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the largest window of a shape in a picture."""
    across, down = shape
    if width * down <= height * across:
        return width, round(width * down / across)
    return round(height * across / down), height


def face_window(height: int, ratio: float, centre: float) -> tuple[int, int, int]:
    """FaceChain's FaceCrop for a square picture: left, top and side of the window in pixels."""
    side = int(height / _HEADROOM * _FACE_RATIO[0] / ratio)
    left = int(int(0.5 * height) - 0.5 * side)
    top = int(int(height * 0.5 / _HEADROOM) - centre * side)
    return left, min(max(top, 0), height - side), side


def _uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    low, high = bounds
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
