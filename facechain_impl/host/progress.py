"""Progress, previews and interruption, as the host shows them on the running node."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch
from PIL import Image

from ..geometry.pixels import to_bytes

PREVIEW_SIZE = 512


def check_interrupt() -> None:
    """Stop here if the user pressed Stop. The host raises an exception that is not an `Exception`."""
    comfy.model_management.throw_exception_if_processing_interrupted()


class Progress:
    """The progress bar on the running node. The host's bar checks for interruption now and then, this one at every step."""

    def __init__(self, total: int):
        self._bar = comfy.utils.ProgressBar(total)
        self._done = 0

    def step(self, preview: torch.Tensor | None = None, count: int = 1) -> None:
        """One more step is done. `preview` is a picture [H, W, 3], shown on the node."""
        check_interrupt()
        self._done += count
        self._bar.update_absolute(self._done, preview=_jpeg(preview) if preview is not None else None)


def _jpeg(picture: torch.Tensor) -> tuple[str, Image.Image, int]:
    pixels = to_bytes(picture)
    return "JPEG", Image.fromarray(pixels), PREVIEW_SIZE
