"""The shipped workflows as data: found by title, edited by node kind, in API and in editor form."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .places import ROOT

FOLDER = ROOT / "workflows"
# The editor stores this choice right behind a seed, without an input of that name.
AFTER_SEED = ("fixed", "increment", "decrement", "randomize")


class Workflow:
    """A shipped workflow. `api` is the graph for the server, `editor` the one for the editor."""

    def __init__(self, title: str):
        self.title = title
        self.api = _read(FOLDER / "api" / f"{title}.json")
        self.editor = _read(FOLDER / f"{title}.json")

    def id_of(self, kind: str) -> str:
        """The number of the one node of a kind."""
        return self._ids(kind, None)[0]

    def change(self, kind: str, title: str | None = None, **inputs: Any) -> None:
        """Set widgets of the nodes of one kind, or of those with this title, in both forms."""
        for number in self._ids(kind, title):
            self.api[number]["inputs"].update(copy.deepcopy(inputs))
            _set_widgets(self._editor_node(number), inputs)

    def exchange(self, kind: str, other: str, **inputs: Any) -> None:
        """Put another node, with the same outputs and these widgets, in the place of the one node of a kind, in both forms."""
        number = self.id_of(kind)
        self.api[number].update(class_type=other, inputs=inputs)
        slots = [{"name": name, "type": "COMBO", "widget": {"name": name}, "link": None} for name in inputs]
        values = list(inputs.values())
        self._editor_node(number).update(type=other, properties={"Node name for S&R": other}, inputs=slots, widgets_values=values)

    def _editor_node(self, number: str) -> dict:
        return next(node for node in self.editor["nodes"] if str(node["id"]) == number)

    def _ids(self, kind: str, title: str | None) -> list[str]:
        titled = (number for number, node in self.api.items() if title in (None, node["_meta"]["title"]))
        found = [number for number in titled if self.api[number]["class_type"] == kind]
        if not found:
            raise KeyError(f"{self.title} holds no {kind} {title or ''}")
        return found

    def save(self, folder: Path) -> list[Path]:
        files = [folder / f"{self.title} (API).json", folder / f"{self.title}.json"]
        for file, content in zip(files, (self.api, self.editor)):
            file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return files


def _read(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))


def _set_widgets(node: dict, inputs: dict) -> None:
    for name, position in widget_positions(node):
        if name in inputs:
            node["widgets_values"][position] = inputs[name]


def widget_positions(node: dict) -> Iterator[tuple[str, int]]:
    """(name, place in `widgets_values`) of the widgets of a node in editor form."""
    position, values = 0, node.get("widgets_values") or []
    for slot in node["inputs"]:
        if "widget" not in slot:
            continue
        yield slot["widget"]["name"], position
        position += 1
        if slot["widget"]["name"] in ("seed", "noise_seed") and position < len(values) and values[position] in AFTER_SEED:
            position += 1
