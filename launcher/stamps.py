"""Which setup steps are done: one small file per finished step, written atomically after the step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import lifetime
from .console import Failure, say


def fingerprint(*parts: str | bytes | Path) -> str:
    """A hash of texts and of the contents of files."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def write_atomic(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


@dataclass(frozen=True)
class Step:
    """One piece of setup. It is repeated when `fingerprint` has changed."""

    name: str
    title: str
    fingerprint: str
    action: Callable[[], None]


class Stamps:
    """The finished and the unfinished steps of one folder. The folder is inside what the steps build."""

    def __init__(self, folder: Path):
        self.folder = folder

    def is_done(self, step: Step) -> bool:
        stamp = self.folder / step.name
        return stamp.is_file() and stamp.read_text(encoding="utf-8") == step.fingerprint

    def unfinished(self) -> list[str]:
        return sorted(path.stem for path in self.folder.glob("*.started"))

    def forget(self) -> None:
        for path in self.folder.glob("*"):
            path.unlink()

    def run(self, steps: list[Step]) -> int:
        """Run the unfinished steps in order. Returns their number."""
        todo = [step for step in steps if not self.is_done(step)]
        for number, step in enumerate(todo, 1):
            say(f"[{number}/{len(todo)}] {step.title}")
            started = self.folder / f"{step.name}.started"
            (self.folder / step.name).unlink(missing_ok=True)
            write_atomic(started, "")
            step.action()
            write_atomic(self.folder / step.name, step.fingerprint)
            started.unlink()
        return len(todo)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Only one setup at a time. The system drops the lock when a process dies, so none is ever left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as handle:
        if not lifetime.lock(handle):
            raise Failure("starting the setup", f"another run.py is setting up {folder}", "Wait until it is done, then run this again.")
        yield
