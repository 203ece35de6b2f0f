"""The catalogue's files on this machine, and their origin."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .. import atomic
from ..errors import WeightsError
from ..host import folders
from ..networks.published import PICKLES, Entry
from ..types import Origin
from . import headers

RECORD = "facechain.json"
MARK = "facechain"
CONVERTED = "converted"
STAND_IN = "stand-in"
POCKET = "pocket model"
SAFETENSORS = ".safetensors"
WHOLE_FOLDERS = "diffusers"


@dataclass(frozen=True)
class WeightFile:
    """A published file, or its stand-in, on this machine. key identifies its content, for caches. sha256: of the file as it
    was published, empty where it is not known."""

    name: str
    path: Path
    origin: Origin
    key: tuple
    sha256: str = ""


def places(entry: Entry) -> list[tuple[Path, Path]]:
    """Every place of a (published file, its safetensors), first match wins."""
    return [(folder / entry.place, folder / entry.converted_place) for folder in folders.category_folders(entry.folder)]


def published(entry: Entry) -> Path | None:
    """The file as it was published, the safetensors made from it where that is up to date, or None."""
    for source, converted in places(entry):
        if entry.is_folder:
            if source.is_dir() and any(source.iterdir()):
                return source
        elif entry.is_converted and converted.is_file() and not (source.is_file() and is_stale(converted, source)):
            return converted
        elif source.is_file():
            return source
    return None


def is_stale(converted: Path, source: Path) -> bool:
    """Whether `source` has changed since `converted` was made from it."""
    metadata = headers.read(converted).metadata
    return (metadata.get("size"), metadata.get("time")) != _fingerprint(source)


def stand_in(entry: Entry) -> Path | None:
    for folder in folders.stand_in_folders():
        path = folder / stand_in_name(entry)
        if path.is_file():
            return path
    return None


def stand_in_name(entry: Entry) -> str:
    return entry.name + (".safetensors" if entry.is_converted else Path(entry.path).suffix)


def target(entry: Entry) -> Path:
    """The path of a new copy of the file."""
    return folders.category_folders(entry.folder)[0] / entry.place


def shown_name(entry: Entry) -> str:
    """What the host's loader of its category calls it; empty while it is not here. Of a folder that is the file with the weights,
    except where the host loads whole folders."""
    path = published(entry)
    if path is None:
        return ""
    if path.is_dir() and entry.folder != WHOLE_FOLDERS:
        weights = [file for file in path.rglob("*") if file.suffix in (SAFETENSORS, *PICKLES)]
        path = min(weights, key=lambda file: (file.suffix != SAFETENSORS, len(file.name), file.name), default=path)
    return str(path.relative_to(next(folder for folder in folders.category_folders(entry.folder) if folder in path.parents)))


def weight_file(entry: Entry, name: str, path: Path) -> WeightFile:
    return WeightFile(name, path, origin(entry, path), (name, str(path), *_fingerprint(path)), known_hash(path))


def known_hash(path: Path) -> str:
    """The sha256 recorded for `path` by a download or a conversion, empty without one."""
    return headers.read(path).metadata.get("sha256") or record(path).get("sha256", "")


def origin(entry: Entry, path: Path) -> Origin:
    """Published only where the download recorded it at the catalogue's revision, or its hash is the documented one."""
    metadata = headers.read(path).metadata
    if path.parent in folders.stand_in_folders() or metadata.get(MARK) == STAND_IN:
        return Origin.STAND_IN
    if metadata.get(MARK) == CONVERTED:
        return Origin.PUBLISHED if metadata.get("origin") == Origin.PUBLISHED.value else Origin.UNKNOWN
    return origin_of_hash(entry, path, record(path).get("sha256", ""))


def origin_of_hash(entry: Entry, path: Path, digest: str) -> Origin:
    """The same for a file with this sha256."""
    documented = entry.sha256 and hash_agrees(entry, digest)
    downloaded = not entry.sha256 and record(path).get("revision") == entry.revision
    return Origin.PUBLISHED if digest and (documented or downloaded) else Origin.UNKNOWN


def hash_agrees(entry: Entry, digest: str) -> bool:
    """Whether `digest` is the documented one, or begins and ends like it where only that much is documented."""
    head, _, tail = entry.sha256.partition("…")
    return digest.startswith(head) and digest.endswith(tail)


def record(path: Path) -> dict[str, str]:
    """The download's record of `path`; empty when it came another way or was changed since."""
    found = _records(path.parent).get(path.name, {})
    return found if (found.get("size"), found.get("time")) == _fingerprint(path) else {}


def write_record(path: Path, digest: str, revision: str) -> None:
    size, time = _fingerprint(path)
    records = _records(path.parent) | {path.name: {"sha256": digest, "size": size, "time": time, "revision": revision}}
    atomic.write(path.parent / RECORD, json.dumps(records, indent=1), WeightsError)


def _records(folder: Path) -> dict[str, dict]:
    """Empty where the record is damaged: the files are then of unknown origin."""
    path = folder / RECORD
    try:
        found = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except ValueError:
        return {}
    return {name: value for name, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}


def _fingerprint(path: Path) -> tuple[str, str]:
    stat = path.stat()
    return str(stat.st_size), str(stat.st_mtime_ns)


def fingerprint_metadata(path: Path) -> dict[str, str]:
    size, time = _fingerprint(path)
    return {"size": size, "time": time}


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO, size: int = 1 << 22) -> Iterator[bytes]:
    while block := file.read(size):
        yield block
