"""What has many parts is built by their names: nobody can tell nine values, or two booleans, in a row apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from launcher.places import ROOT

MOST = 6
"""Values without a name that a record may be built from."""
SOURCES = [path for part in ("facechain_impl", "nodes", "launcher") for path in sorted((ROOT / part).rglob("*.py"))]
# The published constructors of layers, which take what their papers name in this order.
LAYERS = {"damofd.py", "gpen.py", "parsenet.py"}


def parsed(kind: type) -> Iterator[tuple[Path, ast.AST]]:
    for path in SOURCES:
        yield from ((path, node) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, kind))


def test_records_are_built_from_few_values_without_a_name():
    records = {node.name for _, node in parsed(ast.ClassDef) if any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)}
    assert {"Order", "Target", "Entry"} <= records
    calls = [(path, node, getattr(node.func, "attr", getattr(node.func, "id", ""))) for path, node in parsed(ast.Call)]
    assert [f"{path.name}:{call.lineno} {name}" for path, call, name in calls if name in records and len(call.args) > MOST] == []


def test_functions_take_at_most_one_boolean_without_a_name():
    taken = {
        f"{path.name}:{node.lineno} {node.name}": [word.arg for word in node.args.args if ast.unparse(word.annotation or word) == "bool"]
        for path, node in parsed(ast.FunctionDef)
        if node.name != "execute" and path.name not in LAYERS
    }
    assert {place: words for place, words in taken.items() if len(words) > 1} == {}
