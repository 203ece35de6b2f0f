"""What a training will need, measured by one forward pass over one sample: bytes by purpose, and seconds.

Autograd says what it would keep for the backward pass, and here it keeps nothing of it: the pass takes no more memory than drawing a
picture does, so that looking whether a training fits cannot fail where the training would."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.hooks import RemovableHandle

from ...host import frozen
from .checkpointing import blocks

PASSES = 3.0
"""The time of forward and backward pass, in forward passes: the backward pass through frozen layers and small adapters takes about two."""
RECOMPUTED = 4.0
"""The same where blocks are recomputed."""
PASSING = 3
"""Tensors of the largest kind that come and go in the backward pass while everything kept is still there."""

FETCHES = 2
"""Weights of the largest layer that are there at once where layers make them for each pass, from fp8 or out of RAM."""


@dataclass(frozen=True)
class Habits:
    """What training takes on a kind of device, measured with `bench memory`. copies: of the adapters in float32: themselves, their
    gradients, two moments of AdamW, and where that computes with all at once its result. overhead: memory in use per byte of tensors, since
    allocators leave gaps and kernels have buffers."""

    copies: int
    overhead: float


CPU, GPU = Habits(copies=4, overhead=1.3), Habits(copies=5, overhead=1.1)


@dataclass(frozen=True)
class Way:
    """How the training is computed. batch: samples in one pass. checkpointing: blocks are recomputed. offload: weights stay in RAM."""

    batch: int
    checkpointing: bool
    offload: bool

    def takes_no_more_than(self, other: Way) -> bool:
        """Whether it takes at most as much memory on the device, for any model."""
        return self.batch <= other.batch and self.checkpointing >= other.checkpointing and self.offload >= other.offload

    def text(self) -> str:
        told = [f"{self.batch} {'picture' if self.batch == 1 else 'pictures'} at a time"]
        return ", ".join([*told, *["gradient checkpointing"] * self.checkpointing, *["offload"] * self.offload])


@dataclass(frozen=True, kw_only=True)
class Demand:
    """weights, adapters: bytes in all; adapters with gradients and moments. Of one sample: `kept` bytes wait for the backward pass,
    `recomputed` with gradient checkpointing, `passing` come and go, and a forward pass takes `seconds`. largest: bytes of a layer's weight
    in the format that is computed in; of those that layers make for each pass it is `fetched`."""

    weights: int
    adapters: int
    kept: int
    recomputed: int
    passing: int
    seconds: float
    largest: int = 0
    fetched: int = 0
    habits: Habits = CPU

    def beside_weights(self, way: Way) -> int:
        """Bytes on the device beside the weights, at the most."""
        sample = self.passing + (self.recomputed if way.checkpointing else self.kept)
        fetched = self.largest if way.offload else self.fetched
        return self.adapters + round(self.habits.overhead * (way.batch * sample + FETCHES * fetched))

    def total(self, way: Way) -> int:
        return self.beside_weights(way) + (0 if way.offload else self.weights)

    def step_seconds(self, way: Way, samples: int) -> float:
        """Of an optimiser step over `samples`. What offload costs is not known beforehand."""
        return samples * self.seconds * (RECOMPUTED if way.checkpointing else PASSES)


def measure(
    module: torch.nn.Module, weights: int, trained: list[torch.nn.Parameter], loss: Callable[[], torch.Tensor], dtype: torch.dtype
) -> Demand:
    """The demand of a training in `dtype` whose loss of one sample is `loss()`. weights: bytes of the models. Changes nothing."""
    ledger = _Ledger({parameter.untyped_storage()._cdata for parameter in [*module.parameters(), *trained]})
    with _blocks_told(module, ledger), torch.autograd.graph.saved_tensors_hooks(ledger.note, _never):
        began = time.perf_counter()
        loss().item()
        seconds = time.perf_counter() - began
    habits = CPU if all(parameter.is_cpu for parameter in (*trained, *module.parameters())) else GPU
    adapters = habits.copies * sum(parameter.numel() * torch.float32.itemsize for parameter in trained)
    kept = sum(ledger.inside.values()) + ledger.outside
    recomputed = ledger.outside + ledger.inputs + max(ledger.inside.values(), default=0)
    largest, fetched = (numbers * dtype.itemsize for numbers in frozen.largest_weights(module))
    return Demand(
        weights=weights,
        adapters=adapters,
        kept=kept,
        recomputed=min(kept, recomputed),
        passing=PASSING * ledger.largest,
        seconds=seconds,
        largest=largest,
        fetched=fetched,
        habits=habits,
    )


def _never(note: None) -> torch.Tensor:
    raise RuntimeError("nothing was kept for this backward pass")


@dataclass
class _Ledger:
    """Bytes that autograd would keep: by block, outside of blocks, and the inputs of blocks. known: storages that are counted elsewhere."""

    known: set[int]
    inside: dict[torch.nn.Module, int] = field(default_factory=dict)
    outside: int = 0
    inputs: int = 0
    largest: int = 0
    block: torch.nn.Module | None = None
    _noted: dict[int, StorageWeakRef] = field(default_factory=dict)
    _given: dict[int, StorageWeakRef] = field(default_factory=dict)

    def note(self, tensor: torch.Tensor) -> None:
        size = self._new(tensor, self._noted)
        if self.block is None:
            self.outside += size
        else:
            self.inside[self.block] = self.inside.get(self.block, 0) + size

    def enter(self, block: torch.nn.Module, positional: tuple, named: dict[str, Any]) -> None:
        if self.block is None:
            self.block = block
            self.inputs += sum(self._new(value, self._given) for value in (*positional, *named.values()) if isinstance(value, torch.Tensor))

    def leave(self, block: torch.nn.Module, *_: Any) -> None:
        if self.block is block:
            self.block = None

    def _new(self, tensor: torch.Tensor, seen: dict[int, StorageWeakRef]) -> int:
        """Bytes of the memory behind a tensor, 0 where it was counted. Memory that was freed since counts again."""
        storage = tensor.untyped_storage()
        before = seen.get(storage._cdata)
        if storage._cdata in self.known or (before is not None and not before.expired()):
            return 0
        seen[storage._cdata] = StorageWeakRef(storage)
        self.largest = max(self.largest, storage.nbytes())
        return storage.nbytes()


@contextlib.contextmanager
def _blocks_told(module: torch.nn.Module, ledger: _Ledger) -> Iterator[None]:
    hooks: list[RemovableHandle] = []
    for block in blocks(module):
        hooks.append(block.register_forward_pre_hook(ledger.enter, with_kwargs=True))
        hooks.append(block.register_forward_hook(ledger.leave))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
