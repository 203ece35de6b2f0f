"""Every shape of data that travels between rooms or along a wire, documented once.

Pictures are float32 RGB arrays or tensors [H, W, 3] in 0..1; boxes, points and masks are in pixels of the picture that was
handed to the node, x before y, with "left" meaning left in the picture.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np
import torch

from .errors import BadInput

# Of a state dict: published key -> (shape, dtype).
Layout = dict[str, tuple[tuple[int, ...], torch.dtype]]

STAND_IN_NOTE = "random numbers in the published format. Nothing here says anything about a person."


class NoFace(str, Enum):
    """What to do with a picture in which no usable face is found."""

    STOP = "Stop"
    SKIP = "Skip"
    PASS = "Pass through"


class Origin(str, Enum):
    """Where weights came from. Only files that match the manifest are ever called published."""

    PUBLISHED = "published"
    STAND_IN = "stand-in"
    UNKNOWN = "unknown"


@dataclass
class Face:
    """One face of one picture.

    box: float32 [4], x0 y0 x1 y1. score: detector's, 0..1. points: float32 [5, 2], left eye, right eye, nose, left and right
    mouth corner. landmarks: float32 [N, 2] where a denser set is known. embedding: float32 [512] of length 1 (RTS), uncertainty
    its log variance. quality: FQA score. attributes: {"gender": [2], "age": [9]} probabilities. crop_transform: float64 [3, 3],
    picture -> crop. masks: name -> bool or float [H, W] of the whole picture. person: an id given by whoever matched the face.
    """

    box: np.ndarray
    score: float
    points: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    embedding: np.ndarray | None = None
    uncertainty: float | None = None
    quality: float | None = None
    attributes: dict | None = None
    crop_transform: np.ndarray | None = None
    masks: dict[str, np.ndarray] = field(default_factory=dict)
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


@dataclass
class Picture:
    """The faces of one picture. size is (height, width); digest identifies the pixels, see `digest_of`."""

    faces: list[Face]
    size: tuple[int, int]
    digest: str
    name: str = ""
    detector: str = ""
    masks: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Faces:
    """FACECHAIN_FACES: what is known about the faces of a list of pictures, in the order of the pictures.

    crops: the same for pictures that were cut from them, in their own pixels, so that a node that gets crops knows them too.
    """

    pictures: list[Picture]
    stand_ins: tuple[str, ...] = ()
    crops: list[Picture] = field(default_factory=list)

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
    digest.update(pixels.numpy())
    return digest.hexdigest()


@dataclass
class LoraEntry:
    """FACECHAIN_LORA: one LoRA to merge. Exactly one of file, tensors or person is set; role is "face" or "style"."""

    name: str
    strength_model: float = 1.0
    strength_clip: float = 1.0
    role: str = "style"
    file: Path | None = None
    tensors: dict[str, torch.Tensor] | None = None
    person: Person | None = None


@dataclass
class Person:
    """FACECHAIN_PERSON: a trained identity.

    lora: flat dict of contiguous CPU tensors in the key format of its file. photo: the best photograph's crop, float32
    [512, 512, 3]. embedding: float32 [512], unit length, or None when the recognition network was not there. folder: where it is
    stored, None before it was saved.
    """

    name: str
    lora: dict[str, torch.Tensor]
    trigger: str
    photo: torch.Tensor | None = None
    embedding: np.ndarray | None = None
    report: dict = field(default_factory=dict)
    folder: Path | None = None
    lora_file: Path | None = None


@dataclass
class ReportRow:
    """What happened to one picture (or file): status is a short word, reason a sentence for the user, empty when all went well."""

    name: str
    status: str
    reason: str = ""
    values: dict[str, object] = field(default_factory=dict)


@dataclass
class Report:
    """What a node says about its work, on the node as a table and in the history as JSON."""

    title: str
    rows: list[ReportRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stand_ins: tuple[str, ...] = ()

    def add(self, name: str, status: str, reason: str = "", **values) -> None:
        self.rows.append(ReportRow(name, status, reason, values))

    def json(self) -> dict:
        return {
            "title": self.title,
            "rows": [asdict(row) for row in self.rows],
            "notes": self.all_notes(),
            "stand_ins": list(self.stand_ins),
        }

    def all_notes(self) -> list[str]:
        if not self.stand_ins:
            return list(self.notes)
        return [f"STAND-IN WEIGHTS ({', '.join(self.stand_ins)}): {STAND_IN_NOTE}", *self.notes]

    def text(self) -> str:
        lines = [self.title, *self.all_notes()]
        for row in self.rows:
            values = " ".join(f"{key}={_short(value)}" for key, value in row.values.items())
            lines.append("  ".join(part for part in (row.name, row.status, values, row.reason) if part))
        return "\n".join(lines)


def _short(value) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


__all__ = [
    "Face", "Faces", "LoraEntry", "NoFace", "Origin", "Person", "Picture", "Report", "ReportRow", "digest_of", "replace",
]  # fmt: skip
