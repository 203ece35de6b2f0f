"""What pip adds to an interpreter, for run.py's own setup and for `--install`; the pack itself never starts pip.

OpenCV and onnxruntime come in several builds that overwrite each other's files, so they cannot be in a requirements file: each is added
only where no build of it is installed.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from . import console, places
from .console import Failure
from .stamps import write_atomic

# The headless build needs no display library. OpenCV 5 no longer has the cascades of the built-in face detector.
OPENCV = "opencv-python-headless>=4.8,<5"
# What tests and measurements compare with; no node needs it. Also an extra in pyproject.toml.
REFERENCE = "diffusers>=0.31"
OPENCV_BUILD = re.compile(r"opencv-(contrib-)?python(-headless)?$")
ONNXRUNTIME_BUILD = re.compile(r"(ort|onnxruntime)(-.*)?$")
LISTING = places.ROOT / "launcher" / "tasks" / "list_packages.py"


@dataclass(frozen=True)
class Installed:
    """What an interpreter has: {name: version} of its packages, which of cv2 and onnxruntime it finds, whether its torch has CUDA."""

    versions: dict[str, str]
    modules: list[str]
    cuda: bool

    def missing_builds(self) -> list[str]:
        """What to add: an installed build counts, even if it does not load at the moment."""
        needed = []
        if "cv2" not in self.modules and not any(OPENCV_BUILD.match(name) for name in self.versions):
            needed.append(OPENCV)
        if "onnxruntime" not in self.modules and not any(ONNXRUNTIME_BUILD.match(name) for name in self.versions):
            needed.append(onnxruntime_package(self.cuda))
        return needed


def onnxruntime_package(cuda: bool) -> str:
    """The GPU build where torch has CUDA and that build exists."""
    has_gpu_build = sys.platform in ("linux", "win32") and platform.machine().lower() in ("x86_64", "amd64")
    return "onnxruntime-gpu" if has_gpu_build and cuda else "onnxruntime"


def installed(python: Path) -> Installed:
    """Ask an interpreter."""
    answer = console.answer([python, LISTING, "cv2", "onnxruntime"], console.clean_env())
    if answer is None:
        raise Failure(f"asking {python} for its packages", "it does not answer", "Set COMFYUI_PYTHON to a working interpreter.")
    return Installed(**json.loads(answer.splitlines()[-1]))


class Packages:
    """pip of one interpreter."""

    def __init__(self, python: Path, logs: Path):
        self.python, self._logs = python, logs

    def install(self, step: str, *arguments: str | Path) -> None:
        options = ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
        remedy = "Check the network and the free disk space, then run the same command again: it resumes here."
        if "-c" in arguments:
            remedy += " Where pip names a conflict with an installed package, change that one yourself."
        self.run(step, remedy, "-m", "pip", "install", *options, *arguments)

    def run(self, step: str, remedy: str, *arguments: str | Path) -> None:
        log = self._logs / f"{step.replace(' ', '-').replace('/', '-')}.log"
        console.call([self.python, *arguments], step, remedy, log, console.clean_env(), cwd=places.ROOT)

    def pack(self, requirements: str, keep: bool = False) -> None:
        """A list of the pack's, then OpenCV and onnxruntime where no build of them is. `keep`: present packages keep their versions."""
        add = self._add if keep else self.install
        add(f"installing {requirements}", "-r", places.ROOT / requirements)
        if needed := installed(self.python).missing_builds():
            self._add(f"adding {' and '.join(re.split('[<>=]', name)[0] for name in needed)}", *needed)

    def _add(self, step: str, *arguments: str | Path) -> None:
        """Install with every present package held at its version."""
        held = self._logs / "held.txt"
        versions = installed(self.python).versions
        # A local build tag such as +cpu cannot be found on an index; pip compares it as written.
        write_atomic(held, "".join(f"{name}=={version}\n" for name, version in sorted(versions.items())))
        self.install(step, "-c", held, *arguments)
