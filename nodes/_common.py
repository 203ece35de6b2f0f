"""What nodes share: the no_face input, lists of pictures, and the report on the node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch

from ..facechain_impl.errors import BadInput
from ..facechain_impl.types import NoFace, Report
from ._api import io

T = TypeVar("T")


def no_face_input() -> io.Input:
    return io.Combo.Input(
        "no_face",
        options=[policy.value for policy in NoFace],
        default=NoFace.STOP.value,
        tooltip="When no usable face is found: stop with an error, skip the picture, or pass it through unchanged. "
        "The report names every affected picture.",
    )


def report_ui(report: Report) -> dict:
    """`ui` of a node: drawn as a table on the node and kept in the history."""
    return {"text": [report.text()], "report": [report.json()]}


def single(values: Sequence[T]) -> T:
    """The one value of a widget or socket of a node that takes lists. Raises BadInput for an empty list."""
    if not values:
        raise BadInput("An input received an empty list. Connect something that is not empty, or disconnect the input.")
    return values[0]


def optional(values: Sequence[T] | None) -> T | None:
    """Like `single` for an input that may be unconnected or empty, which is None."""
    return values[0] if values else None


def flatten_images(images: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """A list of batches [N, H, W, C] as a list of RGB pictures [H, W, 3]. Alpha is blended onto white, grey is repeated."""
    return [_rgb(picture) for batch in images for picture in batch]


def _rgb(picture: torch.Tensor) -> torch.Tensor:
    channels = picture.shape[-1]
    if channels == 3:
        return picture
    if channels == 1:
        return picture.expand(*picture.shape[:-1], 3)
    if channels == 4:
        colour, alpha = picture[..., :3], picture[..., 3:]
        return colour * alpha + (1 - alpha)
    raise BadInput(f"A picture has {channels} channels; expected 1 (grey), 3 (RGB) or 4 (RGB and alpha).")
