"""Paths: the pack, the folder of everything that run.py creates, and base directories for the host."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from . import lifetime
from .console import Failure

ROOT = Path(__file__).resolve().parent.parent
PACK_NAME = "facechain-studio"
DATA_FOLDERS = ("models", "input", "output", "user")
# What a copy of the pack holds where the system cannot link folders.
PACK_PARTS = ("__init__.py", "pyproject.toml", "nodes", "facechain_impl", "web", "locales", "workflows", "assets", "subgraphs")

PREFIX = "facechain-"
# Marks a temporary base directory as one of these, and is locked while the run that made it lives.
OWNER = ".facechain-run"


def home() -> Path:
    """The folder of everything that run.py creates: FACECHAIN_HOME, or .facechain beside run.py."""
    folder = Path(os.environ.get("FACECHAIN_HOME") or ROOT / ".facechain").expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise Failure(
            "choosing a folder for the setup",
            f"{folder} cannot be written: {error.strerror}",
            "Set FACECHAIN_HOME to a folder that can hold about 10 GB, and run this again.",
        ) from error
    return folder


def data_folders(base: Path) -> dict[str, Path]:
    """The folders of a base directory that hold what the user keeps, made where they are missing."""
    folders = {name: base / name for name in DATA_FOLDERS}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def link_folder(target: Path, link: Path) -> None:
    """Link the folder `target` at `link`; a junction on Windows, where links need a privilege."""
    if sys.platform == "win32":
        import _winapi

        _winapi.CreateJunction(str(target), str(link))
    else:
        link.symlink_to(target, target_is_directory=True)


def add_pack(base: Path) -> Path:
    """Put the pack into `base`/custom_nodes, linked, or copied where the file system has no links."""
    pack = base / "custom_nodes" / PACK_NAME
    pack.parent.mkdir(parents=True, exist_ok=True)
    if pack.is_symlink() or pack.exists():
        if pack.resolve() == ROOT:
            return pack
        remove(pack)
    try:
        link_folder(ROOT, pack)
    except OSError:
        _copy_pack(pack)
    return pack


def _copy_pack(pack: Path) -> None:
    pack.mkdir()
    for part in PACK_PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, pack / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.is_file():
            shutil.copy2(source, pack / part)


def remove(path: Path) -> None:
    """Delete a file, a link (never its target) or a folder."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif _is_junction(path):
        os.rmdir(path)
    elif path.is_dir():
        shutil.rmtree(path)


def _is_junction(path: Path) -> bool:
    return sys.platform == "win32" and path.is_dir() and Path(os.path.realpath(path)) != Path(os.path.abspath(path))


@contextmanager
def temporary_base(shown: Mapping[str, Path]) -> Iterator[Path]:
    """A temporary base directory with the pack. `shown`: a path inside it -> the folder it links to.

    It goes away with the block; after a crash, `remove_abandoned` of a later run removes it."""
    base = Path(tempfile.mkdtemp(prefix=PREFIX))
    owner = (base / OWNER).open("w+")
    if lifetime.lock(owner):
        owner.write("The folder is deleted when the run of FaceChain Studio that locks this file has ended.\n")
        owner.flush()
    try:
        for place, folder in shown.items():
            link = base / place
            link.parent.mkdir(parents=True, exist_ok=True)
            link_folder(folder, link)
        add_pack(base)
        yield base
    finally:
        _discard(base, owner)


def remove_abandoned() -> None:
    """Delete the temporary base directories of runs that crashed. Those of runs that live and all other folders stay."""
    for base in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            mark = base / OWNER
            # An empty mark belongs to a run that is about to lock it.
            if base.is_symlink() or not mark.is_file() or not mark.stat().st_size:
                continue
            with mark.open("r+") as owner:
                if lifetime.lock(owner):
                    _discard(base, owner)


def _discard(base: Path, owner: IO[str]) -> None:
    """Delete a folder, and never the target of a link in it; the mark last, so that a later run finishes what is cut off here."""
    with owner:
        for item in base.iterdir() if base.is_dir() else ():
            if item.name != OWNER:
                with suppress(OSError):
                    remove(item)
    with suppress(OSError):
        if [item.name for item in base.iterdir()] == [OWNER]:
            shutil.rmtree(base)
