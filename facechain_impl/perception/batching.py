"""Batching of pictures for a network: grouping by size, ONNX sessions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import WeightsError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, NodeArg


def max_batch(most: int, device: torch.device | str) -> int:
    """Batch size for a large network on `device`: `most`, but the least on a CPU.

    There single pictures are 10 to 50 percent faster, as their activations stay in its cache, and take less memory."""
    return 1 if torch.device(device).type == "cpu" else most


def batches(sizes: Sequence[tuple[int, int]], pixels: int) -> Iterator[list[int]]:
    """Indices of `sizes` (height, width) in groups of one size, each of at most `pixels` pixels, or a single picture."""
    same: dict[tuple[int, int], list[int]] = {}
    for index, size in enumerate(sizes):
        same.setdefault(size, []).append(index)
    for (height, width), indices in same.items():
        count = max(1, pixels // (height * width))
        for start in range(0, len(indices), count):
            yield indices[start : start + count]


def run_session(session: InferenceSession, batch: np.ndarray, file: str, outputs: int | None = None) -> np.ndarray:
    """The first output of `session` for `batch` [N, ...] as [N, M], in as many runs as the batch size stored in the file asks for.

    Raises WeightsError naming the catalogue's `file` when it is another network: other inputs, or not `outputs` values."""
    wanted = require_input(session, batch.shape, file)
    size = wanted.shape[0] if wanted.shape and isinstance(wanted.shape[0], int) else len(batch)
    rows = [session.run(None, {wanted.name: batch[start : start + size]})[0] for start in range(0, len(batch), size)]
    found = np.concatenate(rows).reshape(len(batch), -1)
    if outputs and found.shape[1] != outputs:
        raise WeightsError(f"The file {file} returns {found.shape[1]} values instead of {outputs}: it is another network. {_again(file)}")
    return found


def require_input(session: InferenceSession, shape: Sequence[int], file: str) -> NodeArg:
    """The first input of `session`. Raises WeightsError when it does not take arrays of `shape`, the first dimension aside."""
    wanted = session.get_inputs()[0]
    sides = wanted.shape or shape  # none are stored where the rank is free
    fits = len(sides) == len(shape) and all(not isinstance(side, int) or side == given for side, given in zip(sides[1:], shape[1:]))
    if not fits:
        raise WeightsError(f"The file {file} takes {list(sides)} instead of {list(shape)}: it is another network. {_again(file)}")
    return wanted


def _again(file: str) -> str:
    return f"Delete it and get it again with: python run.py models get {file}"
