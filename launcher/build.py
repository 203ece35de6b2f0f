"""`run.py build`: regenerates what is made from the nodes and the API twins, on a host that it starts and stops itself."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from . import browser, console, contract, environment, places
from .console import Failure, say
from .hosts import Host
from .server import Server

SIGNATURES = places.ROOT / "tests" / "host" / "signatures.json"
LOCALES = places.ROOT / "locales"
TRANSLATED = ("zh",)
CHINESE = re.compile(r"[\u4e00-\u9fff]")
# Labels may stay as they are in every language, such as "seed" or "LoRA"; sentences may not.
SENTENCES = ("description", "tooltip")
README = places.ROOT / "README.md"
# The order of the menus in the README's table; other categories follow.
MENUS = ("photos", "identity", "faces", "portrait", "talking", "models")
WORKFLOWS = places.ROOT / "workflows"
TWINS = WORKFLOWS / "api"
NOTES = WORKFLOWS / "notes" / "notes.json"
AGAIN = "Fix the error it reports, then run this again."
# Stands for the optional packages, so that the nodes that need them are there whatever is installed.
OPTIONAL_PACKAGES = places.ROOT / "tests" / "host" / "packages"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "kinds",
        nargs="*",
        type=_kind,
        metavar="KIND",
        help=f"{', '.join(BUILDERS)}; without any, all in this order but {ON_REQUEST}",
    )


def _kind(word: str) -> str:
    if word not in BUILDERS:
        raise argparse.ArgumentTypeError(f"{word!r} cannot be built; there are {', '.join(BUILDERS)}")
    return word


def run(options: argparse.Namespace) -> int:
    """Returns the exit status; problems are raised as Failure."""
    host = environment.ready(for_tests=True, install=options.install)
    with places.temporary_base({}) as base, alone(host, base) as server:
        require_pack(server)
        for kind, builder in BUILDERS.items():
            if kind in options.kinds or (not options.kinds and kind != ON_REQUEST):
                say(f"Building {kind}")
                builder(server)
    return 0


def alone(host: Host, base: Path) -> Server:
    """A server without the user's models, so that builds are the same everywhere."""
    name_models(base)
    return Server(host, base, places.home() / "logs" / "build.log", ["--cpu", "--disable-api-nodes"], packages=OPTIONAL_PACKAGES)


def require_pack(server: Server) -> None:
    if not contract.ours(server.client.object_info()):
        why = f"ComfyUI could not load the pack:\n    {server.tail()}"
        raise Failure("reading the nodes", why, f"Fix the error it reports, then run this again (log: {server.log}).")


def text_of(content: object) -> str:
    """The format of all generated JSON."""
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, content: object) -> bool:
    """Write JSON where it differs from the file, and report it. Returns whether it did."""
    return write_text(path, text_of(content))


def write_text(path: Path, text: str) -> bool:
    differs = not path.is_file() or path.read_text(encoding="utf-8") != text
    if differs:
        path.write_text(text, encoding="utf-8")
    say(f"  {path.relative_to(places.ROOT).as_posix()}: {'written' if differs else 'unchanged'}")
    return differs


def build_snapshots(server: Server) -> None:
    """tests/host/signatures.json: ids, inputs and types of every node."""
    before, found = read(SIGNATURES), contract.signatures(server.client.object_info())
    changed = sorted(name for name in before if found.get(name) != before[name])
    write(SIGNATURES, found)
    if changed:
        say(f"  Shared workflows use these nodes, whose signature changed: {', '.join(changed)}. Say why in CHANGELOG.md.")


def build_locales(server: Server) -> None:
    """English node texts from the schemas. Other languages keep their texts; new ones stay English until translated."""
    info = server.client.object_info()
    english, before = contract.texts(info), dict(leaves(read(LOCALES / "en" / "nodeDefs.json")))
    write(LOCALES / "en" / "nodeDefs.json", english)
    _name_categories(LOCALES / "en", info)
    for language in TRANSLATED:
        texts = merged(english, read(LOCALES / language / "nodeDefs.json"))
        write(LOCALES / language / "nodeDefs.json", texts)
        write(LOCALES / language / "untranslated.json", untranslated(texts))
        _name_categories(LOCALES / language, info)
    stale = [".".join(path) for path, text in leaves(english) if before.get(path, text) != text]
    if stale:
        say(f"  The English changed; check that the translations still agree: {', '.join(stale)}")


def _name_categories(folder: Path, object_info: dict) -> None:
    """A new part of a category is its own name until it gets one."""
    content = read(folder / "main.json")
    known = content["nodeCategories"]
    content["nodeCategories"] = {part: known.get(part, part) for part in contract.category_parts(object_info)}
    write(folder / "main.json", content)


def merged(shape: dict, values: dict) -> dict:
    """The tree `shape` with the leaves of `values` wherever it has the same path."""
    return {key: merged(inner, values.get(key, {})) if isinstance(inner, dict) else values.get(key, inner) for key, inner in shape.items()}


def leaves(tree: dict | str, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """(path, text) of every leaf of a nested dict."""
    if not isinstance(tree, dict):
        yield path, tree
        return
    for key, value in tree.items():
        yield from leaves(value, (*path, key))


def untranslated(chinese: dict) -> list[str]:
    """The sentences of a Chinese nodeDefs.json without a Chinese character, by their path."""
    return [".".join(path) for path, text in leaves(chinese) if path[-1] in SENTENCES and not CHINESE.search(text)]


def build_readme(server: Server) -> None:
    """The tables of the README: the nodes as their schemas describe them, the published files as the catalogue does."""
    text = README.read_text(encoding="utf-8")
    text = with_table(text, "Nodes", node_rows(server.client.object_info()))
    write_text(README, with_table(text, "Licences", _licence_rows(server)))


def with_table(text: str, section: str, rows: list[str]) -> str:
    """A Markdown text with other rows in the first table of one of its sections, below that table's head of two lines."""
    found = re.search(rf"(^## {section}\n(?:(?!##|\|).*\n)*\|.*\n\|.*\n)(?:\|.*\n)*", text, re.MULTILINE)
    if found is None:
        raise Failure(f"building the section {section} of {README.name}", "there is no table in it", "Put the head of its table back.")
    return text[: found.end(1)] + "".join(f"{row}\n" for row in rows) + text[found.end() :]


def node_rows(object_info: dict) -> list[str]:
    def order(node: dict) -> tuple[int, str]:
        menu = node["category"].rpartition("/")[2]
        return (MENUS.index(menu) if menu in MENUS else len(MENUS)), node["display_name"]

    return [f"| {node['display_name']} | {node['description']} |" for node in sorted(contract.ours(object_info).values(), key=order)]


def _licence_rows(server: Server) -> list[str]:
    command = environment.pack_command(server.host, server.base, "models", "licences")
    answer = console.answer(command, environment.pack_env(server.host))
    if answer is None:
        remedy = "Run `python run.py models licences`, fix the error it reports, then run this again."
        raise Failure("reading the licences of the published files", "the pack's command line failed", remedy)
    return answer.splitlines()


def name_models(base: Path) -> None:
    """Empty files with the names in the workflows, so that their pictures show none as missing. The host only lists them."""
    for entries in (models for notes in read(NOTES).values() for models in notes["models"].values()):
        for model in entries:
            path = base / "models" / model["directory"] / model["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def build_workflows(server: Server) -> None:
    """Templates and their pictures from workflows/api, converted by the editor itself in a browser."""
    _task(server, "convert_workflows.py", server.client.url, "converting the workflows", **browser.ready())


def build_pictures(server: Server) -> None:
    """The README's picture and the template cards that show people, from a whole demo with the pocket model, which takes minutes."""
    results = places.home() / "pictures"
    command = [sys.executable, places.ROOT / "run.py", "demo", "--out", results]
    if console.follow([str(word) for word in command], environment.task_env(server.host)):
        raise Failure("building the pictures", "the demo failed", AGAIN)
    _task(server, "draw_cards.py", results, "drawing the cards")


def _task(server: Server, name: str, given: str | Path, step: str, **env: str) -> None:
    """Run a script of launcher/tasks in the host's environment and show what it says. Raises Failure."""
    log, script = (places.home() / "logs" / name).with_suffix(".log"), places.ROOT / "launcher" / "tasks" / name
    log.unlink(missing_ok=True)
    console.call([server.host.python, script, given], step, AGAIN, log, environment.task_env(server.host, **env))
    for line in log.read_text(encoding="utf-8").splitlines():
        say(f"  {line}")


BUILDERS: dict[str, Callable[[Server], None]] = {
    "snapshots": build_snapshots,
    "locales": build_locales,
    "readme": build_readme,
    "workflows": build_workflows,
    "pictures": build_pictures,
}
ON_REQUEST = "pictures"
