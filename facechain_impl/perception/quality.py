"""The quality of a face picture, from FQA."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from .batching import run_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


class FaceQuality:
    """Scores aligned faces; higher is better."""

    def __init__(self, session: InferenceSession):
        self.session = session

    def score(self, aligned: list[torch.Tensor]) -> list[float]:
        """aligned: RGB [112, 112, 3] in 0..1 each. Raises WeightsError."""
        if not aligned:
            return []
        return run_session(self.session, prepared(aligned), "fqa").mean(1).tolist()


def prepared(aligned: list[torch.Tensor]) -> np.ndarray:
    """Faces [112, 112, 3] in 0..1 -> float32 [N, 3, 112, 112] in -1..1."""
    return (torch.stack(aligned).permute(0, 3, 1, 2) * 2 - 1).contiguous().float().cpu().numpy()
