"""Every shape of data that travels between rooms or along a wire, documented once.

Pictures are float32 RGB arrays or tensors [H, W, 3] in 0..1; boxes, points and masks are in pixels of the picture that was
handed to the node, x before y, with "left" meaning left in the picture.

Wire types are frozen: arrays are read-only, lists are tuples, tables are read-only. A node that knows more makes a new value
with `replace`. `plain` turns them into dicts, lists and tensors and `from_plain` back, for hosts that run packs in processes of
their own; pickling and copying go that way too. Tensors cannot be locked: never write to one from a wire.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch

from . import provenance
from .errors import BadInput
from .provenance import Origin, Used

# Of a state dict: published key -> (shape, dtype).
Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]

STAND_IN_NOTE = "random numbers in the published format. The results mean nothing."
POCKET_NOTE = "a toy for demonstrations, trained by this project on old paintings and drawn faces. A real base model shows far more."
T = TypeVar("T")


class NoFace(str, Enum):
    """What to do with a picture without a usable face."""

    STOP = "Stop"
    SKIP = "Skip"
    PASS = "Pass through"


def frozen(value: Any) -> Any:
    """`value`, immutable: arrays read-only (copied unless nothing can write to their memory), lists as tuples, dicts as read-only."""
    if isinstance(value, np.ndarray):
        return value if _is_locked(value) else _locked(value)
    if isinstance(value, (list, tuple)):
        entries = tuple(frozen(entry) for entry in value)
        return value if isinstance(value, tuple) and all(map(operator.is_, entries, value)) else entries
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(entry) for key, entry in value.items()})
    return value


def _is_locked(array: np.ndarray) -> bool:
    """Whether the array and the one that it is a view of are read-only."""
    memory: Any = array
    while isinstance(memory, np.ndarray):
        if memory.flags.writeable:
            return False
        memory = memory.base
    return memory is None


def _locked(array: np.ndarray) -> np.ndarray:
    copied = array.copy()
    copied.setflags(write=False)
    return copied


def thawed(value: Any) -> Any:
    """Read-only tables and tuples as new dicts and lists, fit for JSON."""
    if isinstance(value, Mapping):
        return {key: thawed(entry) for key, entry in value.items()}
    return [thawed(entry) for entry in value] if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True, eq=False)
class Wire:
    """Base of the frozen types on the pack's wires."""

    def __post_init__(self) -> None:
        for part in fields(self):
            object.__setattr__(self, part.name, frozen(getattr(self, part.name)))

    def __reduce__(self) -> tuple:
        return from_plain, (plain(self),)


@dataclass(frozen=True, eq=False)
class Face(Wire):
    """One face of one picture.

    box: float32 [4], x0 y0 x1 y1. score: detector's, 0..1. points: float32 [5, 2], left eye, right eye, nose, left and right
    mouth corner. landmarks: float32 [N, 2] where a denser set is known. embedding: float32 [512] of length 1 (RTS), uncertainty
    its log variance. quality: FQA score. attributes: {"gender": [2], "age": [9]} probabilities. crop_transform: float64 [3, 3],
    picture -> crop. masks: name -> bool or float [H, W] of the whole picture. person: an id given by the node that matched the face.
    """

    box: np.ndarray
    score: float
    points: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    embedding: np.ndarray | None = None
    uncertainty: float | None = None
    quality: float | None = None
    attributes: Mapping[str, np.ndarray] | None = None
    crop_transform: np.ndarray | None = None
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    person: str | None = None

    @property
    def width(self) -> float:
        return float(self.box[2] - self.box[0])

    @property
    def height(self) -> float:
        return float(self.box[3] - self.box[1])

    @property
    def area(self) -> float:
        return max(self.width, 0.0) * max(self.height, 0.0)

    @property
    def five(self) -> np.ndarray:
        """`points` of a face that must have them. Raises BadInput when it has none."""
        if self.points is None:
            raise BadInput(
                f"The face at {self.box.round().tolist()} was found without its eyes, nose and mouth corners, which are needed here. "
                "Find the faces again with another detector."
            )
        return self.points

    @property
    def longer_side(self) -> float:
        return max(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Picture(Wire):
    """The faces of one picture. size is (height, width); digest identifies the pixels, see `digest_of`. source: the digest of the photo
    that it was cut out of, which stays the same however the cut is retouched; empty where it is a whole picture or that is not known."""

    faces: tuple[Face, ...]
    size: tuple[int, int]
    digest: str
    name: str = ""
    detector: str = ""
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, eq=False)
class Faces(Wire):
    """FACECHAIN_FACES: what is known about the faces of a list of pictures, in the order of the pictures.

    crops: the same for pictures that were cut from them, in their own pixels, so that a node that gets crops has them too. used:
    what they were found with; set by the node that puts them out.
    """

    pictures: tuple[Picture, ...]
    crops: tuple[Picture, ...] = ()
    used: tuple[Used, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def of(self, image: torch.Tensor) -> Picture | None:
        """What is known about `image` [H, W, 3], or None when none of the pictures has its pixels.

        Raises BadInput when there are pictures but none even of its size: then the faces belong to other pictures."""
        digest, size = digest_of(image), tuple(image.shape[:2])
        known = [*self.pictures, *self.crops]
        for picture in known:
            if picture.digest == digest:
                return picture
        if known and all(tuple(picture.size) != size for picture in known):
            sizes = ", ".join(sorted({f"{w}x{h}" for h, w in (p.size for p in self.pictures or known)}))
            raise BadInput(
                f"The connected faces belong to other pictures: they were found in {sizes}, this picture is {size[1]}x{size[0]}. "
                "Connect the faces that were found in this picture, or leave the input empty."
            )
        return None


def digest_of(image: torch.Tensor) -> str:
    """A hash of the pixels of `image` [H, W, C] float 0..1, stable across devices and runs."""
    pixels = image.detach().to("cpu", torch.float32).contiguous()
    digest = hashlib.blake2b(repr(tuple(pixels.shape)).encode(), digest_size=16)
    digest.update(pixels.numpy().data)
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class LoraEntry(Wire):
    """FACECHAIN_LORA: one LoRA to merge. Exactly one of file, tensors or person is set; role is "face" or "style"."""

    name: str
    strength_model: float = 1.0
    strength_clip: float = 1.0
    role: str = "style"
    file: Path | None = None
    tensors: Mapping[str, torch.Tensor] | None = None
    person: Person | None = None
    used: tuple[Used, ...] = ()


@dataclass(frozen=True, eq=False)
class Person(Wire):
    """FACECHAIN_PERSON: a trained identity.

    lora: flat table of contiguous CPU tensors in the key format of its file. photo: the best photograph's crop, float32
    [512, 512, 3]. embedding: float32 [512], unit length, or None without the recognition network. report: of the
    training, plain JSON values. folder: where it is stored, None before it is saved. used: what it was made with.
    """

    name: str
    lora: Mapping[str, torch.Tensor]
    trigger: str
    photo: torch.Tensor | None = None
    embedding: np.ndarray | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    lora_file: Path | None = None
    used: tuple[Used, ...] = ()


WIRES: dict[str, type] = {one.__name__: one for one in (Face, Picture, Faces, LoraEntry, Person, Used)}
_TYPE = "facechain_type"


def register_wire(kind: type[T]) -> type[T]:
    """Class decorator: makes a wire type of a higher room known to `plain` and `from_plain`."""
    WIRES[kind.__name__] = kind
    return kind


def plain(value: Any) -> Any:
    """A wire value as dicts, lists, numbers, texts and tensors."""
    if is_dataclass(value) and not isinstance(value, type):
        return {_TYPE: type(value).__name__, **{part.name: plain(getattr(value, part.name)) for part in fields(value)}}
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def from_plain(value: Any) -> Any:
    """The reverse of `plain`. Tensors become arrays again where a type holds arrays."""
    if isinstance(value, list):
        return [from_plain(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    if _TYPE not in value:
        return {key: from_plain(entry) for key, entry in value.items()}
    kind = WIRES[value[_TYPE]]
    if kind is Used:
        return Used.from_plain(value)
    declared = {part.name: str(part.type) for part in fields(kind) if part.name in value}
    return kind(**{name: _restored(from_plain(value[name]), kind_name) for name, kind_name in declared.items()})


def _restored(value: Any, declared: str) -> Any:
    if value is None:
        return None
    if "ndarray" in declared:
        return {key: entry.numpy() for key, entry in value.items()} if isinstance(value, dict) else value.numpy()
    return Path(value) if declared.startswith("Path") else value


class Severity(str, Enum):
    """How much attention a row of a report asks for. The editor and the demonstration's page colour rows by it."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


class Status(str, Enum):
    """The result for one picture, person or file. Reports show the value."""

    severity: Severity

    def __new__(cls, text: str, severity: Severity) -> Status:
        made = str.__new__(cls, text)
        made._value_ = text
        made.severity = severity
        return made

    LOADED = "loaded", Severity.GOOD
    NOT_READ = "not read", Severity.PROBLEM
    ALIGNED = "aligned", Severity.GOOD
    REJECTED = "rejected", Severity.PROBLEM
    FOUND = "found", Severity.GOOD
    NO_FACE = "no face", Severity.WARNING
    PICKED = "picked", Severity.GOOD
    LEFT_OUT = "left out", Severity.NOTE
    CUT = "cut", Severity.GOOD
    STITCHED = "stitched", Severity.GOOD
    UNCHANGED = "unchanged", Severity.NOTE
    FUSED = "fused", Severity.GOOD
    PAINTED = "painted", Severity.GOOD
    LEFT_AS_IT_WAS = "left as it was", Severity.WARNING
    NOT_USED = "not used", Severity.WARNING
    PASSED_THROUGH = "passed through", Severity.WARNING
    SKIPPED = "skipped", Severity.WARNING
    CAPTIONED = "captioned", Severity.GOOD
    NOT_COUNTED = "not counted", Severity.WARNING
    SUITABLE = "good", Severity.GOOD
    TO_CHECK = "check", Severity.WARNING
    RANKED = "ranked", Severity.GOOD
    TRAINED = "trained", Severity.GOOD
    MERGED = "merged", Severity.GOOD
    STORED = "stored", Severity.GOOD
    WRITTEN = "written", Severity.GOOD
    PLANNED = "planned", Severity.GOOD
    EDITED = "edited", Severity.GOOD
    ANIMATED = "animated", Severity.GOOD
    SPOKEN = "spoken", Severity.NOTE
    PRESENT = "present", Severity.GOOD
    MISSING = "missing", Severity.NOTE
    DAMAGED = "damaged", Severity.PROBLEM
    STAND_IN = "stand-in", Severity.WARNING


@dataclass
class ReportRow:
    """What happened to one picture (or file): reason is a sentence for the user, or empty."""

    name: str
    status: Status
    reason: str = ""
    values: dict[str, object] = field(default_factory=dict)

    def json(self) -> dict:
        return {
            "name": self.name,
            "status": self.status.value,
            "severity": self.status.severity.value,
            "reason": self.reason,
            "values": self.values,
        }


@dataclass
class Report:
    """A node's report, shown on the node as a table and kept in the history as JSON.

    record: what the work was done with so far; by default that of the running node."""

    title: str
    rows: list[ReportRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    record: provenance.Record = field(default_factory=provenance.current)

    def add(self, name: str, status: Status, reason: str = "", **values: object) -> None:
        self.rows.append(ReportRow(name, status, reason, values))

    def json(self) -> dict:
        return {
            "title": self.title,
            "rows": [row.json() for row in self.rows],
            "notes": self.all_notes(),
            "stand_ins": list(self.record.stand_ins),
            "pocket_models": list(self.record.pocket_models),
            "used": [one.plain() | {"opened": self.record.is_opened(one)} for one in self.record],
        }

    def all_notes(self) -> list[str]:
        stand_ins, pocket = ", ".join(self.record.stand_ins), ", ".join(self.record.pocket_models)
        said = [f"STAND-IN WEIGHTS ({stand_ins}): {STAND_IN_NOTE}"] if stand_ins else []
        said += [f"POCKET MODEL ({pocket}): {POCKET_NOTE}"] if pocket else []
        return [*said, *self.notes]

    def text(self) -> str:
        lines = [self.title, *self.all_notes()]
        for row in self.rows:
            values = " ".join(f"{key}={_short(value)}" for key, value in row.values.items())
            lines.append("  ".join(part for part in (row.name, row.status.value, values, row.reason) if part))
        if len(self.record):
            lines.append(f"Made with: {', '.join(one.text() for one in self.record)}.")
        return "\n".join(lines)


def _short(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def updated(values: Iterable[T], changes: Mapping[int, T]) -> list[T]:
    """`values` with those at the indices of `changes` replaced."""
    return [changes.get(index, value) for index, value in enumerate(values)]


__all__ = [
    "Face", "Faces", "LoraEntry", "NoFace", "Origin", "Person", "Picture", "Report", "ReportRow", "Severity", "Status", "Used", "Wire",
    "digest_of", "from_plain", "frozen", "plain", "register_wire", "replace", "thawed", "updated",
]  # fmt: skip
