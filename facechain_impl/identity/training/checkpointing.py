"""Gradient checkpointing on any model of the host: the repeated blocks are recomputed in the backward pass."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

_LISTS = (torch.nn.ModuleList, torch.nn.Sequential)


def blocks(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The outermost modules with weights inside lists of modules: residual and transformer blocks, whatever the architecture."""
    found = []
    for child in module.children():
        if isinstance(child, torch.nn.ModuleList):
            found += _members(child)
        else:
            found += blocks(child)
    return found


def _members(container: torch.nn.Module) -> list[torch.nn.Module]:
    members = []
    for child in container.children():
        if isinstance(child, _LISTS):
            members += _members(child)
        elif next(child.parameters(), None) is not None:
            members.append(child)
    return members


@contextlib.contextmanager
def checkpointed(module: torch.nn.Module, wanted: bool) -> Iterator[None]:
    """Trade time for memory in this context: every block keeps only its input."""
    chosen = {block: vars(block).get("forward") for block in (blocks(module) if wanted else [])}
    for block in chosen:
        block.forward = functools.partial(checkpoint, functools.partial(_on_copies, block.forward), use_reentrant=False)
    try:
        yield
    finally:
        for block, before in chosen.items():
            del block.forward
            if before is not None:  # a layer that is a block of its own may compute in another way already
                block.forward = before


def _on_copies(forward: Callable, *positional: Any, **named: Any) -> Any:
    """Blocks of the host may change their input in place, which they read again in the backward pass."""
    return forward(*(_copied(value) for value in positional), **{key: _copied(value) for key, value in named.items()})


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
