"""Layers that other programs store as several: split by rows, under the names used there, and joined again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ...host.lora import Part

BY_ROWS = (".lora_B.weight", ".lora_up.weight", ".dora_scale")
SHARED = (".lora_A.weight", ".lora_down.weight", ".alpha")
Tensors = dict[str, torch.Tensor]


Parts = Mapping[str, Sequence[Part]]
"""For the name of a layer in a LoRA file, those of its parts, in the order of their rows."""


def split(tensors: Tensors, parts: Parts) -> Tensors:
    """The same LoRA with every layer that has parts split into them. The update it adds to the model is exactly the same."""
    made = {}
    for key, value in tensors.items():
        layer, suffix = _named(key)
        for part in parts.get(layer, (Part(layer),)):
            rows = value[part.first : part.first + part.rows] if part.rows and suffix in BY_ROWS else value
            made[part.name + suffix] = rows.clone() if part.rows else rows
    return made


def joined(tensors: Tensors, parts: Parts) -> Tensors:
    """The inverse of `split`."""
    made = dict(tensors)
    for layer, some in parts.items():
        for suffix in (*BY_ROWS, *SHARED):
            found = [made.pop(part.name + suffix) for part in some if part.name + suffix in made]
            if found:
                made[layer + suffix] = torch.cat(found) if suffix in BY_ROWS else found[0]
    return made


def _named(key: str) -> tuple[str, str]:
    suffix = next((suffix for suffix in (*BY_ROWS, *SHARED) if key.endswith(suffix)), "")
    return key.removesuffix(suffix), suffix
