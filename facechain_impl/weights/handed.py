"""What arrives on a node's sockets, as entries of its record: host models by their file or digest, wires of the pack by their record."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import types
from ..errors import WeightsError
from ..host import folders, handed
from ..provenance import Origin, Used
from . import catalogue, files, headers

UNKNOWN = "unknown"
DIGEST = "digest"
"""Key in a stand-in's header for its weights' digest, since the host forgets which file a CONTROL_NET came from."""
MARKED = {files.STAND_IN: Origin.STAND_IN, files.POCKET: Origin.POCKET}
"""What the header of a file that this project made says of it."""
_REMEMBERED = 64
_loras: dict[str, tuple[Used, ...]] = {}


def used_by(value: Any) -> Iterator[Used]:
    """Everything that `value`, one input of a node, was made with. Pictures, texts and numbers make no claim."""
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from used_by(entry)
    elif isinstance(value, types.Wire):
        yield from _of_wire(value)
    elif isinstance(value, Mapping):
        yield from _of_table(value)
    elif (model := handed.described(value)) is not None:
        yield from _of_model(model)


def _of_wire(value: types.Wire) -> Iterator[Used]:
    yield from getattr(value, "used", ())
    if isinstance(value, types.Person):
        yield Used("PERSON", value.name, Origin.UNKNOWN, value.lora_file.name if value.lora_file else "")


def _of_table(value: Mapping) -> Iterator[Used]:
    """A LORA_MODEL, which the host passes as a plain table of tensors, or a growing input, which is a table of values."""
    if is_lora(value):
        digest = handed.digest_of_weights(value)
        yield from _loras.get(digest, (Used("LORA_MODEL", UNKNOWN, Origin.UNKNOWN, digest=digest),))
    else:
        for entry in value.values():
            yield from used_by(entry)


def is_lora(value: Any) -> bool:
    """Whether `value` is a LORA_MODEL: a plain table of tensors by the names of a LoRA."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(entry, torch.Tensor) for entry in value.values()):
        return False
    return any("lora" in str(key).lower() for key in value)


def _of_model(model: handed.HostModel) -> Iterator[Used]:
    yield from model.attached
    if model.file is not None:
        yield host_file(model.kind, model.file)
    elif not model.attached:
        digest = model.digest()
        yield _marked(digest, model.kind) or Used(model.kind, UNKNOWN, Origin.UNKNOWN, digest=digest)
    if model.patched and not model.attached:
        yield Used("LORA", UNKNOWN)


def host_file(kind: str, path: Path) -> Used:
    """A file that the host opened."""
    return Used(kind, path.name, _origin(path), path.name, _hash(path))


def _origin(path: Path) -> Origin:
    for entry in catalogue.ENTRIES:
        if not entry.is_ours and entry.file_name == path.name and path in {source for source, _ in files.places(entry)}:
            return files.origin(entry, path)
    return MARKED.get(_metadata(path).get(files.MARK, ""), Origin.UNKNOWN)


def _hash(path: Path) -> str:
    return _metadata(path).get("sha256") or files.record(path).get("sha256", "")


def _metadata(path: Path) -> dict[str, str]:
    """The header of a file; empty where it cannot be read, which is for its loader to complain about."""
    try:
        return headers.read(path).metadata
    except (WeightsError, OSError):
        return {}


def _marked(digest: str, kind: str) -> Used | None:
    """The stand-in in the host's folders whose header names this digest."""
    category = {"CONTROL_NET": "controlnet", "UPSCALE_MODEL": "upscale_models"}.get(kind)
    for folder in folders.category_folders(category) if category and digest else ():
        for path in sorted(folder.glob("*.safetensors")):
            if _metadata(path).get(DIGEST) == digest:
                return host_file(kind, path)
    return None


def remember_lora(tensors: Mapping[str, torch.Tensor], used: tuple[Used, ...]) -> None:
    """A LORA_MODEL that the pack put out: the host's plain table cannot carry what it was made with."""
    _loras[handed.digest_of_weights(tensors)] = used
    while len(_loras) > _REMEMBERED:
        del _loras[next(iter(_loras))]


def used_in_header(metadata: Mapping[str, str], key: str) -> tuple[Used, ...]:
    """What a saved file says that it was made with; nothing where it says nothing, or nothing readable."""
    try:
        rows = json.loads(metadata.get(key, "[]"))
    except ValueError:
        return ()
    return tuple(Used.from_plain(row) for row in rows if isinstance(row, dict)) if isinstance(rows, list) else ()
