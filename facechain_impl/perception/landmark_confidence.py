"""How clearly a face is visible, from FLCM: faces whose landmarks are unreliable score low."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ..errors import BadInput
from ..geometry.pixels import to_bytes
from ..host.memory import ManagedModel
from ..networks.flcm import FLCM, SIDE

BATCH = 32


class Clarity(NamedTuple):
    """score: about 1 for a clear face, not bounded. landmarks: float32 [5, 2] in pixels of the picture."""

    score: float
    landmarks: np.ndarray


class Crop(NamedTuple):
    """pixels: BGR float32 [120, 120, 3] in 0..255. corner: x, y of the square in the picture. side: of the square in pixels."""

    pixels: np.ndarray
    corner: tuple[int, int]
    side: int


class LandmarkConfidence:
    """Judges one face per picture, in batches."""

    def __init__(self, managed: ManagedModel[FLCM]):
        self.managed = managed

    def score(self, images: Sequence[torch.Tensor], boxes: Sequence[np.ndarray]) -> list[float]:
        """Pictures [H, W, 3] in 0..1 with one face box x0 y0 x1 y1 each -> their scores."""
        return [clarity.score for clarity in self.judge(images, boxes)]

    def judge(self, images: Sequence[torch.Tensor], boxes: Sequence[np.ndarray]) -> list[Clarity]:
        """Both at once. Raises BadInput when a box lies outside its picture."""
        crops = [crop_face(image, box) for image, box in zip(images, boxes)]
        found = []
        for start in range(0, len(crops), BATCH):
            found += self._judge_batch(crops[start : start + BATCH])
        return found

    def _judge_batch(self, crops: list[Crop]) -> list[Clarity]:
        network = self.managed.load()
        batch = torch.from_numpy(np.stack([crop.pixels for crop in crops])).permute(0, 3, 1, 2)  # [N, H, W, C] -> [N, C, H, W]
        findings = network(batch.to(self.managed.device))
        points = findings.landmarks.cpu().unflatten(1, (2, 5)).mT.numpy()  # five x, five y -> [N, 5, 2]
        scores = (1 - findings.unreliability[:, 0]).tolist()
        return [Clarity(score, place * crop.side + np.array(crop.corner, np.float32)) for score, place, crop in zip(scores, points, crops)]


def crop_face(image: torch.Tensor, box: np.ndarray) -> Crop:
    """The box x0 y0 x1 y1 of `image` [H, W, 3] in 0..1, made square with black on both sides of its shorter side."""
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
    return Crop(cv2.resize(square, (SIDE, SIDE)), (left - before, top - above), side)
