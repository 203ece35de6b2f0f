"""Which node opens which file: the rows, the nodes that carry them and the code that opens the files say the same."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from facechain_impl.identity.training.settings import Start
from facechain_impl.talking.crop import Mode
from facechain_impl.talking.sadtalker import SadTalker
from facechain_impl.weights import catalogue, uses
from launcher.places import ROOT

IMPLEMENTATION = ROOT / "facechain_impl"
NO_NODE_YET = "no node yet: "
OPENERS = {"open_network", "open_session", "open_part", "require", "_managed"}
# What reads the catalogue itself, and the openers that hand a name on.
BELOW = {"weights", "networks", "perception/models.py"}
DRIVERS = [SadTalker(size, mode) for size in SadTalker.sizes for mode in Mode]
# Arguments that are no literal name -> the names that they stand for.
COMPUTED = {
    "*FUSION.files": uses.FUSION.files,
    "*(ENHANCEMENT.files if enhance else ())": uses.ENHANCEMENT.files,
    "*(name for stage, need in NEEDS.items() if getattr(stages, stage) for name in need.files)": tuple(
        name for need in (uses.ROTATION, uses.RETOUCH, uses.HEAD_MASK, uses.CONFIDENCE) for name in need.files
    ),
    "f'{self.bundle}.reconstruction'": tuple(f"{one.bundle}.reconstruction" for one in DRIVERS),
    "f'{self.bundle}.keypoints'": tuple(f"{one.bundle}.keypoints" for one in DRIVERS),
    "f'{self.bundle}.generator'": tuple(f"{one.bundle}.generator" for one in DRIVERS),
    "f'{self.bundle}.expression'": tuple(f"{one.bundle}.expression" for one in DRIVERS),
    "f'{self.bundle}.pose'": tuple(f"{one.bundle}.pose" for one in DRIVERS),
    "self.mapping_name": tuple(one.mapping_name for one in DRIVERS),
    "Start.FACE_COMMON.value": (Start.FACE_COMMON.value,),
    "name": (),  # an opener hands on what it was called with
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Everything above the catalogue: (path, source)."""
    for path in sorted(IMPLEMENTATION.rglob("*.py")):
        place = path.relative_to(IMPLEMENTATION)
        if not {place.parts[0], place.as_posix()} & BELOW:
            yield place.as_posix(), ast.parse(path.read_text("utf-8"))


def openings() -> Iterator[tuple[str, ast.expr]]:
    """(place, argument) of every call that opens published files."""
    for place, tree in sources():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, base = getattr(call.func, "attr", getattr(call.func, "id", "")), getattr(getattr(call.func, "value", None), "id", "")
            if (name in OPENERS and base != "compatibility") or (name == "find" and base in ("load", "weights")):
                yield from ((f"{place}:{call.lineno}", argument) for argument in call.args)


def opened() -> dict[str, str]:
    """Name of every file, or part of one, that the code opens -> a place where it does."""
    found = {}
    for place, argument in openings():
        literal = isinstance(argument, ast.Constant)
        names = (argument.value,) if literal else COMPUTED.get(ast.unparse(argument))
        assert names is not None, f"{place} opens {ast.unparse(argument)}: write the name out, or say in COMPUTED which names it stands for"
        found |= dict.fromkeys(names, place)
    return found


def declared() -> set[str]:
    return {name for node in uses.NODES for name in node.files}


def test_every_file_that_is_opened_is_published_and_declared():
    found = opened()
    assert len(found) > 30
    entries = {name: catalogue.get(name) for name in found}
    undeclared = {entry.name for entry in entries.values()} - declared()
    assert undeclared == {"skin_detection", "skin_inpainting"}
    assert all(uses.purpose(catalogue.get(name)).startswith(NO_NODE_YET) for name in undeclared)


def test_every_computed_name_is_computed_somewhere():
    assert {ast.unparse(argument) for _, argument in openings() if not isinstance(argument, ast.Constant)} == COMPUTED.keys()


def test_every_file_that_is_declared_is_opened():
    assert declared() - {catalogue.get(name).name for name in opened()} == set()


def test_every_part_of_a_declared_file_is_opened():
    parts = {f"{entry.name}.{part.name}" for entry in catalogue.ENTRIES for part in entry.parts}
    assert {name for name in opened() if "." in name} == parts


@pytest.mark.parametrize("entry", [entry for entry in catalogue.ENTRIES if uses.is_run(entry)], ids=lambda entry: entry.name)
def test_every_file_of_ours_has_a_node_or_says_why_not(entry):
    assert bool(uses.needed_by(entry.name)) != (uses.purpose(entry) == f"{NO_NODE_YET}{entry.note}")
    assert uses.needed_by(entry.name) or entry.note, "say in its note what it will be for"


def test_rows_are_in_order():
    for node in uses.NODES:
        assert max(Counter(node.files).values()) == 1, node.display_name
        assert all(catalogue.get(name).name == name for need in (*node.needs, *node.handed) for name in need.files)
        assert not set(node.files) & {name for need in node.handed for name in need.files}
    assert max(Counter(node.node_id for node in uses.NODES).values()) == 1


def test_what_the_host_hands_over_is_not_among_the_packs_own_files():
    for node in uses.NODES:
        assert not [name for need in node.handed for name in need.files if catalogue.get(name).is_ours]


def test_nodes_are_called_as_in_the_editor():
    names = json.loads((ROOT / "locales" / "en" / "nodeDefs.json").read_text("utf-8"))
    assert [node.display_name for node in uses.NODES] == [names[node.node_id]["display_name"] for node in uses.NODES]


def rows_of(path: Path) -> Iterator[tuple[str, str, str]]:
    """(class, name of its row, source of its schema's node_id) of every node with a row."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            row = [ast.unparse(one.value) for one in node.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "uses"]
            keywords = {key.arg: ast.unparse(key.value) for key in ast.walk(node) if isinstance(key, ast.keyword)}
            if row:
                yield node.name, row[0], f"{keywords.get('node_id')} {keywords.get('display_name')}"


def test_every_row_belongs_to_one_node_which_takes_its_names_from_it():
    found = [row for path in sorted((ROOT / "nodes").glob("*.py")) if path.name != "_node.py" for row in rows_of(path)]
    constants = {name: value for name, value in vars(uses).items() if isinstance(value, uses.Uses) and value is not uses.NOTHING}
    assert sorted(row for _, row, _ in found) == sorted(constants)
    assert sorted(constants.values(), key=lambda row: row.node_id) == sorted(uses.NODES, key=lambda row: row.node_id)
    taken = {name: keywords.split()[0] for name, _, keywords in found}
    assert set(taken.values()) == {"cls.uses.node_id"}


def test_only_rows_say_which_files_a_nodes_fingerprint_watches():
    """A fingerprint with names of its own would be a second list."""
    for path in sorted((ROOT / "nodes").glob("*.py")):
        calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        named = [ast.unparse(call) for call in calls if ast.unparse(call.func) == "check.fingerprint" and call.args]
        assert named == (["check.fingerprint(*cls.uses.files)"] if path.name == "_node.py" else []), path.name


def test_texts_name_nodes_and_options():
    assert uses.needed_by("rot_bgr") == "Face Align: rotate whole picture"
    assert uses.needed_by("fusion_aei") == "Fuse Face and Put Faces Into a Picture (Two-Stage Inpaint)"
    assert uses.needed_by("m2fp") == "Put Faces Into a Picture (Two-Stage Inpaint); Face Align: head mask"
    assert uses.needed_by("gfpgan") == "Talking Portrait (SadTalker) and Render Motion: enhancer"
    assert uses.needed_by("transface") == "" and uses.purpose(catalogue.get("transface")) == "no node yet: train-free identity"
    assert uses.purpose(catalogue.get("base_sdxl")) == "for the host's own loaders"
