"""Published networks, opened once per prompt and placed under the host's memory manager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import MissingWeights
from ..host import memory
from ..weights import catalogue, files, load

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def require(*names: str) -> None:
    """Raise one MissingWeights for all files of `names` that are not on this machine."""
    entries = [catalogue.get(name) for name in names]
    missing = [entry for entry in entries if files.published(entry) is None and files.stand_in(entry) is None]
    if missing:
        raise MissingWeights("\n".join(load.missing_message(entry) for entry in missing))


def open_network(name: str) -> memory.ManagedModel:
    """The network that the catalogue calls `name`. Raises MissingWeights, KeyMismatch or WeightsError."""
    file = load.find(name)
    return memory.managed(file.key, lambda: memory.ManagedModel(name, load.network(file), file.origin))


def open_session(name: str) -> InferenceSession:
    """The onnxruntime session of a published ONNX file. Raises MissingWeights or WeightsError."""
    file = load.find(name)
    return memory.managed(file.key, lambda: load.session(file))
