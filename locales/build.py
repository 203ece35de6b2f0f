"""Writes locales/en/nodeDefs.json from the nodes of a running host, so that the English texts stand in the schemas alone.

python locales/build.py SERVER
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
PREFIX = "FaceChain_"


def inputs_of(node: dict) -> dict[str, dict[str, str]]:
    """Input name -> the texts of it that a user sees."""
    found = {}
    for group in ("required", "optional"):
        for name, (_, *options) in node["input"].get(group, {}).items():
            tooltip = options[0].get("tooltip", "") if options else ""
            found[name] = {"name": (options[0].get("display_name") if options else None) or name, "tooltip": tooltip}
    return found


def outputs_of(node: dict) -> dict[str, dict[str, str]]:
    """Output index -> the texts of it that a user sees."""
    tooltips = node.get("output_tooltips") or [""] * len(node["output_name"])
    return {
        str(index): {"name": name, "tooltip": tooltip or ""} for index, (name, tooltip) in enumerate(zip(node["output_name"], tooltips))
    }


def node_texts(node: dict) -> dict:
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": inputs_of(node),
        "outputs": outputs_of(node),
    }


def node_definitions(object_info: dict) -> dict:
    """The content of nodeDefs.json for the nodes of the pack, from the host's /object_info."""
    return {name: node_texts(object_info[name]) for name in sorted(object_info) if name.startswith(PREFIX)}


def main(server: str) -> None:
    with urllib.request.urlopen(f"{server}/object_info") as answer:
        definitions = node_definitions(json.load(answer))
    text = json.dumps(definitions, indent=2, ensure_ascii=False) + "\n"
    (HERE / "en" / "nodeDefs.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
