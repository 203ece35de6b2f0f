"""Sources of photographs: the pack's sample, or files below the host's input folder only."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path

from ..errors import BadInput
from ..host import folders
from .load import PICTURES, natural, picture_files

SAMPLE, FOLDER, FILES = "Sample photo", "Folder", "Files"
SOURCES = (SAMPLE, FOLDER, FILES)
TOP = "."
SAMPLE_FOLDER = Path(__file__).resolve().parents[2] / "assets" / "sample"


def folder_choices() -> list[str]:
    """The input folder and all its subfolders."""
    return [TOP, *sorted(folders.input_subfolders(), key=natural)]


def names_in(files: str) -> list[str]:
    """The names in `files`, one per line. Version 0.1 wrote a list, which the host hands over as the text of one."""
    text = files.strip()
    if text.startswith("[") and text.endswith("]"):
        with contextlib.suppress(ValueError, SyntaxError):
            listed = ast.literal_eval(text)
            if isinstance(listed, list):
                return [str(name) for name in listed if name]
    return [line for line in files.splitlines() if line.strip()]


def chosen_files(source: str, folder: str, files: str) -> list[Path]:
    """The files of a source; `files` has one name per line.

    Raises BadInput for names outside the input folder, for missing files, and for an empty source."""
    chosen = listed_files(source, folder, files)
    gone = [path.name for path in chosen if not path.is_file()]
    if gone:
        raise BadInput(f"{missing_message()}: {', '.join(gone)}. Upload them again or take them off the list.")
    return chosen


def missing_message() -> str:
    return f"Not in the input folder {folders.input_folder()}"


def listed_files(source: str, folder: str, files: str) -> list[Path]:
    """As `chosen_files`, with those of the list that are missing."""
    if source == SAMPLE:
        return _some(picture_files(SAMPLE_FOLDER), f"The pack's sample photo is missing from {SAMPLE_FOLDER}. Install the pack again.")
    if source == FOLDER:
        place = _inside(folder)
        endings = " ".join(sorted(PICTURES))
        return _some(picture_files(place), f"The folder {place} holds no picture ({endings}). Choose another folder or put photos there.")
    if source != FILES:
        raise BadInput(f"There is no source {source!r}; choose one of: {', '.join(SOURCES)}.")
    listed = [_inside(name) for name in names_in(files)]
    return _some(listed, "No file is chosen. Add photos with the button on the node, or choose another source.")


def shown_name(file: Path) -> str:
    """How a file is named in `files`: its path inside the input folder; the sample photo, which is elsewhere, by its name."""
    top = folders.input_folder()
    return file.relative_to(top).as_posix() if file.is_relative_to(top) else file.name


def fingerprint(files: list[Path]) -> list[tuple[str, int, int]]:
    """Names, sizes and times of `files`: changes whenever a file was added, removed or written."""
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _some(files: list[Path], otherwise: str) -> list[Path]:
    if not files:
        raise BadInput(otherwise)
    return files


def _inside(name: str) -> Path:
    top = folders.input_folder()
    path = top / name
    if Path(name).is_absolute() or "\0" in name or not folders.is_inside(top, path):
        raise BadInput(f"{name!r} is not inside the input folder {top}. Copy the photos into it and give the path from there.")
    return path
