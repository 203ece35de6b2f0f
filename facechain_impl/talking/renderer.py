"""Renders the frames, a few at a time: memory does not depend on the length of the clip."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import cv2
import numpy as np
import torch

from ..geometry.pixels import to_bytes
from ..host import memory
from ..host.memory import ManagedModel
from ..networks.sadtalker.generator import Generator, Source
from ..networks.sadtalker.keypoints import KeyPoints

log = logging.getLogger(__name__)

LARGEST_BATCH = 8
# measured at 256 px in float32; four times as much at 512
FIRST_BYTES, NEXT_BYTES = 1.2e9, 0.62e9


class FaceRenderer:
    """The key point detector and the generator of SadTalker in the ManagedModels `keypoints` and `generator`."""

    def __init__(self, keypoints: ManagedModel[KeyPoints], generator: ManagedModel[Generator]):
        self.keypoints, self.generator = keypoints, generator

    def canonical(self, square: np.ndarray) -> torch.Tensor:
        """Key points [1, 15, 3] of the cut face, RGB uint8 [S, S, 3]."""
        return self.keypoints.load()(picture(square).to(self.keypoints.device))

    def source(self, square: np.ndarray, points: torch.Tensor) -> Source:
        """What does not change over the clip. points: [1, 15, 3] of the picture as it is posed."""
        device = self.generator.device
        return self.generator.load().encode(picture(square).to(device), points.to(device))

    def frames(self, source: Source, points: torch.Tensor, batch: int) -> Iterator[np.ndarray]:
        """RGB uint8 [up to batch, S, S, 3] for key points [T, 15, 3]. Out of memory halves the batch and continues."""
        start = 0
        while start < len(points):
            part = points[start : start + batch].to(self.generator.device)
            drawn = self._drawn(source, part, may_fail=len(part) > 1)
            if drawn is None:
                batch = max(1, len(part) // 2)
                memory.release()
                log.warning("Out of memory: continuing with %d frames at a time.", batch)
                continue
            start += len(part)
            yield drawn

    def _drawn(self, source: Source, points: torch.Tensor, may_fail: bool) -> np.ndarray | None:
        try:
            return video_frames(self.generator.load()(source, points))
        except RuntimeError as error:
            if not (may_fail and memory.is_out_of_memory(error)):
                raise
            return None


def picture(pixels: np.ndarray) -> torch.Tensor:
    """RGB uint8 [S, S, 3] -> float [1, 3, S, S] in 0..1."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255


def video_frames(pictures: torch.Tensor) -> np.ndarray:
    """float [N, 3, H, W] in 0..1 -> RGB uint8 [N, H, W, 3], see `to_bytes`."""
    return to_bytes(pictures.movedim(1, -1))


def resized(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [N, H, W, 3] -> [N, height, width, 3] for size (width, height)."""
    if frames.shape[2:0:-1] == tuple(size):
        return frames
    return np.stack([cv2.resize(frame, size) for frame in frames])


def finished_size(aspect: tuple[int, int], side: int) -> tuple[int, int]:
    """(width, height) of a clip that shows only the crop: as wide as the square, with the aspect's height."""
    width, height = aspect
    return side, max(2, int(side * height / width))


def automatic_batch(device: torch.device, side: int) -> int:
    """Frames at a time that fit into free memory on `device`; on a CPU more than one gains nothing."""
    if device.type == "cpu":
        return 1
    scale = (side / 256) ** 2
    spare = memory.free_bytes(device) * 0.8 - FIRST_BYTES * scale
    return int(min(max(1 + spare // (NEXT_BYTES * scale), 1), LARGEST_BATCH))
