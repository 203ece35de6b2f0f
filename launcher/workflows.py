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
        slots = [_widget_slot(name) for name in inputs]
        values = list(inputs.values())
        self._editor_node(number).update(type=other, properties={"Node name for S&R": other}, inputs=slots, widgets_values=values)

    def add(self, kind: str, title: str, outputs: dict[str, str], **widgets: Any) -> str:
        """A new node, in both forms, and its number. outputs: name -> type of each; widgets: all of them, in the node's order."""
        number = str(max(map(int, (*self.api, str(self.editor["last_node_id"])))) + 1)
        self.api[number] = {"class_type": kind, "inputs": dict(widgets), "_meta": {"title": title}}
        below = max(node["pos"][1] + node["size"][1] for node in self.editor["nodes"])
        self.editor["nodes"].append({
            "id": int(number), "type": kind, "title": title, "pos": [430, below + 70], "size": [320, 180], "flags": {}, "mode": 0,
            "order": len(self.editor["nodes"]), "properties": {"Node name for S&R": kind}, "widgets_values": list(widgets.values()),
            "inputs": [_widget_slot(name) for name in widgets],
            "outputs": [{"name": name, "type": kind_of, "links": []} for name, kind_of in outputs.items()],
        })  # fmt: skip
        self.editor["last_node_id"] = int(number)
        return number

    def connect(self, source: str, output: int, target: str, name: str) -> None:
        """Lead the output at this place of node `source` into the input `name` of node `target`, in both forms."""
        self.api[target]["inputs"][name] = [source, output]
        slot = self._editor_node(source)["outputs"][output]
        inputs = self._editor_node(target)["inputs"]
        place = next((index for index, one in enumerate(inputs) if one["name"] == name), None)
        if place is None:
            place = len(inputs)
            inputs.append({"name": name, "type": slot["type"], "link": None})
        self._cut(inputs[place]["link"])
        link = self.editor["last_link_id"] = self.editor["last_link_id"] + 1
        inputs[place]["link"] = link
        slot["links"] = [*(slot["links"] or []), link]
        self.editor["links"].append([link, int(source), output, int(target), place, slot["type"]])

    def lead(self, source: tuple[str, int], other: tuple[str, int]) -> None:
        """Whatever takes the output `source`, a node's number and the output's place, takes `other` from now on, in both forms."""
        for number, node in list(self.api.items()):
            for name, value in list(node["inputs"].items()):
                if value == list(source):
                    self.connect(*other, number, name)

    def remove(self, title: str) -> None:
        """Take out the node with this title and its links, in both forms."""
        number = next(number for number, node in self.api.items() if node["_meta"]["title"] == title)
        del self.api[number]
        for node in self.api.values():
            node["inputs"] = {name: value for name, value in node["inputs"].items() if not _comes_from(value, number)}
        for link in [link[0] for link in self.editor["links"] if int(number) in (link[1], link[3])]:
            self._cut(link)
        self.editor["nodes"].remove(self._editor_node(number))

    def _cut(self, number: int | None) -> None:
        """Take a link, if there is one, out of the editor's form."""
        self.editor["links"] = [link for link in self.editor["links"] if link[0] != number]
        for node in self.editor["nodes"]:
            for slot in node.get("inputs") or []:
                if slot["link"] == number:
                    slot["link"] = None
            for slot in node.get("outputs") or []:
                slot["links"] = [link for link in slot["links"] or [] if link != number]

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


def _widget_slot(name: str) -> dict:
    return {"name": name, "type": "COMBO", "widget": {"name": name}, "link": None}


def _comes_from(value: Any, number: str) -> bool:
    """Whether an input's value is a link from this node."""
    return isinstance(value, list) and value[:1] == [number]


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
