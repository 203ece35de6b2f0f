"""Checks and simple work on pixels."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import BadInput


def size_of(image: torch.Tensor) -> tuple[int, int]:
    """(height, width) of a picture or mask [H, W, ...]."""
    height, width = image.shape[:2]
    return height, width


def check(image: torch.Tensor, name: str) -> None:
    """Raise BadInput unless `image` [H, W, 3] has pixels and all of them are finite."""
    if image.shape[0] == 0 or image.shape[1] == 0:
        raise BadInput(f"{name} has no pixels ({image.shape[1]}x{image.shape[0]}). Connect a picture of at least 1x1.")
    broken = int((~torch.isfinite(image)).any(-1).sum())
    if broken:
        raise BadInput(
            f"{name} contains {broken} NaN or infinite pixels of {image.shape[0] * image.shape[1]}. "
            "The node that made it failed; the usual cause is a VAE in half precision."
        )


def check_all(images: list[torch.Tensor], names: list[str]) -> None:
    """Raise BadInput unless there is at least one picture and all are usable."""
    if not images:
        raise BadInput("No picture arrived: the list or batch is empty. Connect at least one picture.")
    for image, name in zip(images, names):
        check(image, name)


def on_white(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`image` [H, W, 3] where `mask` [H, W] is 1, white where it is 0."""
    weight = mask.to(image)[..., None]
    return image * weight + (1 - weight)


def to_bytes(picture: torch.Tensor) -> np.ndarray:
    """Float pixels in 0..1, of any shape -> uint8 of the same shape, on the processor.

    255 times the value in float32, halves to the even number, then what lies outside is clamped; NaN becomes 0. The work is done
    where `picture` lies, so that a quarter of the bytes travels."""
    levels = picture.detach().float() * 255
    return levels.round_().clamp_(0, 255).nan_to_num_(0).to(torch.uint8).cpu().numpy()
