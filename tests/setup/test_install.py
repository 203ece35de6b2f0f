"""install.py adds OpenCV and onnxruntime only where no build of them is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import install
import pytest


@pytest.fixture
def nothing_importable(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None if name in ("cv2", "onnxruntime", "torch") else found(name))


def test_nothing_is_added_where_both_can_be_imported():
    assert install.missing({}) == []


def test_both_are_added_to_an_empty_host(nothing_importable):
    assert install.missing({"numpy": "2.0"}) == ["opencv-python-headless>=4.8,<5", "onnxruntime"]


@pytest.mark.parametrize("build", ["opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"])
def test_no_build_of_opencv_is_overwritten(nothing_importable, build):
    assert install.missing({build: "4.9"}) == ["onnxruntime"]


@pytest.mark.parametrize("build", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "ort-nightly"])
def test_no_build_of_onnxruntime_is_overwritten(nothing_importable, build):
    assert install.missing({build: "1.20"}) == ["opencv-python-headless>=4.8,<5"]


@pytest.mark.parametrize("other", ["opencv-stubs", "onnxruntime-extensions-stubs"])
def test_other_packages_with_such_names_do_not_count_as_opencv(nothing_importable, other):
    assert "opencv-python-headless>=4.8,<5" in install.missing({other: "1"})


@pytest.mark.parametrize(
    ("platform", "machine", "cuda", "package"),
    [
        ("linux", "x86_64", True, "onnxruntime-gpu"),
        ("linux", "x86_64", False, "onnxruntime"),
        ("win32", "AMD64", True, "onnxruntime-gpu"),
        ("linux", "aarch64", True, "onnxruntime"),
        ("darwin", "arm64", False, "onnxruntime"),
    ],
)
def test_the_gpu_build_goes_where_torch_has_cuda(monkeypatch, platform, machine, cuda, package):
    monkeypatch.setattr(install.sys, "platform", platform)
    monkeypatch.setattr(install.platform, "machine", lambda: machine)
    monkeypatch.setattr(install, "torch_has_cuda", lambda: cuda)
    assert install.onnxruntime_package() == package


def test_pip_is_held_to_what_is_there(monkeypatch):
    seen = {}

    def run(command):
        seen["command"] = command
        seen["held"] = Path(command[command.index("-c") + 1]).read_text(encoding="utf-8")
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(install.subprocess, "run", run)
    assert install.install(["onnxruntime"], {"torch": "2.13.0+cpu", "numpy": "1.26.4"}) == 0
    assert seen["held"] == "numpy==1.26.4\ntorch==2.13.0+cpu\n"
    assert seen["command"][-1] == "onnxruntime"


def test_when_pip_fails_the_command_to_type_is_printed(monkeypatch, capsys):
    monkeypatch.setattr(install, "missing", lambda packages: ["onnxruntime"])
    monkeypatch.setattr(install, "install", lambda *_: 1)
    assert install.main() == 1
    assert 'pip install "onnxruntime"' in capsys.readouterr().out


def test_names_are_compared_as_pip_does():
    packages = install.installed()
    assert "pytest-cov" in packages
    assert not any("_" in name or name != name.lower() for name in packages)
