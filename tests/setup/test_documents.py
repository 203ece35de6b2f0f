"""What the documents and the package files say is what the pack does."""

from __future__ import annotations

import re

import pytest

from facechain_impl import __version__
from facechain_impl.errors import FaceChainError
from launcher import build
from launcher.places import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
HOW = "run `python run.py build readme`"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_both_lists_of_requirements_are_one():
    listed = re.search(r"^dependencies = \[(.*)\]$", PROJECT, re.MULTILINE)[1]
    assert re.findall(r'"([^"]+)"', listed) == (ROOT / "requirements.txt").read_text(encoding="utf-8").split()


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
    for needed in ("run.py", "install.py", "launcher/", "assets/", "nodes/", "facechain_impl/", "web/", "locales/", "workflows/"):
        assert needed not in ignored


def test_an_older_host_is_told_from_the_pack_as_well(monkeypatch, host_path):
    from facechain_impl.host import compatibility

    compatibility.require()
    monkeypatch.setattr(compatibility.comfyui_version, "__version__", "0.29.9")
    with pytest.raises(FaceChainError, match=r"needs ComfyUI 0\.30\.0, this is 0\.29\.9"):
        compatibility.require()


def test_a_missing_package_is_told_from_the_pack_as_well(monkeypatch, host_path):
    from facechain_impl.host import compatibility

    monkeypatch.setattr(compatibility.importlib.util, "find_spec", lambda name: None if name == "cv2" else True)
    with pytest.raises(FaceChainError, match=r'python -m pip install "opencv-python-headless<5"'):
        compatibility.require()
