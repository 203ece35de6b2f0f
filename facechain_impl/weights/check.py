"""The state of every published file on this machine, from names, sizes and headers only: quick, offline, never raises."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import WeightsError
from ..host import folders
from ..networks.published import Entry, megabytes
from ..types import Origin, Report, Status
from . import catalogue, files, headers, uses

STATES = (Status.PRESENT, Status.MISSING, Status.DAMAGED, Status.STAND_IN)


@dataclass(frozen=True)
class FileStatus:
    """path: of the file to open, None if missing. reason: what is wrong, or the known origin."""

    entry: Entry
    status: Status
    path: Path | None = None
    reason: str = ""


def status(entry: Entry) -> FileStatus:
    try:
        path = files.published(entry) or files.stand_in(entry)
        return _examined(entry, path) if path else FileStatus(entry, Status.MISSING)
    except WeightsError as error:
        return FileStatus(entry, Status.DAMAGED, reason=str(error))
    except OSError as error:
        return FileStatus(entry, Status.DAMAGED, reason=f"{error.filename} cannot be read ({error.strerror}). Check its read permission.")


def _examined(entry: Entry, path: Path) -> FileStatus:
    if path.is_dir():
        return FileStatus(entry, Status.PRESENT, path)
    header = headers.read(path)
    problem = _problem(entry, path, header)
    if problem:
        return FileStatus(entry, Status.DAMAGED, path, f"{path} is not the published file: {problem} Delete it and get it again.")
    found = files.origin(entry, path)
    if found is Origin.STAND_IN:
        return FileStatus(entry, Status.STAND_IN, path, "random numbers in the published format, for tests and demonstrations")
    return FileStatus(entry, Status.PRESENT, path, "" if found is Origin.PUBLISHED else "not compared with a published hash")


def _problem(entry: Entry, path: Path, header: headers.Header) -> str:
    size = path.stat().st_size
    if entry.bytes and path.name == entry.file_name and size != entry.bytes and header.metadata.get(files.MARK) != files.STAND_IN:
        return f"it has {size} bytes instead of {entry.bytes}."
    return " ".join(entry.problems(header.layout)) if header.layout is not None else ""


def report(entries: Iterable[Entry] = catalogue.ENTRIES) -> Report:
    """A row per file: state, size, licence, folder, what needs it, and how to get it where it is missing."""
    found = [status(entry) for entry in entries]
    counts = Counter(one.status for one in found)
    result = Report("Published files: " + ", ".join(f"{counts[state]} {state.value}" for state in STATES))
    for one in found:
        result.add(one.entry.name, one.status, _reason(one), **_values(one))
    return result


def _values(one: FileStatus) -> dict[str, str]:
    entry = one.entry
    size = megabytes(one.path.stat().st_size) if one.path and one.path.is_file() else entry.size_text
    return {
        "what": entry.title,
        "needed by": uses.purpose(entry),
        "size": size,
        "licence": entry.licence.text(),
        "file": str(one.path or files.target(entry)),
    }


def _reason(one: FileStatus) -> str:
    if one.status in (Status.PRESENT, Status.DAMAGED):
        return one.reason
    command = f"python run.py models get {one.entry.name}"
    return f"{one.reason}; the published file: {command}" if one.reason else f"get it with: {command}"


def fingerprint(*names: str) -> str:
    """Changes whenever one of the named files, or any without names, appears, disappears or changes. Never raises."""
    entries = [catalogue.get(name) for name in names] or catalogue.ENTRIES
    digest = hashlib.blake2b(digest_size=16)
    stand_ins = [folder / files.stand_in_name(entry) for folder in folders.stand_in_folders() for entry in entries]
    for path in (*(path for entry in entries for pair in files.places(entry) for path in pair), *stand_ins):
        digest.update(_stamp(path).encode())
    return digest.hexdigest()


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return ""
    return f"{path}|{stat.st_size}|{stat.st_mtime_ns}\n"
