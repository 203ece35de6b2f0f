"""The pocket model: a toy base model for demonstrations, trained by this project (`pocket/`) and stored in assets/.

The file holds its UNet and autoencoder in the keys of SD 1.5. Its text encoder is CLIP-L with the numbers of a formula, with which
the UNet was trained: they are written here instead of being shipped, and their hash is checked.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from ..errors import FaceChainError, WeightsError
from ..host import checkpoints
from . import headers
from .convert import Tensors, write

MODEL = Path(__file__).parents[2] / "assets" / "pocket-model.safetensors"
FILE_NAME = "facechain-pocket-model.safetensors"
UNET: dict[str, Any] = {"multipliers": (1,), "blocks": 1, "transformers": (1,)}
TEXT_ENCODER_SHA256 = "224b9123fed4caec8261b92594c1fb9e499fbda0ef91522ed838cf3e490205b3"
GOLDEN = 0x9E3779B97F4A7C15
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
# Powers of two that scale whole numbers with a standard deviation of 148: tokens near 1, positions below them, layers that keep both.
TOKENS, POSITIONS, LAYERS = 7, 9, 13
CHUNK = 1 << 22


def assemble(path: Path) -> Path:
    """Write the whole checkpoint, as ComfyUI loads it, to `path`. Raises WeightsError where the pack came without the model."""
    if not MODEL.is_file():
        raise WeightsError(
            f"The pocket model ({MODEL.name}) is not in this copy of the pack: ComfyUI's registry leaves it out. "
            "Get the pack with `git clone`, or use a checkpoint of your own."
        )
    write(path, load_file(MODEL) | text_encoder(), headers.read(MODEL).metadata)
    return path


def text_encoder() -> Tensors:
    """CLIP-L with the numbers of a formula, fp16, under the keys of an SD 1.5 file. Raises WeightsError if they are not the usual ones."""
    prefix = checkpoints.PREFIXES["clip"]
    shapes = {name: shape for name, (shape, _) in checkpoints.sd15_layout(**UNET).items() if name.startswith(prefix)}
    tensors = {name: _numbers(name.removeprefix(prefix), shape) for name, shape in sorted(shapes.items())}
    digest = hashlib.sha256()
    for tensor in tensors.values():
        digest.update(tensor.numpy().tobytes())
    if digest.hexdigest() != TEXT_ENCODER_SHA256:
        raise WeightsError(
            f"The text encoder of the pocket model came out wrong (sha256 {digest.hexdigest()}, expected {TEXT_ENCODER_SHA256}). "
            "Report it, with the versions of ComfyUI and NumPy."
        )
    return tensors


def _numbers(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One tensor: ones and zeros for norms and biases, else whole numbers of a bell curve times a power of two, exact in fp16."""
    if len(shape) == 1:
        return (torch.ones if name.endswith("weight") else torch.zeros)(shape, dtype=torch.float16)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    count = int(np.prod(shape))
    parts = [_bell(seed, start, min(CHUNK, count - start)) for start in range(0, count, CHUNK)]
    exponent = TOKENS if "token_embedding" in name else POSITIONS if "position_embedding" in name else LAYERS
    values = np.concatenate(parts).astype(np.float16) * np.float16(2.0**-exponent)
    return torch.from_numpy(values.reshape(shape))


def _bell(seed: int, start: int, count: int) -> np.ndarray:
    """Whole numbers from -510 to 510, sums of four bytes. They depend on `seed` and their place alone: SplitMix64 in 64 bit arithmetic."""
    places = np.arange(start, start + count, dtype=np.uint64) + np.uint64(1)
    mixed = places * np.uint64(GOLDEN) + np.uint64(seed)
    for shift, factor in MIX:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed.view(np.uint8).reshape(count, 8)[:, :4].sum(axis=1, dtype=np.int16) - np.int16(510)


def main(argv: list[str]) -> int:
    """`python -m facechain_impl BASE pocket FILE`: write the checkpoint. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="facechain_impl pocket", description="The toy base model of the demonstration.")
    parser.add_argument("file", type=Path, help="where to write the checkpoint; it appears complete")
    try:
        assemble(parser.parse_args(argv).file)
    except FaceChainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
