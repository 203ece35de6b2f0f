"""However a run ends, no server and no folder of it stays: after a signal at once, after a crash with the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from launcher import lifetime, places

# Stands for ComfyUI: answers, or says nothing, until it is stopped, and leaves a picture in its base directory.
MAIN = """
import pathlib, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

base, port = (sys.argv[sys.argv.index(name) + 1] for name in ("--base-directory", "--port"))
base = pathlib.Path(base)
(base / "temp").mkdir(exist_ok=True)
(base / "temp" / "face.png").write_text("somebody")
assert sys.stdin.read() == "" and pathlib.Path("comfyui_version.py").is_file()
if "--silent" in sys.argv:
    (base / "silent").touch()
    time.sleep(600)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")


ThreadingHTTPServer(("127.0.0.1", int(port)), Answer).serve_forever()
"""
TORCH = "class accelerator:\n    is_available = staticmethod(lambda: False)\n"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking them")


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


class Machine:
    """`temporary`: the folder for temporary files. `comfyui`: a ComfyUI of the user's."""

    def __init__(self, folder: Path):
        self.temporary, self.comfyui = folder / "temporary", folder / "ComfyUI"
        self.temporary.mkdir()
        self.comfyui.mkdir()
        (self.comfyui / "main.py").write_text(MAIN)
        (self.comfyui / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
        (self.comfyui / "torch.py").write_text(TORCH)
        (self.comfyui / "input").mkdir()
        (self.comfyui / "input" / "mine.png").write_text("kept")
        self.env = {
            **os.environ, "TMPDIR": str(self.temporary), "COMFYUI_PATH": str(self.comfyui), "COMFYUI_PYTHON": sys.executable,
            "FACECHAIN_HOME": str(folder / "home"),
        }  # fmt: skip

    @contextmanager
    def run_py(self, *words: str | Path, **options: object) -> Iterator[subprocess.Popen]:
        command = [sys.executable, "-u", str(places.ROOT / "run.py"), *map(str, words)]
        with subprocess.Popen(command, env=self.env, text=True, **{"cwd": self.comfyui, "stdout": subprocess.PIPE, **options}) as run:
            try:
                yield run
            finally:
                run.kill()

    @contextmanager
    def serving(self, **options: object) -> Iterator[tuple[subprocess.Popen, Path]]:
        """`run.py serve` once its server answers, and its base directory."""
        before = self.bases()
        with self.run_py("serve", "--port", "0", **options) as run:
            assert any("The editor is at" in line for line in run.stdout)
            (base,) = self.bases() - before
            assert self.servers(base)
            yield run, base

    def bases(self) -> set[Path]:
        return set(self.temporary.glob("facechain-*"))

    def servers(self, base: Path | None = None) -> list[psutil.Process]:
        """The processes that work on `base`, or on any."""
        sought = f"{base or self.temporary}"
        return [one for one in psutil.process_iter(["cmdline", "status"]) if _is_server(one.info, sought)]


def _is_server(info: dict, sought: str) -> bool:
    return info["status"] != psutil.STATUS_ZOMBIE and any(word.startswith(sought) for word in info["cmdline"] or ())


def end(run: subprocess.Popen, number: int) -> int:
    """The exit status of a run that got a signal."""
    run.send_signal(number)
    return run.wait(60)


@pytest.fixture
def machine(tmp_path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for server in made.servers():
        server.kill()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_ends_server_and_folder(machine, name):
    number = getattr(signal, name)
    with machine.serving() as (run, base):
        assert end(run, number) == 128 + number
        assert "Traceback" not in run.stdout.read()
    assert machine.servers() == []
    assert machine.bases() == set()
    assert (machine.comfyui / "input" / "mine.png").read_text() == "kept"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_server_that_does_not_answer_yet(machine, name):
    number = getattr(signal, name)
    with machine.run_py("serve", "--", "--silent") as run:
        until(lambda: list(machine.temporary.glob("*/silent")))
        assert end(run, number) == 128 + number
    assert machine.servers() == []
    assert machine.bases() == set()


def test_a_killed_run_takes_its_server_along_and_the_next_removes_its_folder(machine):
    with machine.serving() as (run, base):
        assert end(run, signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not machine.servers(base), 10)
        assert (base / "temp" / "face.png").is_file()
        with machine.serving() as (second, other):
            assert machine.bases() == {other}
            assert end(second, signal.SIGTERM) == 143
    assert machine.bases() == set()
    assert (machine.comfyui / "input" / "mine.png").read_text() == "kept"
    assert (places.ROOT / "run.py").is_file()


def test_runs_that_live_are_left_alone(machine):
    with machine.serving() as (first, base):
        with machine.serving() as (second, other):
            assert machine.servers(base) and machine.servers(other)
            end(second, signal.SIGTERM)
        assert machine.bases() == {base}
        assert machine.servers(base) and (base / "temp" / "face.png").is_file()
        end(first, signal.SIGTERM)
    assert machine.bases() == set()


def test_a_closed_terminal_does_not_stop_the_cleaning_up(machine):
    terminal, end_of_run = os.openpty()
    with machine.run_py("serve", "--port", "0", stdout=end_of_run, stderr=end_of_run) as run:
        os.close(end_of_run)
        said = b""
        while b"The editor is at" not in said:
            said += os.read(terminal, 1000)
        os.close(terminal)
        assert end(run, signal.SIGHUP) == 128 + signal.SIGHUP
    assert machine.servers() == []
    assert machine.bases() == set()


@contextmanager
def training(machine: Machine, out: Path) -> Iterator[tuple[subprocess.Popen, Path]]:
    """`run.py demo` in its training, and its base directory."""
    sizes = ["--steps", 20000, "--size", 64, "--portraits", 1, "--sampling-steps", 1]
    with machine.run_py("demo", "--out", out, *sizes, cwd=out.parent) as run:
        assert any(": training" in line for line in run.stdout), "the demo ended too early"
        (base,) = machine.bases()
        log = out.parent / "home" / "logs" / "demo.log"
        until(lambda: "load BaseModel" in log.read_text(encoding="utf-8", errors="replace"), 300)
        yield run, base


@pytest.mark.slow
@pytest.mark.host
@pytest.mark.matrix
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_demo_that_is_ended_in_its_training_leaves_nothing(machine, host_path, tmp_path, name):
    """On the real ComfyUI; after a crash with the next start."""
    fake, number = machine.env["COMFYUI_PATH"], getattr(signal, name)
    machine.env["COMFYUI_PATH"] = str(host_path)
    with training(machine, tmp_path / "out") as (run, base):
        assert machine.servers(base)
        assert end(run, number) == (-number if number == signal.SIGKILL else 128 + number)
        until(lambda: not machine.servers(base), 10)
    machine.env["COMFYUI_PATH"] = fake
    if number == signal.SIGKILL:
        assert base.is_dir()
        with machine.serving() as (run, other):
            assert machine.bases() == {other}
            end(run, signal.SIGTERM)
    assert machine.bases() == set()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["base", "facechain-demo.html", "reports.json", "workflows"]


TESTS = """
import pathlib, time

def test_long(server):
    pathlib.Path("base").write_text(str(server.base))
    time.sleep(600)
"""


def test_tests_that_are_ended_take_their_server_along(machine, tmp_path):
    (tmp_path / "test_long.py").write_text(TESTS)
    (machine.comfyui / "comfy").mkdir()
    (machine.comfyui / "comfy" / "cli_args.py").write_text("class args:\n    pass\n")
    env = {**machine.env, "PYTHONPATH": str(places.ROOT)}
    words = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_long.py"]
    with subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL) as run:
        until((tmp_path / "base").is_file)
        assert machine.servers(Path((tmp_path / "base").read_text()))
        assert end(run, signal.SIGTERM) == pytest.ExitCode.INTERRUPTED
    assert machine.servers() == []
    assert machine.bases() == set()


def test_what_nohup_ignores_stays_ignored():
    code = (
        "import os, signal; from launcher.lifetime import unwinding\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "with unwinding(): os.kill(os.getpid(), signal.SIGHUP); print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=places.ROOT)
    assert done.stdout == "goes on\n", done.stderr


def test_handlers_of_others_come_back():
    before = [signal.getsignal(number) for number in lifetime.SIGNALS]
    with pytest.raises(lifetime.Ended), lifetime.unwinding():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)
    assert [signal.getsignal(number) for number in lifetime.SIGNALS] == before


FOREGROUND = """
import os, sys
from launcher import console, lifetime

with lifetime.unwinding():
    console.follow([sys.executable, "-c", sys.argv[1]], dict(os.environ))
"""
TIDY = """
import pathlib, time

try:
    print("started", flush=True)
    time.sleep(600)
finally:
    pathlib.Path("tidied").touch()
"""


def test_a_command_in_the_foreground_may_clean_up(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(places.ROOT)}
    words = [sys.executable, "-c", FOREGROUND, TIDY]
    with subprocess.Popen(words, env=env, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
        assert run.stdout.readline() == b"started\n"
        assert end(run, signal.SIGTERM) != 0
    assert (tmp_path / "tidied").is_file()


def test_only_marked_folders_that_nobody_locks_are_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    photos = tmp_path / "photos"
    made = {name: tmp_path / f"facechain-{name}" for name in ("mine", "starting", "abandoned", "empty")}
    for folder in (photos, *made.values()):
        folder.mkdir()
    (photos / "me.png").touch()
    (made["mine"] / "thesis.txt").touch()
    (made["starting"] / places.OWNER).touch()
    (made["abandoned"] / places.OWNER).write_text("mark")
    (made["abandoned"] / "input").symlink_to(photos)
    (made["abandoned"] / "models").mkdir()
    (made["abandoned"] / "models" / "loras").symlink_to(photos)
    (tmp_path / "facechain-link").symlink_to(made["mine"])
    with places.temporary_base({}) as base:
        places.remove_abandoned()
        assert base.is_dir()
        assert {path.name for path in tmp_path.iterdir()} == {
            "photos", base.name, "facechain-mine", "facechain-starting", "facechain-empty", "facechain-link"
        }  # fmt: skip
    assert (photos / "me.png").is_file()
    assert (made["mine"] / "thesis.txt").is_file()
