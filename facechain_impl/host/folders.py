"""Folders of the host: models, inputs, outputs and the user's data."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

MODELS = "facechain"
STAND_INS = "facechain_stand_ins"


def register() -> None:
    """Make the pack's model folders known to the host. Paths configured before are kept."""
    for name in (MODELS, STAND_INS):
        paths, extensions = folder_paths.folder_names_and_paths.get(name, ([], set()))
        default = os.path.join(folder_paths.models_dir, name)
        paths = [*paths, *([default] if default not in paths else [])]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | folder_paths.supported_pt_extensions | {".onnx"})
    persons = str(persons_folder())
    lora_paths, _ = folder_paths.folder_names_and_paths["loras"]
    if persons not in lora_paths:
        folder_paths.add_model_folder_path("loras", persons)


def category_folders(category: str) -> list[Path]:
    """The folders of one of the host's categories, such as "loras"; new files are written to the first."""
    return [Path(path) for path in folder_paths.get_folder_paths(category)]


def stand_in_folders() -> list[Path]:
    return [Path(path) for path in folder_paths.get_folder_paths(STAND_INS)]


def persons_folder() -> Path:
    """The only place where persons are kept; deleting a folder in it deletes everything about the person."""
    return Path(folder_paths.models_dir) / MODELS / "persons"


def user_folder() -> Path:
    """State that outlives a run, such as unfinished trainings."""
    return Path(folder_paths.get_user_directory()) / "facechain"


def input_folder() -> Path:
    return Path(folder_paths.get_input_directory())


def input_subfolders() -> list[str]:
    """Folders below the input folder, as paths relative to it with forward slashes."""
    return folder_paths.get_input_subfolders()


def is_inside(folder: Path, target: Path) -> bool:
    """Whether `target`, with links resolved, is in `folder`."""
    return folder_paths.is_within_directory(str(folder), str(target))


def temp_folder() -> Path:
    return Path(folder_paths.get_temp_directory())
