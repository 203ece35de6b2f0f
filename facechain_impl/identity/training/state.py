"""The state of an unfinished training on disk, so that a killed process, an interrupt or exhausted memory loses nothing."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch

from ... import atomic
from ...errors import FaceChainError
from ...host import folders
from ...types import digest_of
from .settings import ADDED, TrainSettings

_FORMAT = 1
_DAMAGED = (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile)
# What only says how the work is done: no weights come out of it other than by the order of sums.
_TECHNICAL = ("state_every", "gradient_checkpointing", "offload")


def decisive(settings: TrainSettings, dtype: torch.dtype) -> dict:
    """The settings that decide the weights, as plain values. A batch may be split; the number format is the one that is used."""
    at_default = {key for key in ADDED if getattr(settings, key) == getattr(TrainSettings, key)}
    told = {key: value for key, value in settings.described().items() if key not in at_default and key not in _TECHNICAL}
    found = told | {"precision": str(dtype)}
    if not settings.dropout:  # masks of dropout are drawn anew for each pass
        found["batch_size"] *= found.pop("gradient_accumulation")
    return found


def run_hash(images: list[torch.Tensor], facts: dict) -> str:
    """The identity of a training: its pictures, and everything else that decides the weights, as plain values."""
    told = [_FORMAT, [digest_of(image) for image in images], facts]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def trainings_folder() -> Path:
    return folders.user_folder() / "trainings"


class StateStore:
    """The saved state of one training, in the user's directory. A state is written beside the old one and then replaces it."""

    def __init__(self, run: str):
        self.folder = trainings_folder() / run
        self.file = self.folder / "state.pt"

    def save(self, state: dict, about: dict) -> None:
        """about: what `unfinished` tells of it. Raises FaceChainError when the state cannot be written; the older one stays."""
        with atomic.replacing(self.file) as partial, partial.open("wb") as stream:
            torch.save(state | {"format": _FORMAT, "about": about}, stream)

    def load(self) -> dict | None:
        """The saved state, or None. Raises FaceChainError when the file is damaged."""
        if not self.file.is_file():
            return None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
        except _DAMAGED as error:
            raise FaceChainError(f"The saved state {self.file} is damaged ({error}). Set 'if_state_exists' to Start over.") from error
        return state

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Unfinished:
    """A training that was stopped. run: its identity, the name of its folder. name: of the person. kind: what trainings that differ in
    their number of steps and their looks alone share. steps_done of steps. saved: seconds since 1970."""

    run: str
    name: str = "unknown"
    kind: str = ""
    steps: int = 0
    steps_done: int = 0
    size: int = 0
    saved: float = 0.0

    def text(self) -> str:
        return f"{self.name}, step {self.steps_done} of {self.steps}, {self.size / 2**20:.1f} MB"


def unfinished() -> list[Unfinished]:
    """All saved states, the newest first. Those of version 0.1 and damaged ones do not say whose they are."""
    root = trainings_folder()
    folders_with_state = [path.parent for path in root.glob("*/state.pt")] if root.is_dir() else []
    return sorted(map(_described, folders_with_state), key=lambda one: -one.saved)


def _described(folder: Path) -> Unfinished:
    file = folder / "state.pt"
    stat = file.stat()
    try:
        about = torch.load(file, map_location="cpu", weights_only=True, mmap=True).get("about", {})
    except _DAMAGED:
        about = {}
    return Unfinished(folder.name, **about, size=stat.st_size, saved=stat.st_mtime)


def require_space(folder: Path, size: int) -> None:
    """Raises FaceChainError when less than `size` bytes are free where `folder` is or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise FaceChainError(
            f"Only {free / 2**20:.0f} MB are free at {existing}; this training needs {size / 2**20:.0f} MB there for its results. "
            "Free some space and queue again."
        )
