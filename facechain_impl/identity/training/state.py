"""The state of an unfinished training on disk, so that a killed process, an interrupt or exhausted memory loses nothing."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import zipfile
from pathlib import Path

import torch

from ... import atomic
from ...errors import FaceChainError
from ...host import folders
from ...types import digest_of
from .settings import TrainSettings

_FORMAT = 1
# Saving cadence and where the work was done do not change the weights that come out.
_NOT_IDENTITY = ("state_every",)


def run_hash(images: list[torch.Tensor], captions: list[str], settings: TrainSettings, models: list[str]) -> str:
    """The identity of a training: pictures, captions, settings with the seed, and the digests of the models."""
    decisive = {key: value for key, value in settings.described().items() if key not in _NOT_IDENTITY}
    facts = [_FORMAT, [digest_of(image) for image in images], captions, decisive, models]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class StateStore:
    """The saved state of one training, in the user's directory. A state is written beside the old one and then replaces it."""

    def __init__(self, run: str):
        self.folder = folders.user_folder() / "trainings" / run
        self.file = self.folder / "state.pt"

    def save(self, state: dict) -> None:
        """Raises FaceChainError when the state cannot be written; the older one stays."""
        with atomic.replacing(self.file) as partial, partial.open("wb") as stream:
            torch.save(state | {"format": _FORMAT}, stream)

    def load(self) -> dict | None:
        """The saved state, or None. Raises FaceChainError when the file is damaged."""
        if not self.file.is_file():
            return None
        try:
            state = torch.load(self.file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
            raise FaceChainError(f"The saved state {self.file} is damaged ({error}). Set 'if_state_exists' to Start over.") from error
        return state

    def discard(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def require_space(folder: Path, size: int) -> None:
    """Raises FaceChainError when less than `size` bytes are free where `folder` is or will be."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < size:
        raise FaceChainError(
            f"Only {free / 2**20:.0f} MB are free at {existing}; this training needs {size / 2**20:.0f} MB there for its results. "
            "Free some space and queue again."
        )
