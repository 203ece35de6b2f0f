"""Published networks, opened once per prompt and placed under the host's memory manager."""

from __future__ import annotations

from ..host import memory
from ..weights import load


def open_network(name: str) -> memory.Resident:
    """The network that the manifest calls `name`. Raises MissingWeights, KeyMismatch or WeightsError."""
    file = load.find(name)
    return memory.resident(file.key, lambda: memory.Resident(name, load.network(file), file.origin))
