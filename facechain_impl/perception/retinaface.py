"""Faces with five points, from RetinaFace."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch

from ..geometry.pixels import size_of, to_bytes
from ..host.memory import ManagedModel
from ..host.progress import check_interrupt
from ..networks import retinaface
from ..networks.retinaface import anchors, decode_boxes, decode_points
from ..types import Face
from .batching import batches
from .detection import Detector, nms

MEAN = np.array([104, 117, 123], np.float32)
LIMIT, REDUCED = 1500, 1000
BEST, KEEP = 5000, 750
OVERLAP = 0.4
BATCH_PIXELS = 1 << 21
# Layers whose output passes 32 MB cost a third more on a CPU: the C library asks for such memory anew each time.
CPU_BATCH_PIXELS = 1 << 18


class Rules(NamedTuple):
    """limit: the longest side that is not reduced to 1000 pixels. border: added to the sides of boxes before they are compared."""

    min_score: float = 0.9
    limit: float = LIMIT
    border: float = 1.0


MODELSCOPE = Rules()
# facexlib, whose weights and rules the talking head uses
FACEXLIB = Rules(min_score=0.97, limit=float("inf"), border=0.0)


class RetinaFace(Detector):
    """RetinaFace R50. Several pictures of one size go through at once.

    bgr: pass BGR to the network, which its mean colour is for. Upstream does so before the skin retouch; for the FACT
    encoder it passes RGB, and the published adapter expects the crops found that way.
    """

    name = "RetinaFace"

    def __init__(self, managed: ManagedModel[retinaface.RetinaFace], bgr: bool = False, rules: Rules = MODELSCOPE):
        self._managed, self._bgr, self._rules = managed, bgr, rules

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        pictures = [self.prepare(image) for image in images]
        found: dict[int, list[Face]] = {}
        most = CPU_BATCH_PIXELS if torch.device(self._managed.device).type == "cpu" else BATCH_PIXELS
        for indices in batches([size_of(picture[0]) for picture, _ in pictures], most):
            check_interrupt()
            network = self._managed.load()
            raw = network(torch.stack([pictures[index][0] for index in indices]).to(self._managed.device))
            boxes, scores, points = (part.cpu() for part in raw)
            for row, index in enumerate(indices):
                picture, scale = pictures[index]
                found[index] = faces_of(boxes[row], scores[row, :, 1], points[row], size_of(picture[0]), scale, self._rules)
        return [found[index] for index in range(len(images))]

    def prepare(self, image: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Picture [H, W, 3] in 0..1 -> (network input [3, h, w], its scale). Longer sides than the rules allow are reduced."""
        pixels: np.ndarray = to_bytes(image).astype(np.float32)
        longest = max(pixels.shape[:2])
        scale = REDUCED / longest if longest > self._rules.limit else 1.0
        if scale != 1:
            pixels = cv2.resize(pixels, None, fx=scale, fy=scale)
        return torch.from_numpy((pixels[:, :, ::-1] if self._bgr else pixels) - MEAN).permute(2, 0, 1), scale


def faces_of(
    boxes: torch.Tensor, scores: torch.Tensor, points: torch.Tensor, size: tuple[int, int], scale: float, rules: Rules = MODELSCOPE
) -> list[Face]:
    """Raw boxes [A, 4], face probabilities [A] and raw points [A, 10] of a network input of `size` -> faces, best first."""
    sure = (scores > rules.min_score).nonzero()[:, 0]
    sure = sure[scores[sure].argsort(descending=True, stable=True)[:BEST]]
    places = anchors(*size)[sure]
    sides = np.array([size[1], size[0]], np.float32) / np.float32(scale)
    corners = decode_boxes(boxes[sure], places).numpy() * np.tile(sides, 2)
    five = decode_points(points[sure], places).numpy() * sides
    kept = nms(corners * scale, scores[sure].numpy(), OVERLAP, border=rules.border)[:KEEP]
    return [Face(corners[index], float(scores[sure[index]]), five[index]) for index in kept]
