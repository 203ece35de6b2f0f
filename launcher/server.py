"""A running ComfyUI with the pack loaded from a base directory."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from . import console, places
from .client import Client
from .console import Failure
from .hosts import Host

START_SECONDS = 300
# Threads that wait without spinning: several times as fast on a CPU that others use as well.
WAITING = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Model folders of a ComfyUI that never hold models.
NOT_MODELS = {"configs", "custom_nodes"}
# Not `python tied.py`: the script's own folder, where it looks for its modules, is the current one.
TIED = ("-c", "import runpy, sys; runpy.run_path(sys.argv.pop(1), run_name='__main__')", places.ROOT / "launcher" / "tasks" / "tied.py")
if sys.platform == "win32":
    STOP_SIGNAL, START_FLAGS = signal.CTRL_BREAK_EVENT, subprocess.CREATE_NEW_PROCESS_GROUP
else:
    # A shell lets its background jobs, and so the server, ignore SIGINT.
    STOP_SIGNAL, START_FLAGS = signal.SIGTERM if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else signal.SIGINT, 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A context manager: starts on entry, stops on exit. The server ends with this process, even when that is killed.

    `base` holds custom_nodes and models; the model folders below each of `models` are listed as well. `log` receives the server's
    output. `packages`: a folder of Python packages that go before the installed ones."""

    def __init__(
        self,
        host: Host,
        base: Path,
        log: Path,
        arguments: Sequence[str] = (),
        port: int | None = None,
        models: Sequence[Path] = (),
        packages: Path | None = None,
    ):
        self.host, self.base, self.log, self.port = host, base, log, port or free_port()
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self._arguments, self._models = list(arguments), models
        self._packages = {"PYTHONPATH": str(packages)} if packages else {}
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self) -> list[str]:
        own = ["--base-directory", self.base, "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--port", self.port]
        if self._models:
            own += ["--extra-model-paths-config", write_model_paths(self.base, self._models)]
        return [str(word) for word in (self.host.python, "-u", *TIED, self.host.path / "main.py", *own, *self._arguments)]

    def start(self) -> None:
        """Returns once the server answers. Raises Failure with the end of its log when it does not start."""
        places.remove_abandoned()
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._wait_for(self._launch())
            undo.pop_all()

    def _launch(self) -> subprocess.Popen:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("w", encoding="utf-8") as output:
            self._process = subprocess.Popen(
                self.command(), cwd=self.host.path, env=console.clean_env(**WAITING, **self._packages),
                stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, creationflags=START_FLAGS,
            )  # fmt: skip
        return self._process

    def _wait_for(self, process: subprocess.Popen) -> None:
        progress = console.Progress("starting ComfyUI")
        end = time.monotonic() + START_SECONDS
        while not self.client.is_up():
            progress.show(self.last_line())
            if process.poll() is not None or time.monotonic() > end:
                raise Failure("starting ComfyUI", self.tail(), f"Fix the error it reports, then run this again (log: {self.log}).")
            time.sleep(0.2)
        progress.close()

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait(self) -> int:
        """The exit status of the server, once it has ended."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        while self.is_running():  # on Windows neither Ctrl-C nor a signal gets through a wait without an end
            time.sleep(0.2)
        return self._process.wait()

    def stop(self) -> None:
        """Ask the server to end, as Ctrl-C does; kill it when it does not."""
        if self._process is None:
            return
        with self._process as process:  # closes the pipe last
            if process.poll() is not None:
                return
            process.send_signal(STOP_SIGNAL)
            try:
                process.wait(console.STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def lines(self) -> list[str]:
        text = self.log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n")
        return COLOURS.sub("", text).splitlines()

    def last_line(self) -> str:
        return next((line.strip() for line in reversed(self.lines()) if line.strip()), "")

    def tail(self) -> str:
        return "\n    ".join(self.lines()[-console.TAIL_LINES :]) or "it printed nothing"


def write_model_paths(base: Path, roots: Sequence[Path]) -> Path:
    """A file that lists the models below `roots` for a server with another base directory. Nothing is written there."""
    lines = []
    for number, root in enumerate(roots):
        folders = sorted(path.name for path in root.glob("*") if path.is_dir() and path.name not in NOT_MODELS)
        if folders:
            lines += [f"models_{number}:", f"  base_path: {json.dumps(str(root))}", *(f"  {name}: {name}" for name in folders)]
    file = base / "shown_model_paths.yaml"
    file.write_text("\n".join(lines or ["{}"]) + "\n", encoding="utf-8")
    return file


def device_arguments(host: Host) -> list[str]:
    """`--cpu` where torch finds no accelerator."""
    code = "import torch; print(torch.accelerator.is_available())"
    return [] if console.answer([host.python, "-c", code], console.clean_env()) == "True" else ["--cpu"]


def serve(host: Host, port: int, listen: str | None, arguments: Sequence[str]) -> int:
    """`run.py serve`: the editor with the pack, until Ctrl-C."""
    options = [*device_arguments(host), *(["--listen", listen] if listen else []), *arguments]
    store = host.store()
    folders = places.data_folders(store)
    if host.is_users:
        with places.temporary_base(folders) as base:
            return _serve(host, base, port, options)
    places.add_pack(store)
    return _serve(host, store, port, options)


def _serve(host: Host, base: Path, port: int, options: list[str]) -> int:
    with Server(host, base, places.home() / "logs" / "serve.log", options, port) as server:
        console.say(f"The editor is at {server.client.url} (Ctrl-C ends it; log: {server.log})")
        status = server.wait()
        raise Failure("serving the editor", f"ComfyUI ended with status {status}:\n    {server.tail()}", f"See {server.log}.")
