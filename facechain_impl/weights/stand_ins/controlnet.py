"""A ControlNet of random numbers in the single-file format of control_v11p_sd15, sized to the small stand-in checkpoint.

The host recognises the folder format of diffusers at full size only, so a small one needs these names. Unlike a
fresh ControlNet its last convolutions are not zero: it does change the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ...host.handed import digest_of_weights
from ...types import Layout
from .. import files
from ..convert import write
from ..handed import DIGEST

CHANNELS = 320
CONTEXT = 768
HINT = (3, 16, 16, 32, 32, 96, 96, 256)
SPREAD = 0.02


def layout(multipliers: Sequence[int] = (1, 2), blocks: int = 1, transformers: Sequence[int] = (1, 1)) -> Layout:
    """Name -> (shape, dtype). `multipliers` of 320 channels per level, each of `blocks` residual blocks, with `transformers` each."""
    shapes = {**_linear("time_embed.0", CHANNELS, 4 * CHANNELS), **_linear("time_embed.2", 4 * CHANNELS, 4 * CHANNELS)}
    shapes |= _conv("input_blocks.0.0", 4, CHANNELS, 3)
    widths, width = [CHANNELS], CHANNELS
    for level, multiplier in enumerate(multipliers):
        for _ in range(blocks):
            stem = f"input_blocks.{len(widths)}"
            shapes |= _residual(f"{stem}.0", width, multiplier * CHANNELS)
            width = multiplier * CHANNELS
            shapes |= _transformer(f"{stem}.1", width) if transformers[level] else {}
            widths.append(width)
        if level + 1 < len(multipliers):
            shapes |= _conv(f"input_blocks.{len(widths)}.0.op", width, width, 3)
            widths.append(width)
    shapes |= _residual("middle_block.0", width, width) | _transformer("middle_block.1", width) | _residual("middle_block.2", width, width)
    for index, channels in enumerate(widths):
        shapes |= _conv(f"zero_convs.{index}.0", channels, channels, 1)
    for index, (before, after) in enumerate(zip(HINT, (*HINT[1:], CHANNELS))):
        shapes |= _conv(f"input_hint_block.{2 * index}", before, after, 3)
    shapes |= _conv("middle_block_out.0", width, width, 1)
    return {name: (shape, torch.float16) for name, shape in shapes.items()}


def write_controlnet(path: Path, seed: int = 1) -> Path:
    """Write a stand-in ControlNet to `path`, marked as such."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: _value(name, shape, generator).to(dtype) for name, (shape, dtype) in layout().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, tensors, {files.MARK: files.STAND_IN, DIGEST: digest_of_weights(tensors)})
    return path


def _value(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape) if name.endswith(".weight") else torch.zeros(shape)
    if name.startswith("input_hint_block"):
        return torch.randn(shape, generator=generator) / (shape[1] * shape[2] * shape[3]) ** 0.5
    return torch.randn(shape, generator=generator) * SPREAD


def _conv(name: str, before: int, after: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before, size, size), f"{name}.bias": (after,)}


def _linear(name: str, before: int, after: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before), **({f"{name}.bias": (after,)} if bias else {})}


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _residual(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    shapes = {
        **_norm(f"{name}.in_layers.0", before),
        **_conv(f"{name}.in_layers.2", before, after, 3),
        **_linear(f"{name}.emb_layers.1", 4 * CHANNELS, after),
        **_norm(f"{name}.out_layers.0", after),
        **_conv(f"{name}.out_layers.3", after, after, 3),
    }
    return shapes if before == after else {**shapes, **_conv(f"{name}.skip_connection", before, after, 1)}


def _transformer(name: str, width: int) -> dict[str, tuple[int, ...]]:
    block = f"{name}.transformer_blocks.0"
    shapes = {**_norm(f"{name}.norm", width), **_conv(f"{name}.proj_in", width, width, 1), **_conv(f"{name}.proj_out", width, width, 1)}
    for attention, context in (("attn1", width), ("attn2", CONTEXT)):
        for projection, inputs in (("to_q", width), ("to_k", context), ("to_v", context)):
            shapes |= _linear(f"{block}.{attention}.{projection}", inputs, width, bias=False)
        shapes |= _linear(f"{block}.{attention}.to_out.0", width, width)
    for index in (1, 2, 3):
        shapes |= _norm(f"{block}.norm{index}", width)
    return shapes | _linear(f"{block}.ff.net.0.proj", width, 8 * width) | _linear(f"{block}.ff.net.2", 4 * width, width)
