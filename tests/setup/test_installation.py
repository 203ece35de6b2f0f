"""Installing the pack as ComfyUI-Manager does leaves the packages of a host as they are.

Both hosts are virtual environments made here. PyTorch alone is there by its metadata only, which is all that pip looks at.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.console import clean_env

ROOT = Path(__file__).resolve().parents[2]
TORCH = ("torch", "torchvision", "torchaudio")
OTHER_BUILDS = ("opencv-contrib-python<5", "onnxruntime-gpu")

pytestmark = pytest.mark.slow


class Environment:
    """A virtual environment under `folder`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._run(sys.executable, "-m", "venv", folder)
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        self.site = Path(self._run(self.python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])").strip())

    def _run(self, *command: str | Path) -> str:
        done = subprocess.run([str(word) for word in command], env=clean_env(), capture_output=True, text=True, cwd=self.folder.parent)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def pip(self, *arguments: str | Path) -> str:
        return self._run(self.python, "-m", "pip", "--disable-pip-version-check", *arguments)

    def install_pack(self) -> None:
        """What ComfyUI-Manager and comfy-cli do."""
        self.pip("install", "-q", "-r", ROOT / "requirements.txt")
        self._run(self.python, ROOT / "install.py")

    def versions(self) -> dict[str, str]:
        return {entry["name"].lower().replace("_", "-"): entry["version"] for entry in json.loads(self.pip("list", "--format", "json"))}

    def show(self, metadata: list[Path]) -> None:
        """Let pip believe that packages are there, by their metadata."""
        for folder in metadata:
            shutil.copytree(folder, self.site / folder.name)

    def files_of(self, name: str) -> dict[str, str]:
        """Path -> hash of every file of a package, bytecode aside."""
        package = importlib.metadata.PathDistribution(next(self.site.glob(f"{name.replace('-', '_')}-*.dist-info")))
        paths = [Path(package.locate_file(file)) for file in package.files if file.suffix != ".pyc"]
        return {
            str(path.relative_to(self.site)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths if self.site in path.parents
        }


@pytest.fixture(scope="module")
def host_requirements(tmp_path_factory, host_path) -> Path:
    lines = (host_path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    file = tmp_path_factory.mktemp("lists") / "requirements.txt"
    file.write_text("\n".join(line for line in lines if re.split(r"[<>=~!]", line.strip())[0] not in TORCH))
    return file


@pytest.fixture(scope="module")
def fresh_host(tmp_path_factory, host_requirements) -> Environment:
    """Everything that ComfyUI's requirements bring on this day."""
    environment = Environment(tmp_path_factory.mktemp("fresh") / "venv")
    environment.show([Path(importlib.metadata.distribution(name)._path) for name in TORCH])
    environment.pip("install", "-q", "-r", host_requirements)
    return environment


def test_a_fresh_host_keeps_every_version(fresh_host):
    before = fresh_host.versions()
    assert {"torch", "numpy", "pillow", "transformers", "safetensors", "kornia"} <= before.keys()
    fresh_host.install_pack()
    after = fresh_host.versions()
    assert {name: after.get(name) for name in before} == before
    assert {"peft", "diffusers", "modelscope", "opencv-python-headless", "onnxruntime"} <= after.keys() - before.keys()
    assert not {"mmcv", "mmdet", "tensorflow", "insightface", "dlib", "mediapipe", "basicsr", "facexlib"} & after.keys()
    added = subprocess.run(
        [str(fresh_host.python), "-c", "import cv2, onnxruntime; print(cv2.__version__)"], capture_output=True, text=True
    )
    assert added.stdout.startswith("4."), added.stderr


def test_other_builds_of_opencv_and_onnxruntime_stay_byte_for_byte(fresh_host, tmp_path):
    environment = Environment(tmp_path / "venv")
    present = {path.name for path in environment.site.glob("*.dist-info")}
    ours = {
        path.name for path in fresh_host.site.glob("*.dist-info") if re.match(r"opencv|onnxruntime|peft|diffusers|modelscope", path.name)
    }
    environment.show([path for path in fresh_host.site.glob("*.dist-info") if path.name not in present | ours])
    environment.pip("install", "-q", "--no-deps", *OTHER_BUILDS)
    names = [re.split("[<>=]", build)[0] for build in OTHER_BUILDS]
    before = {name: environment.files_of(name) for name in names}
    assert all(len(files) > 10 for files in before.values())

    environment.install_pack()

    assert {name: environment.files_of(name) for name in names} == before
    assert not {"opencv-python-headless", "opencv-python", "onnxruntime"} & environment.versions().keys()
