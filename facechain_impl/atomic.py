"""Files that appear whole or not at all: written under another name next to their place, flushed to disk, then renamed.

The other name is hidden and ends in `.part`, which no list of models, persons or pictures shows.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from .errors import FaceChainError

SUFFIX = ".part"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: Path, failure: type[FaceChainError] = FaceChainError, size: int = 0) -> Iterator[Path]:
    """For a `with` block: where to write the file that takes the place of `path` when the block ends.

    When the block fails, whatever the reason, nothing is left of it and what was at `path` stays. Folders above are made. Raises
    `failure` where the disk is full, naming the `size` in bytes where that is given, or where nothing can be written.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{SUFFIX}")
    try:
        with explained(path, failure, size):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            _to_disk(partial)
            os.replace(partial, path)
    finally:
        _remove(partial)


def write(path: Path, data: bytes | str, failure: type[FaceChainError] = FaceChainError) -> None:
    """Bytes, or text in UTF-8, as the file `path`, see `replacing`."""
    with replacing(path, failure) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def move(source: Path, target: Path, failure: type[FaceChainError] = FaceChainError) -> None:
    """Move a file or folder, also from another disk. A file or folder at `target` is replaced. Raises `failure`."""
    with explained(target, failure):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            shutil.rmtree(target)
        try:
            os.replace(source, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _move_across(source, target, failure)


def _move_across(source: Path, target: Path, failure: type[FaceChainError]) -> None:
    with replacing(target, failure) as partial:
        if source.is_dir():
            shutil.copytree(source, partial)
        else:
            shutil.copy2(source, partial)
    _remove(source)


@contextmanager
def explained(path: Path, failure: type[FaceChainError] = FaceChainError, size: int = 0) -> Iterator[None]:
    """For a `with` block that writes `path`: an error of the system becomes a `failure` that tells the user what to do."""
    try:
        yield
    except FaceChainError:
        raise
    except (OSError, RuntimeError, SafetensorError) as error:
        if is_disk_full(error):
            needs = f" It needs {size / 2**20:.1f} MB." if size else ""
            raise failure(f"The disk is full: {path} could not be written ({error}).{needs} Free some space and try again.") from error
        if not isinstance(error, (OSError, SafetensorError)):
            raise
        raise failure(f"{path} could not be written: {error}. Free space or make the folder writable.") from error


def is_disk_full(error: BaseException) -> bool:
    """Whether `error` means that no space is left. safetensors and torch report it as text."""
    return getattr(error, "errno", None) in _NO_SPACE or "No space left" in str(error) or "os error 28" in str(error)


def _to_disk(path: Path) -> None:
    files = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("r+b") as stream:
            os.fsync(stream.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
