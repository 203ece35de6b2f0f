"""A checkpoint of random numbers in the single-file format of SD 1.5, for tests and a demonstration without a download.

It loads, trains, samples and decodes like a real one; its pictures are noise.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from ...host import checkpoints
from .. import files
from ..convert import Tensors, write

FILE_NAME = "stand-in-random-sd15.safetensors"
SMALL = {"multipliers": (1, 2), "blocks": 1, "transformers": (1, 1)}
SPREAD = 0.02


def write_checkpoint(path: Path, seed: int = 1, **sizes: Any) -> Path:
    """Write one to `path`, marked in its metadata. `sizes` as for `checkpoints.sd15_layout`; without any a UNet of 107 M parameters."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, make(seed, **(sizes or SMALL)), {files.MARK: files.STAND_IN})
    return path


def make(seed: int, **sizes: Any) -> Tensors:
    """Norms at one, biases at zero, everything else normal with a small spread, which keeps every stage finite in half precision."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _value(name, shape, generator).to(dtype) for name, (shape, dtype) in checkpoints.sd15_layout(**sizes).items()}


def _value(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)
    if name.startswith(checkpoints.PREFIXES["vae"]):
        return torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]))
    return torch.randn(shape, generator=generator) * SPREAD
