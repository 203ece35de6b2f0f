"""Published pickles, read without running their code, and stored once as safetensors."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from .. import atomic
from ..errors import KeyMismatch, WeightsError
from ..networks.base import describe, layout_of
from ..networks.published import COUNTER, Entry
from . import files, headers

Tensors = dict[str, torch.Tensor]

CONTAINER_NAMES = 40
# What PyTorch raises on files with flipped bytes.
DAMAGE = (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError)
WRAPPERS = ("module.", "model.")


def _scalar(kind: np.dtype, value: bytes) -> np.generic:
    return np.frombuffer(value, kind)[0]


def _scalar_of(module: str) -> FunctionType:
    """`_scalar` under the name by which pickles of one numpy version call for it."""
    alias = FunctionType(_scalar.__code__, _scalar.__globals__, "scalar")
    alias.__module__, alias.__qualname__ = module, "scalar"
    return alias


# Numbers that training leaves beside the weights; building them runs nothing else.
NUMBERS: list[Callable | tuple[Callable, str]] = [
    *(_scalar_of(f"numpy.{core}.multiarray") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64", "int32", "bool")),
]


def convert(entry: Entry, source: Path) -> Path:
    """Write the safetensors beside `source`. Raises WeightsError or KeyMismatch and then changes nothing."""
    content = unpickle(source)
    tensors = state_dict(content, entry, source)
    digest = files.sha256(source)
    metadata = {
        files.MARK: files.CONVERTED,
        "source": source.name,
        "sha256": digest,
        "origin": files.origin_of_hash(entry, source, digest).value,
        "container": json.dumps([str(name) for name in content][:CONTAINER_NAMES]),
        **files.fingerprint_metadata(source),
    }
    if isinstance(tags := content.get("tags"), list):
        metadata["tags"] = json.dumps(tags)
    target = source.with_name(f"{entry.name}.safetensors")
    write(target, tensors, metadata)
    return target


def write(target: Path, tensors: Tensors, metadata: dict[str, str]) -> None:
    """A safetensors file, complete or not there at all. Raises WeightsError."""
    with atomic.replacing(target, WeightsError) as partial:
        save_file(_separate(tensors), partial, metadata)


def _separate(tensors: Tensors) -> Tensors:
    """Contiguous tensors that share no memory, as safetensors requires."""
    seen, result = set(), {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        result[name] = (tensor.clone() if place in seen else tensor).contiguous()
        seen.add(place)
    return result


@contextmanager
def _nothing_but_numbers() -> Iterator[None]:
    """In this context pickles may use only NUMBERS. The host allows more, such as a numpy scalar that reads as None."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(NUMBERS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)


def unpickle(source: Path) -> Any:
    """The content of a PyTorch file, with weights-only reading. Raises WeightsError."""
    headers.read(source)
    try:
        with _nothing_but_numbers():
            return torch.load(source, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(source))
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{source} contains more than weights{_called_for(error)}, or is not a PyTorch file, and was not opened. "
            "Delete it and get the published file."
        ) from error
    except DAMAGE as error:
        raise WeightsError(f"{source} is damaged: {_first_line(error)} Delete it and get it again.") from error


def state_dict(content: Any, entry: Entry, source: Path) -> Tensors:
    """The tensors of `entry` in the content of a published file, under the published names. Raises WeightsError or KeyMismatch."""
    found = content.get(entry.key, content) if entry.key and isinstance(content, Mapping) else content
    tensors = {str(name): value for name, value in found.items() if torch.is_tensor(value)} if isinstance(found, Mapping) else {}
    if not tensors:
        inside = ", ".join(map(str, list(content)[:6])) if isinstance(content, Mapping) else type(content).__name__
        raise WeightsError(f"{source} contains no tensors" + (f" under {entry.key!r}" if entry.key else "") + f"; it contains {inside}.")
    tensors = {name: value for name, value in _unwrapped(tensors).items() if not name.startswith(entry.ignore or ("\0",))}
    if problems := entry.problems(layout_of(tensors)):
        raise KeyMismatch(
            f"{source} is not {entry.title} ({entry.repo} {entry.revision}). {' '.join(problems)} {describe(tensors)} "
            f"Replace it by the published {entry.path}."
        )
    missing = [name for name in entry.layout() if name.endswith(COUNTER) and name not in tensors]
    return tensors | {name: torch.zeros((), dtype=torch.int64) for name in missing}


def _unwrapped(tensors: Tensors) -> Tensors:
    """Without the prefixes that parallel training adds to every name."""
    for prefix in WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def _called_for(error: pickle.UnpicklingError) -> str:
    """What a pickle wanted to run, as far as the error shows."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f" (it calls for {found[1]})" if found else ""


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".") + "."
