"""How a run ends: a signal to end unwinds it as Ctrl-C does, and a lock tells others whether it still lives."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import IO

# Windows has no SIGHUP; there closing the window or Ctrl-Break is SIGBREAK.
SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]


class Ended(KeyboardInterrupt):
    """A signal asked this process to end. Whatever cleans up after Ctrl-C cleans up after it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextmanager
def unwinding() -> Iterator[None]:
    """Inside, the first of SIGNALS raises Ended in the main thread, so that every `with` is left; further ones are ignored.

    One that is ignored from the start, as under nohup, stays ignored."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    handled = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]

    def end(number: int, frame: FrameType | None) -> None:
        for each in handled:
            signal.signal(each, signal.SIG_IGN)
        if number != signal.SIGTERM:
            _let_go_of(terminals)
        raise Ended(number)

    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, before[number] or signal.SIG_DFL)


def _let_go_of(terminals: list[int]) -> None:
    """Writing to a terminal that was closed is an error, which would end the cleaning up."""
    for descriptor in terminals:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)


def lock(handle: IO[str]) -> bool:
    """Lock an open file without waiting; whether that worked. The system drops the lock when the file is closed or the process dies."""
    handle.seek(0)
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
