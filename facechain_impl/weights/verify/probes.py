"""One forward run of every network on one picture: does the file give ordinary numbers of the expected shapes?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from ...networks.probes import Probe, fitted

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

NOT_FINITE = "NOT FINITE"


def probe(run: Probe, network: nn.Module, picture: torch.Tensor) -> list[str]:
    """A line per output of a network that is run as its entry says, on `picture` [1, 3, H, W] in 0..1."""
    with torch.inference_mode():
        return [describe(output) for output in tensors_in(run(network, picture))]


def probe_session(session: InferenceSession, picture: torch.Tensor) -> list[str]:
    """The same for an onnxruntime session, at its input size."""
    wanted = session.get_inputs()[0]
    if len(wanted.shape) == 3:
        pixels = (fitted(picture, 400)[0].permute(1, 2, 0) * 255).numpy()
    else:
        pixels = (fitted(picture, wanted.shape[-1] if isinstance(wanted.shape[-1], int) else 112) * 2 - 1).numpy()
    outputs = session.run(None, {wanted.name: np.ascontiguousarray(pixels, np.float32)})
    heads = [f"input {one.name} {one.shape}" for one in session.get_inputs()] + [f"output {one.name}" for one in session.get_outputs()]
    return heads + [describe(torch.from_numpy(np.asarray(output))) for output in outputs]


def describe(output: torch.Tensor) -> str:
    values = output.double()
    finite = "" if torch.isfinite(values).all() else f", {NOT_FINITE}"
    return (
        f"{list(output.shape)} mean {values.mean():.4g}, deviation {values.std(correction=0):.4g}, largest {values.abs().max():.4g}{finite}"
    )


def tensors_in(outputs: Any) -> Iterator[torch.Tensor]:
    """The tensors of nested lists, tuples and objects with fields."""
    if isinstance(outputs, torch.Tensor):
        yield outputs
    elif outputs is not None:
        for part in outputs if isinstance(outputs, (list, tuple)) else vars(outputs).values():
            yield from tensors_in(part)
