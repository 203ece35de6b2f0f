"""docs/architecture.md and docs/glossary.md say what the source says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from launcher.places import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
PACK = ROOT / "facechain_impl"
# Files of a project that need no place in the picture.
BESIDE = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "pyproject.toml", "requirements.txt", "requirements-clients.txt",
    "requirements-test.txt",
}  # fmt: skip


def block(title: str) -> list[str]:
    """The lines of the first code block below a heading."""
    return re.search(rf"## {title}\n+```\n(.*?)```", PAGE, re.DOTALL)[1].splitlines()


def drawn() -> dict[str, str]:
    """Path -> what it is for, of each line of the picture of the house."""
    found, parents = {}, []
    for line in block("The house"):
        indent, name, meaning = re.fullmatch(r"( *)(\S+) +(.+)", line).groups()
        parents = [*parents[: len(indent) // 2], name]
        found["".join(parents)] = meaning
    return found


def is_room(folder: Path) -> bool:
    return (folder / "__init__.py").is_file()


def test_the_picture_shows_every_room_and_nothing_else():
    rooms = {f"{folder.relative_to(ROOT).as_posix()}/" for folder in PACK.rglob("*") if is_room(folder)}
    files = {f"facechain_impl/{file.name}" for file in PACK.glob("*.py")} - {"facechain_impl/__init__.py"}
    shown = {path for path in drawn() if path.startswith("facechain_impl/") and path != "facechain_impl/"}
    assert shown == rooms | files, "draw it in docs/architecture.md, with what it is for"


def test_the_picture_shows_the_whole_repository():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("this copy of the repository is no git checkout")
    paths = {path.strip('"') for path in tracked.stdout.splitlines()}
    tops = {f"{path.split('/')[0]}/" if "/" in path else path for path in paths if not path.startswith(".")}
    assert tops - BESIDE == {path for path in drawn() if path.count("/") == path.endswith("/")}


def test_every_line_of_the_picture_says_what_it_is_for():
    assert all(len(meaning) > 10 for meaning in drawn().values())
    assert len(set(drawn().values())) == len(drawn())


def test_the_floors_are_those_of_the_rule():
    from tests.test_layers import FLOORS

    lines = [line.split() for line in block("What may import what")]
    assert lines[:2] == [["nodes/"], ["|"]]
    assert [tuple(name.rstrip("/") for name in line) for line in reversed(lines[2:-1])] == list(FLOORS)
    assert all((PACK / name).is_file() for name in lines[-1])


def test_links_lead_somewhere():
    for page in (ROOT / "docs").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        links = [link.partition("#")[0] for link in re.findall(r"\]\((?!http|#)([^)]+)\)", text)]
        assert [link for link in links if not (page.parent / link).exists()] == [], page.name


def test_paths_of_the_page_are_there():
    named = [name for name in re.findall(r"`((?:nodes|tests|facechain_impl|workflows|launcher|host)/[\w/.]*)`", PAGE)]
    assert len(named) >= 6
    assert [name for name in named if not (ROOT / name).exists() and not (PACK / name).exists()] == []


def test_the_glossary_is_sorted_and_its_names_are_in_the_code():
    words = [word.lower() for word in re.findall(r"^\| \*\*(.+?)\*\*", GLOSSARY, re.MULTILINE)]
    assert words == sorted(words)
    assert {"adapter", "alignment", "conditioning", "crop transform", "embedding", "provenance", "stand-in"} <= set(words)
    names = [name for cell in re.findall(r"In the code: (.+?) \|", GLOSSARY) for name in re.findall(r"`(\w+)`", cell)]
    files = [file for top in ("facechain_impl", "nodes", "launcher") for file in (ROOT / top).rglob("*.py")]
    source = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert [name for name in names if not re.search(rf"\b{name}\b", source)] == []
    assert len(names) > 20
