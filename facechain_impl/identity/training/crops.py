"""Training pictures from photos: the recipe's random face crop and flip, prepared as a fixed number of variants."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ...errors import BadInput
from .settings import Augmentation

# Ranges of FaceChain's FaceCrop for a square crop whose face takes 0.35 / 1.15 of the side.
_FACE_RATIO = (0.35, 0.45)
_FACE_CENTRE = (0.35, 0.50)
_HEADROOM = 1.15
# FaceChain's own face crops of 512 pixels are enlarged 1.15 to 1.5 times.
_BLURRED = 1.5


def variants(
    photo: torch.Tensor, count: int, augmentation: Augmentation, side: int, generator: torch.Generator, mirror: bool = True
) -> torch.Tensor:
    """`count` training pictures [count, side, side, 3] of a photo [H, W, 3] in 0..1. mirror: every other one is."""
    pictures = [_variant(photo, augmentation, side, generator, flipped=mirror and bool(index % 2)) for index in range(count)]
    return torch.stack(pictures)


def enlargement(photos: Sequence[torch.Tensor], augmentation: Augmentation, side: int) -> float:
    """Pixels of the training pictures of `side` for each pixel of the photos [H, W, 3] that they are cut from, where that is most."""
    smallest = min(min(photo.shape[:2]) for photo in photos)
    window = face_window(smallest, _FACE_RATIO[1], _FACE_CENTRE[0])[2] if augmentation is Augmentation.FACE_CROP else smallest
    return side / max(window, 1)


def remark(photos: Sequence[torch.Tensor], augmentation: Augmentation, side: int) -> str:
    """What to say about training pictures that would be blurred. Empty for others."""
    if not photos or (ratio := enlargement(photos, augmentation, side)) <= _BLURRED:
        return ""
    return (
        f"The training pictures of {side} pixels are enlarged up to {ratio:.1f} times, so the LoRA learns blur. Set size of Face Align to "
        "0, use photos that show the face larger, or a lower resolution."
    )


def _variant(photo: torch.Tensor, augmentation: Augmentation, side: int, generator: torch.Generator, flipped: bool) -> torch.Tensor:
    left, top, size = _window(photo, augmentation, generator)
    window = photo[top : top + size, left : left + size].permute(2, 0, 1)[None]  # [H,W,C] -> [1,C,H,W]
    picture = F.interpolate(window, (side, side), mode="bilinear", antialias=size > side).clamp(0, 1)[0].permute(1, 2, 0)
    return picture.flip(1) if flipped else picture


def _window(photo: torch.Tensor, augmentation: Augmentation, generator: torch.Generator) -> tuple[int, int, int]:
    """Left, top and side of the square that is cut from a photo."""
    height, width = photo.shape[:2]
    if augmentation is Augmentation.FACE_CROP:
        if height != width:
            raise BadInput(
                f"Face crop needs square pictures with the face where Face Align puts it; this one is {width}x{height}. "
                "Connect the crops of Face Align, or set 'augmentation' to Centre crop or Random crop."
            )
        return face_window(height, _uniform(_FACE_RATIO, generator), _uniform(_FACE_CENTRE, generator))
    size = min(height, width)
    if augmentation is Augmentation.CENTRE:
        return (width - size) // 2, (height - size) // 2, size
    left, top = (int(_uniform((0, room + 1), generator)) for room in (width - size, height - size))
    return left, top, size


def face_window(height: int, ratio: float, centre: float) -> tuple[int, int, int]:
    """FaceChain's FaceCrop for a square picture: left, top and side of the window in pixels."""
    side = int(height / _HEADROOM * _FACE_RATIO[0] / ratio)
    left = int(int(0.5 * height) - 0.5 * side)
    top = int(int(height * 0.5 / _HEADROOM) - centre * side)
    return left, min(max(top, 0), height - side), side


def _uniform(bounds: tuple[float, float], generator: torch.Generator) -> float:
    low, high = bounds
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))
