"""Texts that users read name nodes as the editor does: "Face Align", never "FaceAlign"."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACK = sorted(path for part in ("facechain_impl", "nodes") for path in (ROOT / part).rglob("*.py"))
SOURCES = sorted([*PACK, *(ROOT / "launcher").rglob("*.py")])
# Their code names what the code does; their prose names what the editor shows.
FOR_DEVELOPERS = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
CODE = re.compile(r"^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
DOCUMENTS = [
    *sorted((ROOT / "web" / "docs").rglob("*.md")),
    *sorted((ROOT / "web").glob("*.js")),
    *FOR_DEVELOPERS,
    ROOT / "README.md",
    ROOT / "workflows" / "notes" / "notes.json",
]
LOCALES = sorted(path for language in ("en", "zh") for path in (ROOT / "locales" / language).glob("*.json"))
PREFIX = "FaceChain_"
# The published system that this node is named after.
SYSTEMS = {"SadTalker"}
# Calls whose one-word arguments are shown as well.
SHOWN = {"Report", "Status", "say"}


def shown_names() -> dict[str, str]:
    """Node id without its prefix -> name in the editor, wherever a call in the pack gives both: schemas, and the rows of files that nodes
    use. The launcher's calls are left out: they give the title of a node in a workflow."""
    names = {}
    for call in (node for path in PACK for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)):
        given = [*call.args, *(word.value for word in call.keywords if word.arg in ("node_id", "display_name"))]
        texts = [argument.value for argument in given if isinstance(argument, ast.Constant)]
        if len(texts) > 1 and str(texts[0]).startswith(PREFIX):
            names[texts[0].removeprefix(PREFIX)] = texts[1]
    return names


NAMES = shown_names()


def spaced(name: str) -> str:
    """LoRAMerge -> LoRA Merge."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=RTS)(?=[A-Z])|(?<=LoRA)(?=[A-Z])", " ", name).replace("Lo RA", "LoRA")


INTERNAL = [word for name in sorted(NAMES.keys() - SYSTEMS) for word in sorted({name, spaced(name)})]
FORBIDDEN = re.compile(rf"\b({'|'.join(INTERNAL)})\b")
TRANSLATED = [node["display_name"] for node in json.loads((ROOT / "locales" / "zh" / "nodeDefs.json").read_text("utf-8")).values()]
VISIBLE = re.compile("|".join(re.escape(name) for name in sorted([*NAMES.values(), *TRANSLATED], key=len, reverse=True)))


def internal_names(text: str) -> list[str]:
    """The internal names in a text, once the names of the editor are taken out."""
    return FORBIDDEN.findall(VISIBLE.sub("*", text))


def literals(source: str) -> Iterator[tuple[int, str]]:
    """(line, text) of the string literals that a user may see: not docstrings, and not identifiers, which hold no space."""
    tree = ast.parse(source)
    hidden: set[int] = set()
    one_word: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            hidden.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            hidden.update(id(part) for part in node.values)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in SHOWN:
            one_word.update(id(argument) for argument in node.args)
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif is_text(node) and id(node) not in hidden and (" " in node.value or id(node) in one_word):
            yield node.lineno, node.value


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def values(tree: object) -> Iterator[str]:
    """The texts in a translation; its keys are ids."""
    if isinstance(tree, dict):
        for branch in tree.values():
            yield from values(branch)
    elif isinstance(tree, str):
        yield tree


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_literals(path: Path):
    wrong = [(line, internal_names(text), text) for line, text in literals(path.read_text("utf-8")) if internal_names(text)]
    assert not wrong


@pytest.mark.parametrize("path", DOCUMENTS, ids=place)
def test_documents(path: Path):
    text = path.read_text("utf-8")
    if path in FOR_DEVELOPERS:
        text = CODE.sub("", text)
    assert not [line for line in text.splitlines() if internal_names(line)]


@pytest.mark.parametrize("path", LOCALES, ids=place)
def test_translations(path: Path):
    assert not [text for text in values(json.loads(path.read_text("utf-8"))) if internal_names(text)]


def test_every_node_is_known_and_the_literals_are_seen():
    """All node ids in the source have a name; a collector that missed literals would miss one of these names."""
    sources = [path.read_text("utf-8") for path in SOURCES]
    ids = set(re.findall(rf'"{PREFIX}(\w+)"', "\n".join(sources)))
    assert len(ids) >= 23 and ids == NAMES.keys()
    assert {name for name in NAMES.values() if " " in name} <= {text for source in sources for _, text in literals(source)}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise BadInput("Connect the crops of FaceAlign.")', ["FaceAlign"]),
        ('raise BadInput(f"Connect {name} of RTSRank " "and Tagger.")', ["RTSRank", "Tagger"]),
        ('io.Image.Input("a", tooltip="Connect to LoRA Merge.")', ["LoRA Merge"]),
        ('report = Report("Tagger")', ["Tagger"]),
        ('raise BadInput("Connect Face Align, Caption Crops (Tagger) or Merge LoRAs.")', []),
        ('"""What FaceAlign found."""', []),
        ('io.Schema(node_id="FaceChain_FaceAlign", kind="FaceAlign")', []),
        ('raise BadInput("SadTalker renders squares.")', []),
    ],
)
def test_what_is_found(source: str, found: list[str]):
    assert [name for _, text in literals(source) for name in internal_names(text)] == found
