"""LoRAs of faces and styles on a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..facechain_impl.host import lora as lora_lists
from ..facechain_impl.host.protocols import Clip, Model
from ..facechain_impl.identity.lora import merge
from ..facechain_impl.identity.lora import store as lora_store
from ..facechain_impl.types import LoraEntry, Person, Report, Status, replace
from ._api import FaceChainLora, FaceChainPerson, io
from ._common import optional, report_ui
from ._node import FaceChainNode

NONE = "None"
_CUSTOM = "Custom"
_ROLES = ["face", "style"]


class LoRAEntry(FaceChainNode):
    """One more LoRA for Merge LoRAs."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_LoRAEntry",
            display_name="LoRA Entry",
            category="FaceChain/identity",
            description="One more LoRA for Merge LoRAs: a file, or a connected LoRA or person.",
            inputs=[
                io.Combo.Input(
                    "file", options=[NONE, *lora_lists.listed()], tooltip="A LoRA file. Ignored when lora or person is connected."
                ),
                io.Float.Input("weight_model", default=0.25, min=-10.0, max=10.0, step=0.01, tooltip="Strength on the diffusion model."),
                io.Float.Input("weight_text", default=0.25, min=-10.0, max=10.0, step=0.01, tooltip="Strength on the text encoder."),
                io.Combo.Input("role", options=_ROLES, default="style", tooltip="What the LoRA is for; shown in reports."),
                io.LoraModel.Input("lora", optional=True, tooltip="A trained LoRA; takes precedence over file."),
                FaceChainPerson.Input("person", optional=True, tooltip="A person; takes precedence over lora and file."),
            ],
            outputs=[FaceChainLora.Output(display_name="lora", tooltip="Connect to Merge LoRAs.")],
        )

    @classmethod
    def execute(
        cls, file: str, weight_model: float, weight_text: float, role: str, lora: dict[str, torch.Tensor] | None = None,
        person: Person | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        entry = replace(lora_store.entry(_chosen(file), lora, person, role), strength_model=weight_model, strength_clip=weight_text)
        report = Report("LoRA entry")
        report.add(entry.name, Status.LOADED, role=role, model=weight_model, text=weight_text)
        return io.NodeOutput(entry, ui=report_ui(report))


class LoRAMerge(FaceChainNode):
    """A face LoRA, a style LoRA and any number of others on a model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_LoRAMerge",
            display_name="Merge LoRAs",
            category="FaceChain/identity",
            description="Applies a face and a style LoRA to a model with FaceChain's weights, and can save them as one file.",
            is_input_list=True,
            inputs=_merge_inputs(),
            outputs=[
                io.Model.Output(display_name="model", tooltip="The model with all LoRAs."),
                io.Clip.Output(display_name="clip", tooltip="The text encoder with all LoRAs."),
            ],
        )

    @classmethod
    def execute(
        cls, model: Sequence[Model], clip: Sequence[Clip], preset: Sequence[str], more: dict[str, Sequence[LoraEntry]] | None = None,
        **inputs: Sequence,
    ) -> io.NodeOutput:  # fmt: skip
        values: dict[str, Any] = {key: optional(value) for key, value in inputs.items()}
        entries = _entries(values, optional(preset) or _CUSTOM)
        entries += [entry for group in (more or {}).values() for entry in group]
        patched_model, patched_clip, report = merge.apply(model[0], clip[0], entries)
        if values["save_as"]:
            lora_store.save_merged(model[0], clip[0], entries, name=values["save_as"], rank=values["merged_rank"], report=report)
        return io.NodeOutput(patched_model, patched_clip, ui=report_ui(report))


def _merge_inputs() -> list[io.Input]:
    files = [NONE, *lora_lists.listed()]
    weight = {"min": -10.0, "max": 10.0, "step": 0.01}
    return [
        io.Model.Input("model", tooltip="The model to apply the LoRAs to."),
        io.Clip.Input("clip", tooltip="Its text encoder."),
        io.Combo.Input("face_lora", options=files, tooltip="The LoRA of the person. Ignored when lora or person is connected."),
        io.Combo.Input("style_lora", options=files, tooltip="The LoRA of the style."),
        io.Combo.Input("preset", options=[*merge.PRESETS, _CUSTOM], tooltip="FaceChain's weights, or Custom for the two below."),
        io.Float.Input("face_weight", default=0.95, **weight, tooltip="Strength of the face LoRA with preset Custom."),
        io.Float.Input("style_weight", default=0.25, **weight, tooltip="Strength of the style LoRA with preset Custom."),
        io.String.Input("save_as", default="", tooltip="Also save all LoRAs with their weights as one file of this name. Empty: no file."),
        io.Int.Input(
            "merged_rank",
            default=0,
            min=0,
            max=512,
            tooltip="Rank of that file. 0: the exact sum; else it is compressed.",
        ),
        io.LoraModel.Input("lora", optional=True, tooltip="A trained LoRA, as the face LoRA; takes precedence over face_lora."),
        FaceChainPerson.Input("person", optional=True, tooltip="A person, as the face LoRA; takes precedence over lora and face_lora."),
        io.Autogrow.Input(
            "more",
            template=io.Autogrow.TemplatePrefix(
                FaceChainLora.Input("entry", optional=True, tooltip="Another LoRA, from LoRA Entry."), prefix="entry", min=0, max=20
            ),
            tooltip="More LoRAs, each from a LoRA Entry; a new socket appears as you connect.",
        ),
    ]


def _entries(values: dict, preset: str) -> list[LoraEntry]:
    """The face and the style LoRA that were chosen, with their weights."""
    face_weight, style_weight = merge.PRESETS.get(preset, (values["face_weight"], values["style_weight"]))
    face_file, lora_model, person = _chosen(values["face_lora"]), values.get("lora"), values.get("person")
    entries = []
    if face_file or lora_model is not None or person is not None:
        entries.append(lora_store.entry(face_file, lora_model, person, "face", face_weight))
    if style := _chosen(values["style_lora"]):
        entries.append(lora_store.entry(style, None, None, "style", style_weight))
    return entries


def _chosen(file: str) -> str | None:
    return None if file == NONE else file
