"""Getting published files from ModelScope: licence first, pinned revision, resumable; only complete files are moved into place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from modelscope import HubApi, snapshot_download
from modelscope.hub.errors import HubError

from .. import atomic
from ..errors import WeightsError
from ..host import folders
from ..networks.published import Entry
from . import catalogue, convert, files, headers

WORK = ".facechain_download"
COMPANIONS = ["configuration.json", "README.md", "*.py"]
"""Small files beside the weights with facts that the catalogue lacks. They are read as text only."""

LOADERS = {
    "checkpoints": "Load Checkpoint",
    "diffusers": 'Load Diffusers Model (DEPRECATED), in the place of Load Checkpoint; the editor lists it once its setting "Show '
    'deprecated nodes in search" is on',
    "controlnet": "Load ControlNet Model",
    "loras": "Load LoRA",
    "upscale_models": "Load Upscale Model",
}
"""The host's node that lists the files of a category."""

Say = Callable[[str], None]


def get(name: str, say: Say) -> Path:
    """Download the catalogue's `name` to where `load.find` looks. Raises WeightsError."""
    entry = catalogue.get(name)
    for line in announcement(entry):
        say(line)
    if (there := files.published(entry)) is not None:
        say(f"It is already there: {there}")
        return there
    return bring(entry, say)


def bring(entry: Entry, say: Say) -> Path:
    """Download a file that is not here, and say where it is and what loads it. Raises WeightsError."""
    path = install(entry, fetch(entry))
    shutil.rmtree(work_folder(entry), ignore_errors=True)
    say(f"Ready: {path}")
    if entry.folder in LOADERS:
        say(f"Choose {files.shown_name(entry)} in ComfyUI's node {LOADERS[entry.folder]}.")
    return path


def announcement(entry: Entry) -> list[str]:
    """What the user should know before the download."""
    return [
        f"{entry.name}: {entry.title}",
        f"Licence: {entry.licence.text()}",
        f"Source: {entry.repo} {entry.revision} on ModelScope, {entry.path} ({entry.size_text})",
    ]


def fetch(entry: Entry, companions: bool = False) -> Path:
    """Download into a separate folder, where an interrupted download resumes. Raises WeightsError."""
    patterns = [f"{entry.path}*" if entry.is_folder else entry.path, *(COMPANIONS if companions else [])]
    work = work_folder(entry)
    snapshot(entry.repo, entry.revision, None if entry.path == "./" else patterns, work)
    found = work / entry.path
    if not found.exists():
        raise WeightsError(_vanished(entry))
    return found


def _vanished(entry: Entry) -> str:
    return f"{entry.repo} {entry.revision} no longer has {entry.path}. Please report this with: models verify {entry.name}"


def snapshot(repo: str, revision: str, patterns: list[str] | None, folder: Path) -> None:
    """The files of a repository that match one of `patterns`, below `folder`. Raises WeightsError."""
    try:
        snapshot_download(repo, revision=revision, local_dir=str(folder), allow_patterns=patterns)
    except (HubError, OSError) as error:
        raise WeightsError(
            f"{repo} {revision} could not be downloaded: {_first_line(error)}. Check the connection and run the command again; "
            "it resumes where it stopped."
        ) from error


def listing(repo: str, revision: str) -> dict[str, int]:
    """Path and size in bytes of every file that a repository has. Raises WeightsError."""
    try:
        rows = HubApi().get_model_files(repo, revision=revision, recursive=True)
    except (HubError, OSError) as error:
        raise WeightsError(
            f"{repo} {revision} could not be listed: {_first_line(error)}. Check the connection to ModelScope and run the command again."
        ) from error
    return {row["Path"]: int(row["Size"] or 0) for row in rows}


def size(entry: Entry) -> int:
    """Bytes to download, as the hub lists them where the catalogue does not know. Raises WeightsError."""
    if entry.bytes or entry.megabytes:
        return entry.bytes or round((entry.megabytes or 0) * 1e6)
    listed = listing(entry.repo, entry.revision)
    sizes = [length for path, length in listed.items() if path == entry.path or (entry.is_folder and path.startswith(entry.path))]
    if not sizes:
        raise WeightsError(_vanished(entry))
    return sum(sizes)


def work_folder(entry: Entry) -> Path:
    """Beside the host's category of models, so that a move is one rename and no list shows unfinished files."""
    return folders.category_folders(entry.folder)[0].parent / WORK / entry.repo.replace("/", "--") / entry.revision


def install(entry: Entry, found: Path) -> Path:
    """Check a downloaded file, convert a pickle, and move it into place. A wrong file is deleted. Raises WeightsError."""
    target = files.target(entry)
    if found.is_dir():
        atomic.move(found, target, WeightsError)
        return target
    try:
        digest = checked(entry, found)
        files.write_record(found, digest, entry.revision)
        if entry.is_converted:
            return _install_converted(entry, found)
    except WeightsError:
        found.unlink(missing_ok=True)
        raise
    atomic.move(found, target, WeightsError)
    if entry.is_ours:
        files.write_record(target, digest, entry.revision)
    return target


def checked(entry: Entry, found: Path) -> str:
    """The sha256 of a downloaded file. Raises WeightsError where size, hash or kind differ from the catalogue."""
    size = found.stat().st_size
    if entry.bytes and size != entry.bytes:
        raise WeightsError(f"{entry.file_name} arrived with {size} bytes instead of {entry.bytes}. Run the command again.")
    digest = files.sha256(found)
    if not files.hash_agrees(entry, digest):
        raise WeightsError(f"{entry.file_name} arrived with the hash {digest} instead of {entry.sha256}. Run the command again.")
    problems = entry.problems(layout) if (layout := headers.read(found).layout) is not None else []
    if problems:
        raise WeightsError(f"{entry.file_name} is not what the catalogue describes. {' '.join(problems)}")
    return digest


def _install_converted(entry: Entry, found: Path) -> Path:
    """Install only the safetensors, one for each entry in the pickle, and delete the pickle."""
    made = {sibling.name: convert.convert(sibling, found) for sibling in siblings(entry)}
    for path in made.values():
        atomic.move(path, files.target(entry).parent / path.name, WeightsError)
    found.unlink()
    return files.target(entry).parent / made[entry.name].name


def siblings(entry: Entry) -> list[Entry]:
    """The entries in the same published file, including `entry`."""
    return [other for other in catalogue.ENTRIES if (other.repo, other.revision, other.path) == (entry.repo, entry.revision, entry.path)]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
