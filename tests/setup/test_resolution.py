"""What pip and uv decide in hosts of several ages: the requirements add packages and replace none."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from facechain_impl.host import compatibility
from launcher.packages import REFERENCE
from launcher.places import ROOT

from .simulated import COMMON, HOSTS, SimulatedHost, run

LIST = ROOT / "requirements.txt"
LINES = LIST.read_text(encoding="utf-8").split()
OURS = {"peft", "modelscope"}
BUILDS = re.compile(r"opencv|onnxruntime|torch|nvidia|triton")

pytestmark = [pytest.mark.slow, pytest.mark.matrix]


@pytest.fixture(params=HOSTS)
def host(request, tmp_path) -> SimulatedHost:
    made = SimulatedHost(tmp_path / "venv", COMMON | HOSTS[request.param])
    made.check()
    return made


def only_added(before: dict[str, str], installed: dict[str, str]) -> bool:
    assert installed.keys().isdisjoint(before), f"replaced: {installed.keys() & before.keys()}"
    assert not any(map(BUILDS.match, installed))
    return True


def test_the_list_at_once(host):
    """By hand, and by comfy-cli."""
    before = dict(host.packages)
    assert only_added(before, added := host.pip("-r", LIST)) and added.keys() >= OURS
    host.check()


def test_line_by_line(host):
    """By ComfyUI-Manager: each line finds what the lines before it have installed."""
    before, added = dict(host.packages), {}
    for line in LINES:
        added |= host.pip(line)
    assert only_added(before, added) and added.keys() >= OURS
    host.check()


def test_with_uv(host, uv):
    """By newer ComfyUI-Managers."""
    assert host.uv(uv, "-r", LIST) == set()
    assert [host.uv(uv, line) for line in LINES] == [set()] * len(LINES)


@pytest.fixture(scope="module")
def uv(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("uv")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", folder, "uv")
    return next(path for path in (folder / "bin").iterdir() if path.stem == "uv")


def test_the_check_sees_a_replacement(tmp_path):
    """The newest diffusers replaces packages of transformers 4: it is no requirement."""
    host = SimulatedHost(tmp_path / "venv", COMMON | HOSTS["transformers 4.57, NumPy 1, OpenCV 4 contrib"])
    before = dict(host.packages)
    with pytest.raises(AssertionError, match=r"replaced: .*huggingface-hub"):
        only_added(before, host.pip("-r", LIST, REFERENCE))


def test_the_message_about_a_missing_opencv_keeps_numpy(tmp_path, monkeypatch):
    """As typed, OpenCV of 4 is added to NumPy 1; without NumPy's version pip would replace it."""
    host = SimulatedHost(tmp_path / "venv", COMMON | HOSTS["transformers 4.50, NumPy 1, no OpenCV"])
    monkeypatch.setattr(compatibility, "np", SimpleNamespace(__version__=host.packages["numpy"]))
    words = compatibility._words((compatibility.PACKAGES["cv2"][1],)).replace('"', "").split()
    assert host.pip(*words).keys() == {"opencv-python-headless"}
    other = SimulatedHost(tmp_path / "other", COMMON | HOSTS["transformers 4.50, NumPy 1, no OpenCV"])
    assert "numpy" in other.pip(words[0])


def test_an_index_out_of_reach_is_a_failure_that_says_so(tmp_path, monkeypatch):
    host = SimulatedHost(tmp_path / "venv", COMMON | HOSTS["transformers 4.50, NumPy 1, no OpenCV"])
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="it needs a package index in reach"):
        host.pip("-r", LIST)
