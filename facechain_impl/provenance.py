"""What a result was made with: every network, file and model that a node opened or was handed, recorded where it happens.

A node runs inside `recording()`. Whatever opens a published file registers it there; the node adds what arrived on its
sockets, and a file what it was made with. Reports, stored persons and saved files read the record; nobody passes it along.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum


class Origin(str, Enum):
    """Where weights came from. Only files that match the catalogue count as published; POCKET is this project's toy base model."""

    PUBLISHED = "published"
    STAND_IN = "stand-in"
    POCKET = "pocket model"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Used:
    """One thing that a result was made with.

    kind: "network" for a file of the catalogue, else the type of the socket it came from (MODEL, CLIP, VAE, CONTROL_NET ...). name:
    its id in the catalogue, or the name of its file, "unknown" where the host remembers none. file: the file's name. sha256: of the
    file, where it is known. digest: of a sample of the weights, where no file is known.
    """

    kind: str
    name: str
    origin: Origin = Origin.UNKNOWN
    file: str = ""
    sha256: str = ""
    digest: str = ""

    def plain(self) -> dict[str, str]:
        """As JSON, without what is not known."""
        values = {"kind": self.kind, "name": self.name, "origin": self.origin.value}
        return values | {key: text for key in ("file", "sha256", "digest") if (text := getattr(self, key))}

    @classmethod
    def from_plain(cls, values: Mapping[str, str]) -> Used:
        """The reverse of `plain`. Fields of other versions are ignored."""
        known = {key: str(values[key]) for key in ("kind", "name", "file", "sha256", "digest") if key in values}
        return cls(**{"kind": "unknown", "name": "unknown", **known}, origin=_origin(values.get("origin", "")))

    def text(self) -> str:
        """For people: `rts (published)`, `MODEL film.safetensors (unknown)`."""
        label = self.name if self.kind == "network" else f"{self.kind} {self.name}"
        return f"{label} ({self.origin.value})"


def _origin(text: str) -> Origin:
    return Origin(text) if text in {one.value for one in Origin} else Origin.UNKNOWN


class Record:
    """Everything used so far, in order, without repeats: what the node opened itself, and what its inputs or files were made with."""

    def __init__(self, inherited: Iterable[Used] = ()):
        self._opened: dict[Used, bool] = dict.fromkeys(inherited, False)

    def inherit(self, *used: Used) -> None:
        for one in used:
            self._opened.setdefault(one, False)

    def open(self, *used: Used) -> None:
        self._opened.update(dict.fromkeys(used, True))

    def is_opened(self, one: Used) -> bool:
        """Whether the node opened it itself."""
        return self._opened[one]

    def __iter__(self) -> Iterator[Used]:
        return iter(self._opened)

    def __len__(self) -> int:
        return len(self._opened)

    @property
    def stand_ins(self) -> tuple[str, ...]:
        """Names of files with random numbers instead of published weights."""
        return self._named(Origin.STAND_IN)

    @property
    def pocket_models(self) -> tuple[str, ...]:
        """Names of toy base models."""
        return self._named(Origin.POCKET)

    def _named(self, origin: Origin) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.name for one in self if one.origin is origin))

    def plain(self) -> list[dict[str, str]]:
        """As JSON."""
        return [one.plain() for one in self]


_record: ContextVar[Record | None] = ContextVar("facechain_record", default=None)


@contextmanager
def recording() -> Iterator[Record]:
    """A new record in this context; the previous one is restored afterwards."""
    record = Record()
    token = _record.set(record)
    try:
        yield record
    finally:
        _record.reset(token)


def current() -> Record:
    """The record of the running node; outside of one a private record."""
    record = _record.get()
    return Record() if record is None else record


def register(*used: Used) -> None:
    """Record what the running node opens."""
    current().open(*used)


def inherit(*used: Used) -> None:
    """Record what something that the running node uses was made with."""
    current().inherit(*used)
