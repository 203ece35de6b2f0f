"""How clearly a face is visible, from FLCM: faces whose landmarks are unreliable score low."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from ..errors import BadInput
from ..geometry.pixels import to_bytes
from ..host.memory import ManagedModel
from ..networks.flcm import FLCM, SIDE

BATCH = 32


class LandmarkConfidence:
    """Judges one face per picture, in batches."""

    def __init__(self, managed: ManagedModel[FLCM]):
        self.managed = managed

    def score(self, images: Sequence[torch.Tensor], boxes: Sequence[np.ndarray]) -> list[float]:
        """Pictures [H, W, 3] in 0..1 with one face box x0 y0 x1 y1 each -> about 1 for a clear face, not bounded.

        Raises BadInput when a box lies outside its picture."""
        crops = [crop_face(image, box) for image, box in zip(images, boxes)]
        return [score for start in range(0, len(crops), BATCH) for score in self._score_batch(crops[start : start + BATCH])]

    def _score_batch(self, crops: list[np.ndarray]) -> list[float]:
        network = self.managed.load()
        return (1 - network(as_batch(crops).to(self.managed.device)).unreliability[:, 0]).tolist()


def as_batch(crops: Sequence[np.ndarray]) -> torch.Tensor:
    """[N, H, W, 3] -> [N, 3, H, W]."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)


def crop_face(image: torch.Tensor, box: np.ndarray) -> np.ndarray:
    """The box x0 y0 x1 y1 of `image` [H, W, 3] in 0..1, made square with black on both sides of its shorter side: BGR float32
    [120, 120, 3] in 0..255."""
    height, width = image.shape[:2]
    left, top = (max(int(value), 0) for value in box[:2])
    right, bottom = min(int(box[2]), width), min(int(box[3]), height)
    if right <= left or bottom <= top:
        raise BadInput(f"The face box {np.round(box, 1).tolist()} is outside the {width}x{height} picture. Find the faces again.")
    pixels = to_bytes(image[top:bottom, left:right])[:, :, ::-1].astype(np.float32)  # RGB -> BGR
    side = max(pixels.shape[:2])
    rows, columns = side - pixels.shape[0], side - pixels.shape[1]
    above, before = rows // 2, columns // 2
    square = cv2.copyMakeBorder(pixels, above, rows - above, before, columns - before, cv2.BORDER_CONSTANT, value=0)
    return cv2.resize(square, (SIDE, SIDE))
