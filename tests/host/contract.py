"""What shared workflows rely on: the ids of our nodes, the order of their inputs, and every type."""

from __future__ import annotations

PREFIX = "FaceChain_"
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
BUTTONS = {"upload", "audioUI"}
ONLY_IN_EDITOR = {"MarkdownNote", "Note", "Reroute", "PrimitiveNode"}


def ours(object_info: dict) -> dict:
    return {name: object_info[name] for name in sorted(object_info) if name.startswith(PREFIX)}


def signature(node: dict) -> dict:
    """Inputs as [name, type, required or optional] in order, and the types of the outputs. What a list offers is not part of it."""
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
