"""What a shipped workflow needs: the published files that its nodes' settings ask for, and what ComfyUI's loaders in it name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from ..errors import BadInput
from ..host import folders
from ..networks.published import Entry
from ..types import Status
from . import catalogue, check, files, uses

FOLDER = Path(__file__).resolve().parents[2] / "workflows"
_NODES = {row.node_id: row for row in uses.NODES}


@dataclass(frozen=True)
class Wanted:
    """A published file. why: the nodes that ask for it, and their options. spared: whether they also work without it."""

    entry: Entry
    why: str
    spared: bool = False


@dataclass(frozen=True)
class Loader:
    """A loader of ComfyUI in a workflow. title: of the node. name: the file that it names. category: the kind of model folder
    that it looks in. source: where ComfyUI offers to download that file from."""

    title: str
    name: str
    category: str
    source: str

    def is_filled(self) -> bool:
        """Whether the file that it names is here."""
        return any((folder / self.name).is_file() for folder in folders.category_folders(self.category))

    @property
    def entry(self) -> Entry | None:
        """The published file to choose instead."""
        return next((entry for entry in catalogue.ENTRIES if self.name in entry.instead_of), None)


def titles() -> list[str]:
    return sorted(path.stem for path in (FOLDER / "api").glob("*.json"))


def find(words: str) -> str:
    """The title of the workflow that is called so, or whose title alone holds these letters. Raises BadInput with the nearest."""
    given, known = _letters(words), {_letters(title): title for title in titles()}
    found = [known[given]] if given in known else [title for letters, title in known.items() if given and given in letters]
    if len(found) == 1:
        return found[0]
    near = found or [known[letters] for letters in get_close_matches(given, known, n=2)] or titles()
    raise BadInput(f"There is no shipped workflow called {words!r}. Did you mean {' or '.join(map(repr, near))}?")


def _letters(words: str) -> str:
    return re.sub(r"\W", "", words.casefold().removesuffix(".json"))


def command(title: str) -> str:
    """What gets everything that a workflow needs."""
    return f'python run.py models get --for "{title}"'


@lru_cache
def _shipped(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def loaders(title: str) -> list[Loader]:
    """ComfyUI's loaders in a workflow, in the order of their numbers."""
    nodes = sorted(_shipped(FOLDER / f"{title}.json")["nodes"], key=lambda node: node["id"])
    offered = ((node["title"], model) for node in nodes for model in node["properties"].get("models", ()))
    return [Loader(node, model["name"], model["directory"], model["url"]) for node, model in offered]


def wanted(title: str) -> list[Wanted]:
    """The published files for the settings that a workflow is shipped with, each once. A loader whose own file is here needs none."""
    found: dict[str, Wanted] = {}
    for_loaders = (Wanted(entry, loader.title) for loader, entry in _replaced(title))
    for one in (*for_loaders, *_for_nodes(title)):
        before = found.get(one.entry.name, one)
        why = before.why if one.why in before.why else f"{before.why}; {one.why}"
        found[one.entry.name] = replace(one, why=why, spared=before.spared and one.spared)
    return list(found.values())


def _replaced(title: str) -> Iterator[tuple[Loader, Entry]]:
    """The loaders whose own file is not here, with the published file to choose instead."""
    for loader in loaders(title):
        if loader.entry is not None and not loader.is_filled():
            yield loader, loader.entry


def _for_nodes(title: str) -> Iterator[Wanted]:
    for node in _shipped(FOLDER / "api" / f"{title}.json").values():
        for need in _NODES.get(node["class_type"], uses.NOTHING).needs:
            if need.asked(node["inputs"]):
                why = node["_meta"]["title"] + (f" ({need.option})" if need.option else "")
                yield from (Wanted(catalogue.get(name), why, need.spared) for name in need.files)


def to_choose(title: str) -> list[tuple[str, str]]:
    """(title of a loader, what to choose in it), for each in whose place a published file is here."""
    return [(loader.title, name) for loader, entry in _replaced(title) if (name := files.shown_name(entry))]


def not_published(title: str) -> list[Loader]:
    """The loaders whose file is not here, and that only ComfyUI itself offers to download."""
    return [loader for loader in loaders(title) if loader.entry is None and not loader.is_filled()]


def commands() -> list[str]:
    """A sentence for each shipped workflow that lacks a published file: which ones, and what gets them all. Never raises."""
    lacking = {title: [one.entry.name for one in wanted(title) if not _is_here(one.entry)] for title in titles()}
    return [f"{title} lacks {', '.join(names)}. All at once: {command(title)}" for title, names in lacking.items() if names]


def _is_here(entry: Entry) -> bool:
    return check.status(entry).status is Status.PRESENT


def fingerprint() -> str:
    """Changes with the files that ComfyUI's loaders in shipped workflows name. Never raises."""
    return "".join(str(int(loader.is_filled())) for title in titles() for loader in loaders(title))
