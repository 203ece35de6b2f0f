"""Finished frames at twice the size, with restored faces."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from ..host.memory import ManagedModel
from ..host.upscaling import UpscaleModel
from ..networks.parsenet import ParseNet
from .renderer import video_frames

SCALE = 2
SIDE = 512
# eyes, nose tip and mouth corners in an aligned face (FFHQ at 512 px)
FFHQ_512 = np.array([[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]])
BORDER = (132, 133, 135)
SMALLEST_EYES = 5.0  # pixels between the eyes below which a face is not enhanced
BLUR, SIGMA, CLEAR = (101, 101), 11, 10
# ParseNet's classes that are not face: background, hat, ear ring, necklace, neck, cloth
OUTSIDE = (0, 14, 16, 17, 18)

FindPoints = Callable[[np.ndarray], list[np.ndarray]]


def affine(points: np.ndarray) -> np.ndarray | None:
    """Picture -> aligned face [2, 3], robust against one wrong point, or None where the points are degenerate."""
    return cv2.estimateAffinePartial2D(points, FFHQ_512, method=cv2.LMEDS)[0]


def aligned(pixels: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """The face, RGB uint8 [512, 512, 3], grey outside the picture."""
    return cv2.warpAffine(pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT, borderValue=BORDER)


def inverse(matrix: np.ndarray) -> np.ndarray:
    """Aligned face -> picture of twice the size [2, 3]."""
    return cv2.invertAffineTransform(matrix) * SCALE


def soft_mask(labels: np.ndarray) -> np.ndarray:
    """The weight of every pixel of an aligned face, float64 [512, 512] in 0..1, from the class of each pixel."""
    mask = np.where(np.isin(labels, OUTSIDE), 0.0, 255.0)
    mask = cv2.GaussianBlur(cv2.GaussianBlur(mask, BLUR, SIGMA), BLUR, SIGMA)
    mask[:CLEAR] = mask[-CLEAR:] = mask[:, :CLEAR] = mask[:, -CLEAR:] = 0
    return mask / 255


def enlarged(pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    return cv2.resize(pixels, (width * SCALE, height * SCALE), interpolation=cv2.INTER_LANCZOS4)


def pasted(large: np.ndarray, face: np.ndarray, mask: np.ndarray, back: np.ndarray) -> np.ndarray:
    """`face` put into the enlarged picture `large`. back: `inverse` of its alignment."""
    back = back + [[0, 0, SCALE / 2], [0, 0, SCALE / 2]]
    size = large.shape[1::-1]
    face = cv2.warpAffine(face, back, size)
    share = cv2.warpAffine(mask, back, size, flags=cv2.INTER_LINEAR)[..., None]
    return (share * face + (1 - share) * large).astype(np.uint8)


class FaceRestorer:
    """GFPGAN with the noise stored in its file, so that a still face does not flicker. find: the five points of every face
    in a frame; where it finds none, those of the previous frame are used. parser: ParseNet in a ManagedModel."""

    def __init__(self, model: UpscaleModel, parser: ManagedModel[ParseNet], find: FindPoints):
        self.model, self.parser, self.find = model, parser, find
        self._points: list[np.ndarray] = []

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """RGB uint8 [N, H, W, 3] -> [N, 2H, 2W, 3]."""
        return np.stack([self._restored(frame) for frame in frames])

    def _restored(self, pixels: np.ndarray) -> np.ndarray:
        self._points = [points for points in self.find(pixels) if np.hypot(*(points[1] - points[0])) >= SMALLEST_EYES] or self._points
        large = enlarged(pixels)
        for points in self._points:
            matrix = affine(points)
            if matrix is not None:
                face = self.restore(aligned(pixels, matrix))
                large = pasted(large, face, soft_mask(self.labels(face)), inverse(matrix))
        return large

    def restore(self, face: np.ndarray) -> np.ndarray:
        """An aligned face, RGB uint8 [512, 512, 3], restored."""
        network = self.model.load()
        restored = network(signed(face).to(self.model.device), return_rgb=False, randomize_noise=False)[0]
        return video_frames((restored.float().clamp(-1, 1) + 1) / 2)[0]

    def labels(self, face: np.ndarray) -> np.ndarray:
        """The class of every pixel of an aligned face, [512, 512]."""
        logits, _ = self.parser.load()(signed(face).to(self.parser.device))
        return logits[0].argmax(0).cpu().numpy()


class FrameUpscaler:
    """An upscaler of whole pictures, brought to twice the size."""

    def __init__(self, model: UpscaleModel):
        self.model = model

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """RGB uint8 [N, H, W, 3] -> [N, 2H, 2W, 3]."""
        return np.stack([self._upscaled(frame) for frame in frames])

    def _upscaled(self, pixels: np.ndarray) -> np.ndarray:
        picture = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None].float() / 255
        large = video_frames(self.model.upscale(picture))[0]
        height, width = pixels.shape[:2]
        size = (width * SCALE, height * SCALE)
        return large if large.shape[1::-1] == size else cv2.resize(large, size, interpolation=cv2.INTER_AREA)


def signed(face: np.ndarray) -> torch.Tensor:
    """RGB uint8 [512, 512, 3] -> float [1, 3, 512, 512] in -1..1."""
    return torch.from_numpy(face.transpose(2, 0, 1).copy())[None].float() / 127.5 - 1
