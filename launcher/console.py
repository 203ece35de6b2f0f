"""What the user sees: steps, progress of long commands, and failures that say what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .lifetime import Ended

HEARTBEAT_SECONDS = 20.0
TAIL_LINES = 15
STOP_SECONDS = 30
STOP_SIGNAL = signal.SIGTERM if sys.platform == "win32" else signal.SIGINT


class Failure(Exception):
    """A failed step: which one, why, and what the user can do about it."""

    def __init__(self, step: str, why: str, remedy: str):
        super().__init__(f"{step}: {why}")
        self.step, self.why, self.remedy = step, why, remedy

    def text(self) -> str:
        return f"\nStopped at: {self.step}\nWhy:        {self.why}\nWhat to do: {self.remedy}"


def say(text: str = "") -> None:
    print(text, flush=True)


def elapsed(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Progress:
    """One line that follows a long step: rewritten in place on a terminal, repeated now and then in a log."""

    def __init__(self, title: str):
        self.title, self.start, self._printed, self._width = title, time.monotonic(), time.monotonic(), 0
        self._live = sys.stdout.isatty()

    def show(self, detail: str) -> None:
        now = time.monotonic()
        if self._live:
            line = f"  {self.title} ({elapsed(now - self.start)}) {detail}"[:118]
            sys.stdout.write("\r" + line.ljust(self._width))
            sys.stdout.flush()
            self._width = len(line)
        elif now - self._printed >= HEARTBEAT_SECONDS:
            self._printed = now
            say(f"  {self.title} ({elapsed(now - self.start)}) {detail}"[:150])

    def close(self) -> None:
        if self._live and self._width:
            sys.stdout.write("\r" + " " * self._width + "\r")
            sys.stdout.flush()


class _Output(threading.Thread):
    """Copies a command's output to its log and keeps the last lines."""

    def __init__(self, process: subprocess.Popen, log: Path):
        super().__init__(daemon=True)
        self.lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._process, self._log = process, log
        self.start()

    def run(self) -> None:
        with self._log.open("a", encoding="utf-8", errors="replace") as log:
            for line in self._process.stdout or ():
                log.write(line)
                if line.strip():
                    self.lines.append(line.rstrip())


def call(
    command: Sequence[str | Path], step: str, remedy: str, log: Path, env: dict[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Run a long command with a progress line and a log. Raises Failure with the end of its output."""
    words = [str(word) for word in command]
    log.parent.mkdir(parents=True, exist_ok=True)
    try:
        process = subprocess.Popen(
            words, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        raise Failure(step, f"{words[0]} could not be started: {error}", remedy) from error
    output, progress = _Output(process, log), Progress(step)
    try:
        while process.poll() is None:
            progress.show(output.lines[-1].strip() if output.lines else "")
            time.sleep(0.2)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    finally:
        progress.close()
    output.join()
    if process.returncode:
        tail = "\n    ".join(output.lines) or "(it printed nothing)"
        raise Failure(step, f"`{' '.join(words[:6])} ...` ended with status {process.returncode}:\n    {tail}", f"{remedy} (log: {log})")


def follow(command: Sequence[str], env: dict[str, str], cwd: Path | None = None) -> int:
    """Run a command in the foreground; returns its exit status. When this process is to end, the command may clean up first."""
    with subprocess.Popen(command, env=env, cwd=cwd) as process:
        try:
            return process.wait()
        except KeyboardInterrupt as stop:
            if isinstance(stop, Ended):  # Ctrl-C reaches both
                process.send_signal(STOP_SIGNAL)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            process.kill()
            raise


def answer(command: Sequence[str | Path], env: dict[str, str] | None = None) -> str | None:
    """The output of a short command, or None when it fails."""
    try:
        done = subprocess.run([str(word) for word in command], env=env, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def clean_env(**extra: str) -> dict[str, str]:
    """The environment for interpreters other than this one: without settings that point pip or Python elsewhere."""
    dropped = {"PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**kept, "PIP_USER": "0", "PYTHONNOUSERSITE": "1", "PYTHONUTF8": "1", **extra}
