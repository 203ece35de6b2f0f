"""Installing the pack as ComfyUI-Manager does leaves the packages of a host as they are, and so does `--install` of run.py.

All hosts are virtual environments made here. PyTorch alone is there by its metadata only, which is all that pip looks at.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.console import clean_env
from launcher.packages import Packages

ROOT = Path(__file__).resolve().parents[2]
TORCH = ("torch", "torchvision", "torchaudio")
OTHER_BUILDS = ("opencv-contrib-python<5", "onnxruntime-gpu")

OLD = ("transformers==4.57.6", "huggingface-hub==0.36.0", "tokenizers==0.22.2", "safetensors==0.6.2", "numpy==1.26.4")
TRAINS = """
import numpy, peft, torch, transformers
from facechain_impl.identity.training import optimisers
from facechain_impl.identity.training.settings import Augmentation, Optimiser, TrainSettings

module = torch.nn.ModuleDict({"attn": torch.nn.Linear(4, 4)}).requires_grad_(False)
config = peft.LoraConfig(r=2, lora_alpha=2, target_modules=["attn"], init_lora_weights="gaussian")
peft.inject_adapter_in_model(config, module, "default")
wanted = TrainSettings(
    steps=4, learning_rate=1.5e-4, rank=4, alpha=4.0, schedule="cosine", optimiser=Optimiser.ADAMW, augmentation=Augmentation.FACE_CROP
)
parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
optimiser, _ = optimisers.optimiser(parameters, wanted)
schedule = optimisers.schedule(optimiser, wanted)
for _ in range(4):
    module["attn"](torch.ones(1, 4)).sum().backward()
    optimiser.step()
    schedule.step()
print(transformers.__version__, numpy.__version__, schedule.get_last_lr()[0] < 1e-9, len(parameters))
"""

pytestmark = [pytest.mark.slow, pytest.mark.matrix]


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
        """What ComfyUI-Manager does; comfy-cli takes the list at once."""
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").split():
            self.pip("install", "-q", line)

    def complete(self) -> None:
        """What `run.py ... --install` does."""
        Packages(self.python, self.folder.parent / "logs").pack("requirements.txt", keep=True)

    def freeze(self) -> set[str]:
        return set(self.pip("freeze", "--all").splitlines())

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
    before = fresh_host.freeze()
    assert {"torch", "numpy", "pillow", "transformers", "safetensors", "kornia"} <= fresh_host.versions().keys()
    fresh_host.install_pack()
    assert fresh_host.freeze() > before
    after = fresh_host.versions()
    assert {"peft", "modelscope"} <= after.keys()
    builds = {"opencv-python-headless", "onnxruntime"}
    unwanted = {"diffusers", "mmcv", "mmdet", "tensorflow", "insightface", "dlib", "mediapipe", "basicsr", "facexlib"}
    assert not (builds | unwanted) & after.keys()

    before = fresh_host.freeze()
    fresh_host.complete()
    assert fresh_host.freeze() > before
    assert builds <= fresh_host.versions().keys()
    assert fresh_host._run(fresh_host.python, "-c", "import cv2, onnxruntime; print(cv2.__version__)").startswith("4.")


def test_a_host_with_transformers_4_and_numpy_1_keeps_every_version_and_trains(tmp_path):
    host = Environment(tmp_path / "venv")
    host.show([Path(importlib.metadata.distribution("torch")._path)])
    host.pip("install", "-q", "torch", *OLD)  # of torch only what it requires
    before = host.freeze()
    assert {"transformers==4.57.6", "numpy==1.26.4"} <= before
    host.install_pack()
    assert host.freeze() > before
    (host.site / "pack.pth").write_text(f"{ROOT}\n")
    for name in ("torch", "torchgen"):  # itself, of this interpreter
        (host.site / name).symlink_to(Path(importlib.util.find_spec(name).origin).parent, target_is_directory=True)
    assert host._run(host.python, "-c", TRAINS).splitlines()[-1] == "4.57.6 1.26.4 True 2"


def test_other_builds_of_opencv_and_onnxruntime_stay_byte_for_byte(fresh_host, tmp_path):
    environment = Environment(tmp_path / "venv")
    setuptools = f"setuptools=={fresh_host.versions()['setuptools']}"  # torch demands a newer one than venv brings
    environment.pip("install", "-q", "--no-deps", setuptools, *OTHER_BUILDS)
    ours = re.compile(r"opencv|onnxruntime|peft|modelscope")
    present = {path.name for path in environment.site.glob("*.dist-info")}
    environment.show([path for path in fresh_host.site.glob("*.dist-info") if path.name not in present and not ours.match(path.name)])
    names = [re.split("[<>=]", build)[0] for build in OTHER_BUILDS]
    before, versions = {name: environment.files_of(name) for name in names}, environment.freeze()
    assert all(len(files) > 10 for files in before.values())

    environment.install_pack()
    environment.complete()

    assert environment.freeze() > versions
    assert {name: environment.files_of(name) for name in names} == before
    assert not {"opencv-python-headless", "opencv-python", "onnxruntime"} & environment.versions().keys()
