"""What the documents and the package files say is what the pack does."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from facechain_impl import __version__
from facechain_impl.errors import FaceChainError
from launcher import build, packages
from launcher.console import clean_env
from launcher.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOW = "run `python run.py build readme`"
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_both_lists_of_requirements_are_one():
    listed = re.search(r"^dependencies = \[(.*)\]$", PROJECT, re.MULTILINE)[1]
    assert re.findall(r'"([^"]+)"', listed) == REQUIREMENTS


def test_the_version_is_one():
    assert f'version = "{__version__}"' in PROJECT
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_readme_gives_every_licence_as_the_pack_does(capsys, host_path):
    from facechain_impl.weights import catalogue, cli, uses

    rows = {row[0]: row[-1] for row in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", README, re.MULTILINE)}
    assert rows == {entry.name: entry.licence.text() for entry in catalogue.ENTRIES if uses.is_run(entry)}, HOW
    assert cli.main(["licences"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert build.with_table(README, "Licences", rows) == README, HOW


@pytest.mark.host
def test_the_readme_names_every_node(client):
    rows = build.node_rows(client.object_info())
    assert len(rows) >= 22
    assert build.with_table(README, "Nodes", rows) == README, HOW


def test_the_readme_names_every_command():
    for command in ("demo", "serve", "test", "build", "models", "persons", "bench"):
        assert f"`python run.py {command}" in README


def test_links_of_the_readme_lead_somewhere():
    links = [link.replace("%20", " ") for link in re.findall(r"\]\((?!http|#)([^)]+)\)", README)]
    assert len(links) >= 3
    assert [link for link in links if not (ROOT / link).is_file()] == []
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", README, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors


def test_what_the_registry_leaves_out_is_nothing_that_runs():
    ignored = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    for needed in ("run.py", "launcher/", "assets/", "nodes/", "facechain_impl/", "web/", "locales/", "workflows/"):
        assert needed not in ignored


def test_nothing_of_the_pack_starts_pip_or_another_program():
    """The registry refuses packs that do. run.py does, in launcher/, when its user calls it."""
    assert not (ROOT / "install.py").exists()
    program = re.compile(r"^\s*(import|from) (subprocess|pip|ensurepip)\b|os\.(system|popen|spawn|exec)", re.MULTILINE)
    files = [ROOT / "__init__.py", *(path for part in ("nodes", "facechain_impl") for path in (ROOT / part).rglob("*.py"))]
    assert [path for path in files if program.search(path.read_text(encoding="utf-8"))] == []


def test_an_older_host_is_told_from_the_pack_as_well(monkeypatch, host_path):
    from facechain_impl.host import compatibility

    compatibility.require()
    monkeypatch.setattr(compatibility.comfyui_version, "__version__", "0.29.9")
    with pytest.raises(FaceChainError, match=r"needs ComfyUI 0\.30\.0, this is 0\.29\.9"):
        compatibility.require()


LOADED_WITHOUT = """
import asyncio, importlib.util, sys
for name in sys.argv[2:]:
    sys.modules[name] = None
spec = importlib.util.spec_from_file_location("a_pack", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["a_pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
asyncio.run(pack.comfy_entrypoint())
"""


@pytest.mark.parametrize(
    ("modules", "names", "packages"),
    [
        (["cv2"], "OpenCV", '"opencv-python-headless>=4.8,<5"'),
        (["peft"], "peft", '"peft>=0.13"'),
        (["cv2", "peft"], "OpenCV and peft", '"opencv-python-headless>=4.8,<5" "peft>=0.13"'),
    ],
)
def test_a_missing_package_is_told_when_the_pack_loads(host_path, modules, names, packages):
    """In one message, which the host prints; pip would replace NumPy 1 for OpenCV if it were not named."""
    command = [sys.executable, "-c", LOADED_WITHOUT, str(ROOT), *modules]
    done = subprocess.run(command, cwd=host_path, env=clean_env(PYTHONPATH=str(host_path)), capture_output=True, text=True)
    message = (
        f"FaceChain Studio was not loaded: {names} cannot be found. Run this with ComfyUI's Python, then restart ComfyUI: "
        f'python -m pip install {packages} "numpy=={np.__version__}"'
    )
    assert done.stderr.splitlines()[-1] == f"a_pack.facechain_impl.errors.FaceChainError: {message}"
    assert "ModuleNotFoundError" not in done.stderr


def test_the_same_opencv_is_named_everywhere(host_path):
    from facechain_impl.host import compatibility

    assert compatibility.PACKAGES["cv2"][1] == packages.OPENCV
    assert compatibility.PACKAGES["peft"][1] in REQUIREMENTS
    assert f'"{packages.OPENCV}"' in README


def test_diffusers_is_what_tests_and_measurements_compare_with_and_nothing_else():
    assert f'reference = ["{packages.REFERENCE}"]' in PROJECT
    assert packages.REFERENCE in (ROOT / "requirements-test.txt").read_text(encoding="utf-8").split()
    assert not any("diffusers" in line for line in REQUIREMENTS)


def test_the_readme_says_what_each_package_is_for():
    for name in ("peft", "modelscope", "diffusers", "onnxruntime"):
        assert re.search(rf"^\| `{name}` \| .+ \|$", README, re.MULTILINE), name
