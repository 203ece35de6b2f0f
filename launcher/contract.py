"""The contract with shared workflows and translations, read from the host's /object_info: node signatures and the texts a user sees."""

from __future__ import annotations

PREFIX = "FaceChain_"
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
BUTTONS = {"upload", "audioUI"}
ONLY_IN_EDITOR = {"MarkdownNote", "Note", "Reroute", "PrimitiveNode"}


def ours(object_info: dict) -> dict:
    return {name: object_info[name] for name in sorted(object_info) if name.startswith(PREFIX)}


def signature(node: dict) -> dict:
    """Inputs as [name, type, required or optional] in order, and the types of the outputs. The choices of a list are not part of it."""
    inputs = [
        [name, type_name(spec), group]
        for group in ("required", "optional")
        for name, spec in ((name, node["input"][group][name]) for name in node["input_order"].get(group, []))
    ]
    outputs = [[name, kind] for name, kind in zip(node["output_name"], node["output"])]
    return {"inputs": inputs, "outputs": outputs, "input_list": node["is_input_list"], "output_lists": node["output_is_list"]}


def signatures(object_info: dict) -> dict:
    return {name: signature(node) for name, node in ours(object_info).items()}


def type_name(spec: list) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def specs(node: dict) -> dict:
    """Input name -> its specification, required ones first."""
    return {**node["input"].get("required", {}), **node["input"].get("optional", {})}


def is_widget(spec: list) -> bool:
    options = spec[1] if len(spec) > 1 else {}
    return type_name(spec) in WIDGET_TYPES and not options.get("forceInput")


def spec_of(node: dict, slot: str) -> list | None:
    """The specification behind a slot of the editor; growing inputs have dotted names, `loras.lora0`."""
    return specs(node).get(slot) or specs(node).get(slot.split(".")[0])


def texts(object_info: dict) -> dict:
    """The content of a nodeDefs.json in English: every text of our nodes that a user sees."""
    return {name: _node_texts(node) for name, node in ours(object_info).items()}


def _node_texts(node: dict) -> dict:
    return {
        "display_name": node["display_name"],
        "description": node["description"],
        "inputs": {name: _input_texts(name, spec) for name, spec in specs(node).items()},
        "outputs": _output_texts(node),
    }


def _input_texts(name: str, spec: list) -> dict[str, str]:
    options = spec[1] if len(spec) > 1 else {}
    return {"name": options.get("display_name") or name, "tooltip": options.get("tooltip", "")}


def _output_texts(node: dict) -> dict[str, dict[str, str]]:
    """Output index -> its texts."""
    tooltips = node.get("output_tooltips") or [""] * len(node["output_name"])
    return {
        str(index): {"name": name, "tooltip": tooltip or ""} for index, (name, tooltip) in enumerate(zip(node["output_name"], tooltips))
    }


def category_parts(object_info: dict) -> list[str]:
    """The words in the menu's categories."""
    return sorted({part for node in ours(object_info).values() for part in node["category"].split("/")})
