"""Hosts that exist by the metadata of their packages only, which is all that pip and uv look at when they decide what to install."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from launcher.console import clean_env

LIMIT_SECONDS = 120
Packages = dict[str, tuple[str, list[str]]]
"""Name -> (version, what it requires, as its wheel says where that matters on this platform)."""

NUMPY_1, NUMPY_2 = "1.26.4", "2.4.6"
OPENCV_4, OPENCV_5 = (["numpy>=1.26.0"], ["numpy>=2"])
COMMON: Packages = {
    "torch": ("2.7.1", ["filelock", "typing-extensions>=4.10.0", "sympy>=1.13.3", "networkx", "jinja2", "fsspec"]),
    "pillow": ("11.3.0", []),
    "scipy": ("1.15.3", ["numpy>=1.23.5,<2.5"]),
    "pyyaml": ("6.0.2", []),
    "tqdm": ("4.67.1", []),
    "psutil": ("7.0.0", []),
    "requests": ("2.32.4", ["charset-normalizer>=2,<4", "idna>=2.5,<4", "urllib3>=1.21.1,<3", "certifi>=2017.4.17"]),
    "charset-normalizer": ("3.4.2", []),
    "idna": ("3.10", []),
    "urllib3": ("2.5.0", []),
    "certifi": ("2025.7.14", []),
    "filelock": ("3.18.0", []),
    "packaging": ("25.0", []),
    "fsspec": ("2025.7.0", []),
    "typing-extensions": ("4.14.1", []),
    "sympy": ("1.14.0", ["mpmath>=1.1.0,<1.4"]),
    "mpmath": ("1.3.0", []),
    "networkx": ("3.4.2", []),
    "jinja2": ("3.1.6", ["markupsafe>=2.0"]),
    "markupsafe": ("3.0.2", []),
    "regex": ("2025.11.3", []),
    "setuptools": ("80.9.0", []),
    "cryptography": ("45.0.5", ["cffi>=1.14"]),
    "cffi": ("1.17.1", []),
}
TRANSFORMERS_NEEDS = ["numpy>=1.17", "packaging>=20.0", "pyyaml>=5.1", "tqdm>=4.27"]
HUB_NEEDS = ["filelock", "fsspec>=2023.5.0", "packaging>=20.9", "pyyaml>=5.1", "tqdm>=4.42.1", "typing-extensions>=3.7.4.3"]
TRANSFORMERS_4_50: Packages = {
    "transformers": (
        "4.50.3",
        [*TRANSFORMERS_NEEDS, "huggingface-hub>=0.26.0,<1.0", "tokenizers>=0.21,<0.22", "safetensors>=0.4.3"],
    ),
    "huggingface-hub": ("0.30.2", [*HUB_NEEDS, "requests"]),
    "tokenizers": ("0.21.4", ["huggingface-hub>=0.16.4,<1.0"]),
    "safetensors": ("0.5.3", []),
}
TRANSFORMERS_4_57: Packages = {
    "transformers": (
        "4.57.6", [*TRANSFORMERS_NEEDS, "huggingface-hub>=0.34.0,<1.0", "tokenizers>=0.22.0,<=0.23.0", "safetensors>=0.4.3"]
    ),
    "huggingface-hub": ("0.36.0", [*HUB_NEEDS, "requests"]),
    "tokenizers": ("0.22.2", ["huggingface-hub>=0.16.4,<2.0"]),
    "safetensors": ("0.6.2", []),
}  # fmt: skip
TRANSFORMERS_5_0: Packages = {
    "transformers": ("5.0.0", [*TRANSFORMERS_NEEDS, "huggingface-hub>=1.3.0,<2.0", "tokenizers>=0.22.0,<=0.23.0", "safetensors>=0.4.3"]),
    "huggingface-hub": ("1.3.4", HUB_NEEDS),
    "tokenizers": ("0.22.2", ["huggingface-hub>=0.16.4,<2.0"]),
    "safetensors": ("0.7.0", []),
}
TRANSFORMERS_5_24: Packages = {
    "transformers": ("5.24.0", [*TRANSFORMERS_NEEDS, "huggingface-hub>=1.31.0,<3.0", "tokenizers>=0.23.1,<0.24.0", "safetensors>=0.8.0"]),
    "huggingface-hub": ("2.4.0", HUB_NEEDS),
    "tokenizers": ("0.23.3", ["huggingface-hub>=0.16.4,<3.0"]),
    "safetensors": ("0.8.0", []),
}
HOSTS: dict[str, Packages] = {
    "transformers 4.57, NumPy 1, OpenCV 4 contrib": {
        **TRANSFORMERS_4_57, "numpy": (NUMPY_1, []), "opencv-contrib-python": ("4.11.0.86", OPENCV_4),
    },
    "transformers 4.57, NumPy 2, OpenCV 5, onnxruntime for a GPU": {
        **TRANSFORMERS_4_57, "numpy": (NUMPY_2, []), "opencv-python": ("5.0.0.93", OPENCV_5),
        "onnxruntime-gpu": ("1.22.0", ["numpy>=1.21.6"]),
    },
    "transformers 5.0, NumPy 1, OpenCV 4": {
        **TRANSFORMERS_5_0, "numpy": (NUMPY_1, []), "opencv-python": ("4.11.0.86", OPENCV_4),
    },
    "transformers 5.24, NumPy 2, OpenCV 5 contrib": {
        **TRANSFORMERS_5_24, "numpy": (NUMPY_2, []), "opencv-contrib-python": ("5.1.0.95", OPENCV_5),
    },
    "transformers 4.50, NumPy 1, no OpenCV": {**TRANSFORMERS_4_50, "numpy": (NUMPY_1, [])},
    "transformers 4.57, NumPy 1, with diffusers and accelerate of other packs": {
        **TRANSFORMERS_4_57, "numpy": (NUMPY_1, []), "opencv-python-headless": ("4.11.0.86", OPENCV_4),
        "diffusers": ("0.35.2", ["huggingface-hub>=0.34.0", "safetensors>=0.3.1", "numpy", "filelock", "requests", "pillow"]),
        "accelerate": ("1.12.0", ["numpy>=1.17", "torch>=2.0.0", "huggingface-hub>=0.21.0", "safetensors>=0.4.3", "psutil", "pyyaml"]),
    },
}  # fmt: skip


def run(*command: str | Path) -> str:
    """What a command printed. The test fails when the command does, or takes too long."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, env=clean_env(), capture_output=True, text=True, timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.fail(f"`{' '.join(words)}` took more than {LIMIT_SECONDS} s; it needs a package index in reach")
    if done.returncode:
        pytest.fail(f"`{' '.join(words)}` failed; it needs a package index in reach:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")
    return done.stdout + done.stderr


class SimulatedHost:
    """A virtual environment under `folder`, without pip, that has packages by name only."""

    def __init__(self, folder: Path, packages: Packages):
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        self.python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        scheme = {"base": str(folder), "platbase": str(folder)}
        self.site = Path(sysconfig.get_path("purelib", "venv", scheme))
        self.packages: dict[str, str] = {}
        for name, (version, needs) in packages.items():
            self.show(name, version, needs)

    def show(self, name: str, version: str, needs: list[str]) -> None:
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
        (info / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
        (info / "RECORD").write_text("", encoding="utf-8")
        (info / "INSTALLER").write_text("pip\n", encoding="utf-8")
        self.packages[name] = version

    def check(self) -> None:
        """Raises a failure of the test when a package of the host lacks what it requires."""
        run(sys.executable, "-m", "pip", "--python", self.python, "check")

    def pip(self, *arguments: str | Path) -> dict[str, str]:
        """{name: version} that `pip install` would install, replacements included. They are then shown as installed."""
        report = self.site.parent / "report.json"
        options = ["--disable-pip-version-check", "install", "--dry-run", "--quiet", "--report", report]
        run(sys.executable, "-m", "pip", "--python", self.python, *options, *arguments)
        chosen = [entry["metadata"] for entry in json.loads(report.read_text(encoding="utf-8"))["install"]]
        found = {entry["name"].lower().replace("_", "-").replace(".", "-"): entry for entry in chosen}
        for name, entry in found.items():
            if name not in self.packages:
                self.show(name, entry["version"], [need for need in entry.get("requires_dist", []) if "extra ==" not in need])
        return {name: entry["version"] for name, entry in found.items()}

    def uv(self, uv: Path, *arguments: str | Path) -> set[str]:
        """The packages that `uv pip install` would remove or replace."""
        told = run(uv, "pip", "install", "--dry-run", "--python", self.python, *arguments)
        lines = [line.split() for line in told.splitlines()]
        assert any(words[:1] == ["Would"] for words in lines), told
        return {words[1].partition("==")[0] for words in lines if words[:1] == ["-"]}
