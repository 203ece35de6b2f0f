"""run.py adds OpenCV and onnxruntime only where no build of them is, and changes nothing that is installed."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from launcher import console, hosts, packages
from launcher.console import Failure
from launcher.packages import OPENCV, Installed, Packages
from launcher.tasks import list_packages

BOTH = ["cv2", "onnxruntime"]


def missing(versions: dict[str, str], modules: list[str] | None = None, cuda: bool = False) -> list[str]:
    return Installed(versions, modules or [], cuda).missing_builds()


def test_nothing_is_added_where_both_can_be_imported():
    assert missing({}, BOTH) == []


def test_both_are_added_to_an_empty_host():
    assert missing({"numpy": "2.0"}) == [OPENCV, "onnxruntime"]


@pytest.mark.parametrize("build", ["opencv-python", "opencv-contrib-python", "opencv-python-headless", "opencv-contrib-python-headless"])
def test_no_build_of_opencv_is_overwritten(build):
    assert missing({build: "4.9"}) == ["onnxruntime"]


@pytest.mark.parametrize("build", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "ort-nightly"])
def test_no_build_of_onnxruntime_is_overwritten(build):
    assert missing({build: "1.20"}) == [OPENCV]


@pytest.mark.parametrize("other", ["opencv-stubs", "onnxruntime-extensions-stubs"])
def test_other_packages_with_such_names_do_not_count_as_opencv(other):
    assert OPENCV in missing({other: "1"})


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
    monkeypatch.setattr(packages.sys, "platform", platform)
    monkeypatch.setattr(packages.platform, "machine", lambda: machine)
    assert missing({}, ["cv2"], cuda) == [package]


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """The arguments of every pip, with the text of the file after -c, in a host that lacks both builds."""
    seen = []

    def call(command, step, remedy, log, env, cwd):
        words = [str(word) for word in command]
        held = Path(words[words.index("-c") + 1]).read_text(encoding="utf-8") if "-c" in words else None
        seen.append((words[words.index("off") + 1 :], held))

    monkeypatch.setattr(console, "call", call)
    monkeypatch.setattr(packages, "installed", lambda python: Installed({"torch": "2.13.0+cpu", "numpy": "1.26.4"}, [], False))
    return seen


HELD = "numpy==1.26.4\ntorch==2.13.0+cpu\n"


def test_in_a_users_host_everything_is_held(calls, tmp_path):
    Packages(Path("python"), tmp_path).pack("requirements.txt", keep=True)
    assert [held for _, held in calls] == [HELD, HELD]
    assert [words[2:] for words, _ in calls] == [["-r", str(packages.places.ROOT / "requirements.txt")], [OPENCV, "onnxruntime"]]


def test_in_its_own_setup_lists_may_raise_versions_and_builds_may_not(calls, tmp_path):
    Packages(Path("python"), tmp_path).pack("requirements.txt")
    assert [held for _, held in calls] == [None, HELD]


def test_the_steps_are_named_after_what_is_added(monkeypatch, calls, tmp_path):
    steps = []
    monkeypatch.setattr(Packages, "install", lambda self, step, *_: steps.append(step))
    Packages(Path("python"), tmp_path).pack("requirements.txt")
    assert steps == ["installing requirements.txt", "adding opencv-python-headless and onnxruntime"]


def test_an_interpreter_tells_what_it_has():
    found = packages.installed(Path(sys.executable))
    assert "pytest-cov" in found.versions and found.modules == BOTH and not found.cuda
    assert not any("_" in name or name != name.lower() for name in found.versions)
    with pytest.raises(Failure, match="does not answer"):
        packages.installed(Path(sys.executable).with_name("no-python"))


def test_the_list_is_json_whatever_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(list_packages.importlib.util, "find_spec", lambda name: None)
    list_packages.main(BOTH)
    told = json.loads(capsys.readouterr().out)
    assert told["modules"] == [] and told["cuda"] is False and "pytest" in told["versions"]


def test_what_to_type_keeps_numpy(monkeypatch):
    monkeypatch.setattr(packages, "installed", lambda python: Installed({"numpy": "1.26.4"}, [], False))
    monkeypatch.setattr(hosts, "missing_modules", lambda *_: ["cv2", "peft"])
    with pytest.raises(Failure) as failed:
        hosts.require_modules(hosts.Host(Path("ComfyUI"), Path("python"), True), hosts.RUNTIME_MODULES, "requirements.txt")
    commands = re.findall(r"^    python -m pip install (.*)$", failed.value.remedy, re.MULTILINE)
    assert commands == [f"-r {packages.places.ROOT / 'requirements.txt'}", f'"{OPENCV}" numpy==1.26.4']
    assert "--install" in failed.value.remedy


def test_a_host_without_onnxruntime_runs_what_does_not_need_it():
    """The nodes that do, say so; the tests of the pack do."""
    assert "onnxruntime" not in hosts.RUNTIME_MODULES
