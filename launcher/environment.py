"""The virtual environment in which ComfyUI, the pack and its tests run, and the one of the clients that the tests try."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from . import console, hosts, places
from .console import Failure, say
from .hosts import Host
from .packages import OPENCV, REFERENCE, Packages
from .stamps import Stamps, Step, fingerprint, locked, write_atomic

TORCH = "torch==2.13.0"
VISION = ("torchvision==0.28.0", "torchaudio==2.11.0")
TORCH_LINES = {"torch", "torchvision", "torchaudio"}
TEST_MODULES = ("pytest", "pytest_cov", "ruff", "mypy", "onnx", "onnxruntime", "playwright", "diffusers")
FREE_BYTES = 3 * 2**30
RUNTIME, TEST, CLIENTS = "requirements.txt", "requirements-test.txt", "requirements-clients.txt"
PYTHON_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def ready(*, for_tests: bool = False, install: bool = False) -> Host:
    """A ComfyUI with everything the pack needs: the user's, checked and not changed, or run.py's, created or completed."""
    path = hosts.users_path()
    if path is None:
        return _OwnHost(places.home()).ready(for_tests)
    host = hosts.users_host(path)
    say(f"Using the ComfyUI {hosts.version_of(path)} in {path} with {host.python}")
    wanted = [(hosts.RUNTIME_MODULES, RUNTIME), *([(TEST_MODULES, TEST)] if for_tests else [])]
    for modules, requirements in wanted:
        # onnxruntime is not required, as most nodes do without it, but comes along.
        if install and hosts.missing_modules(host.python, [*modules, "onnxruntime"]):
            Packages(host.python, places.home() / "logs").pack(requirements, keep=True)
        hosts.require_modules(host, modules, requirements)
    return host


def clients_ready(install: bool) -> Path:
    """The interpreter that has comfy-cli and ComfyScript, in an environment that is neither the host's nor the user's.

    Raises Failure when they cannot be installed, or are not there and `install` is False."""
    home = places.home()
    venv, wanted = home / f"clients-{PYTHON_VERSION}", fingerprint(places.ROOT / CLIENTS)
    python, made = _python_of(venv), venv / "made"
    with locked(home):
        if python.exists() and made.is_file() and made.read_text(encoding="utf-8") == wanted:
            return python
        if not install:
            why = f"comfy-cli and ComfyScript are not in {venv}, or are older than {CLIENTS}"
            raise Failure("looking for other clients of ComfyUI", why, "Run this again with --install.")
        say("Installing comfy-cli and ComfyScript for the tests")
        _make_venv(venv, home / "logs")
        Packages(python, home / "logs").install(f"installing {CLIENTS}", "-r", places.ROOT / CLIENTS)
        write_atomic(made, wanted)
    return python


class _OwnHost:
    """What run.py installs under `home`: one environment per Python version, and the host's source."""

    def __init__(self, home: Path):
        self.home = home
        self.venv = home / f"venv-{PYTHON_VERSION}"
        self.python = _python_of(self.venv)
        self.host = home / f"ComfyUI-{hosts.SOURCE_VERSION}"
        self.stamps = Stamps(self.venv / "facechain-steps")
        self.packages = Packages(self.python, home / "logs")

    def ready(self, for_tests: bool) -> Host:
        with locked(self.home):
            self._make_venv()
            self._repair()
            if not self.host.is_dir():
                say(f"Fetching ComfyUI {hosts.SOURCE_VERSION}")
                hosts.fetch(self.host, self.python, self.home / "logs" / "host.log")
            self.stamps.run(self._steps(for_tests))
        return Host(self.host, self.python, False)

    def _steps(self, for_tests: bool) -> list[Step]:
        needed = self._host_requirements()
        steps = [
            Step("torch", "PyTorch (200 MB without, about 4 GB with CUDA)", fingerprint(TORCH), self._install_torch),
            Step("vision", "torchvision and torchaudio", fingerprint(*VISION), self._install_vision),
            Step("host", "ComfyUI's packages", fingerprint(needed), lambda: self._install_text("ComfyUI's packages", needed)),
            Step("vision-check", "Testing them", fingerprint(*VISION, _task("cpu_vision.py")), self._check_vision),
            Step("pack", "the pack's packages", fingerprint(places.ROOT / RUNTIME, OPENCV), lambda: self.packages.pack(RUNTIME)),
            Step("reference", "what measurements compare with", fingerprint(REFERENCE), self._install_reference),
        ]
        if for_tests:
            steps.append(Step("tests", "the tests' packages", fingerprint(places.ROOT / TEST), lambda: self.packages.pack(TEST)))
        return steps

    def _make_venv(self) -> None:
        made = self.venv / "made"
        if made.is_file() and self.python.exists():
            return
        say(f"Making a virtual environment in {self.venv}")
        _require_space(self.home)
        _make_venv(self.venv, self.home / "logs")
        write_atomic(made, "")

    def _repair(self) -> None:
        """After an interrupted step: packages with missing files are dropped, and every step checks again."""
        if self.stamps.unfinished():
            say("The last setup was interrupted; checking what it left")
            self.packages.run("checking the environment", f"Delete {self.venv} and run this again.", _task("repair.py"))
            self.stamps.forget()

    def _install_torch(self) -> None:
        self.packages.install("installing PyTorch", TORCH)

    def _install_vision(self) -> None:
        self.packages.install("installing torchvision and torchaudio", "--no-deps", *VISION)

    def _install_reference(self) -> None:
        self.packages.install("installing diffusers", REFERENCE)

    def _check_vision(self) -> None:
        remedy = f"Delete {self.venv} and run this again."
        self.packages.run("checking torchvision and torchaudio", remedy, _task("cpu_vision.py"))

    def _install_text(self, step: str, requirements: str) -> None:
        file = self.home / "host-requirements.txt"
        write_atomic(file, requirements)
        self.packages.install(f"installing {step}", "-r", file)

    def _host_requirements(self) -> str:
        lines = (self.host / "requirements.txt").read_text(encoding="utf-8").splitlines()
        return "\n".join(line for line in lines if line.strip() not in TORCH_LINES)


def _python_of(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def _make_venv(venv: Path, logs: Path) -> None:
    """An empty virtual environment of this Python in the place of what is there."""
    shutil.rmtree(venv, ignore_errors=True)
    remedy = "Install the venv part of this Python (Debian and Ubuntu: apt install python3-venv), then run this again."
    console.call([sys.executable, "-m", "venv", venv], "making the virtual environment", remedy, logs / "venv.log", console.clean_env())


def _task(name: str) -> Path:
    return places.ROOT / "launcher" / "tasks" / name


def _require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES:
        raise Failure(
            "making the virtual environment",
            f"{folder} has {free / 2**30:.1f} GB free; the setup needs at least {FREE_BYTES / 2**30:.0f} GB, about 8 GB with CUDA",
            "Free some space, or set FACECHAIN_HOME to a folder on a larger disk.",
        )


def task_env(host: Host, **extra: str) -> dict[str, str]:
    """The environment for scripts that import the pack and the host."""
    return console.clean_env(PYTHONPATH=os.pathsep.join([str(places.ROOT), str(host.path)]), COMFYUI_PATH=str(host.path), **extra)


def pack_command(host: Host, base: Path, *words: str | Path) -> list[str]:
    """The pack's own command line (`facechain_impl/__main__.py`) on the model folders below `base`. It runs in `pack_env`."""
    return [str(word) for word in (host.python, "-m", "facechain_impl", base, *words)]


def pack_env(host: Host) -> dict[str, str]:
    """As `task_env`, without modules from the current folder."""
    return task_env(host, PYTHONSAFEPATH="1")
