"""Pictures on their way into a network: grouped by size, as bytes, and through ONNX sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def batches(sizes: Sequence[tuple[int, int]], pixels: int) -> Iterator[list[int]]:
    """Indices of `sizes` (height, width) in groups of one size, each of at most `pixels` pixels, or of a single picture."""
    same: dict[tuple[int, int], list[int]] = {}
    for index, size in enumerate(sizes):
        same.setdefault(tuple(size), []).append(index)
    for (height, width), indices in same.items():
        count = max(1, pixels // (height * width))
        for start in range(0, len(indices), count):
            yield indices[start : start + count]


def as_bytes(image: torch.Tensor) -> np.ndarray:
    """Picture [H, W, 3] in 0..1 -> uint8 [H, W, 3]."""
    scaled = image.detach().cpu() * 255
    return scaled.round_().clamp_(0, 255).to(torch.uint8).numpy()


def run_session(session: InferenceSession, batch: np.ndarray) -> np.ndarray:
    """The first output of `session` for `batch` [N, ...], in as many runs as the batch size stored in the file asks for."""
    wanted = session.get_inputs()[0]
    size = wanted.shape[0] if isinstance(wanted.shape[0], int) else len(batch)
    rows = [session.run(None, {wanted.name: batch[start : start + size]})[0] for start in range(0, len(batch), size)]
    return np.concatenate(rows)
