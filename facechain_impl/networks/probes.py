"""How a published network is run once on a picture [1, 3, H, W] in 0..1, to see whether the output of its file is plausible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

Probe = Callable[[Any, torch.Tensor], object]
"""(network, picture) -> its outputs: tensors in any nesting of lists, tuples and objects with fields."""

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def fitted(picture: torch.Tensor, side: int) -> torch.Tensor:
    """[1, 3, H, W] -> [1, 3, side, side]."""
    return F.interpolate(picture, (side, side), mode="bilinear", antialias=True, align_corners=False)


def plain(side: int) -> Probe:
    """For networks that read squares of `side` pixels in 0..1."""
    return lambda network, picture: network(fitted(picture, side))


def signed(side: int) -> Probe:
    """For networks that read them in -1..1."""
    return lambda network, picture: network(fitted(picture, side) * 2 - 1)


def standardised(side: int) -> Probe:
    """For networks that read them with ImageNet's mean and deviation."""
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in IMAGENET)
    return lambda network, picture: network((fitted(picture, side) - mean) / deviation)


def levels(side: int, mean: tuple[float, float, float] = (0, 0, 0)) -> Probe:
    """For networks that read them in 0..255 with a mean colour subtracted."""
    colour = torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1)
    return lambda network, picture: network(fitted(picture, side) * 255 - colour)


def spectrograms(picture: torch.Tensor, count: int) -> torch.Tensor:
    """Something like `count` windows of mel columns: [count, 1, 80, 16] in -4..4."""
    return F.interpolate(picture.mean(1, keepdim=True), (80, 16)).repeat(count, 1, 1, 1) * 8 - 4
