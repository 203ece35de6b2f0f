"""Which way up a photograph is, from rot_bgr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from ..geometry.pixels import to_bytes
from .batching import run_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

SIDE = 224
CLASSES = 4
MEAN = np.array([103.53, 116.28, 123.675], np.float32)
FACTOR = np.array([0.01742919, 0.017507, 0.01712475], np.float32)  # rounded as the network was trained, not 1 / deviation


class PhotoRotation:
    """Finds the quarter turns that bring photographs upright."""

    def __init__(self, session: InferenceSession):
        self.session = session

    def quarter_turns(self, images: Sequence[torch.Tensor]) -> list[int]:
        """Pictures [H, W, 3] in 0..1 -> clockwise quarter turns to apply to each, 0 to 3. Raises WeightsError."""
        if not images:
            return []
        return run_session(self.session, np.stack([prepared(image) for image in images]), "rot_bgr", CLASSES).argmax(1).tolist()


def prepared(image: torch.Tensor) -> np.ndarray:
    """Picture [H, W, 3] in 0..1 -> network input [3, 224, 224], BGR; the sides are not kept in proportion."""
    pixels = cv2.resize(to_bytes(image)[:, :, ::-1], (SIDE, SIDE)).astype(np.float32)
    return np.ascontiguousarray(((pixels - MEAN) * FACTOR).transpose(2, 0, 1))  # [H, W, C] -> [C, H, W]


def rotate(image: torch.Tensor, quarters: int) -> torch.Tensor:
    """`image` [H, W, ...] turned clockwise by `quarters` quarter turns."""
    return torch.rot90(image, -quarters, (0, 1)).contiguous()
