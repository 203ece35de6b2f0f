"""The base of every network: sizes come from the state dict, loading is strict and names what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import KeyMismatch
from ..types import Layout

if TYPE_CHECKING:
    from typing_extensions import Self


Tensors = Mapping[str, torch.Tensor]
"""A state dict: published key -> tensor."""
FoundLayout = Mapping[str, tuple[tuple[int, ...], torch.dtype | None]]
"""What a file holds: key -> (shape, number format, None for one that PyTorch does not know)."""


class Network(nn.Module):
    """Base of the published architectures.

    The constructor's defaults are the published sizes. `from_state_dict` takes a state dict with the published key names
    (already unpacked, prefixes removed) and raises KeyMismatch when it does not fit this network.
    """

    @classmethod
    def layout(cls) -> Layout:
        """Published key -> (shape, dtype), at the published sizes."""
        return layout_at(cls)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        """Constructor arguments read from the shapes of `tensors`. Raises KeyError for another network's state dict."""
        return {}

    @classmethod
    def from_state_dict(cls, tensors: Tensors) -> Self:
        """The network with these weights, in float32 and evaluation mode. Raises KeyMismatch."""
        try:
            sizes = cls.sizes(tensors)
        except KeyError as missing:
            raise KeyMismatch(f"This is not a {cls.__name__}: it has no {missing.args[0]!r}. {describe(tensors)}") from missing
        with torch.device("meta"):
            network = cls(**sizes)
        strict_load(network, tensors)
        return network.eval().requires_grad_(False)


def layout_at(network: type[nn.Module], **sizes: object) -> Layout:
    """Key -> (shape, dtype) of a network made with these constructor arguments. Takes no memory."""
    with torch.device("meta"):
        return layout_of(network(**sizes).state_dict())


def layout_of(tensors: Tensors) -> Layout:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def strict_load(network: nn.Module, tensors: Tensors) -> None:
    """Load `tensors` into `network`, floating point ones as float32. Raises KeyMismatch listing what does not fit."""
    problems = differences(layout_of(network.state_dict()), layout_of(tensors))
    if problems:
        raise KeyMismatch(f"The file does not fit {type(network).__name__}. " + " ".join(problems))
    full = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    network.load_state_dict(full, strict=True, assign=True)


def differences(expected: Layout, found: FoundLayout) -> list[str]:
    """Sentences about missing, unexpected and misshaped tensors; empty when all names and shapes agree."""
    missing = sorted(expected.keys() - found.keys())
    unexpected = sorted(found.keys() - expected.keys())
    misshaped = [
        f"{name} {list(found[name][0])} instead of {list(expected[name][0])}"
        for name in sorted(expected.keys() & found.keys())
        if found[name][0] != expected[name][0]
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", misshaped))
    return [f"{len(names)} {kind}: {_some(names)}." for kind, names in kinds if names]


def describe(tensors: Tensors) -> str:
    return f"It holds {len(tensors)} tensors: {_some(sorted(tensors))}."


def _some(names: list[str], count: int = 6) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest
