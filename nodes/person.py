"""Loading and storing persons."""

from __future__ import annotations

import torch

from ..facechain_impl.errors import BadInput
from ..facechain_impl.identity import persons
from ..facechain_impl.identity.lora import formats as lora_files
from ..facechain_impl.identity.persons import IfExists
from ..facechain_impl.types import Person, Report, Status, replace
from ._api import FaceChainPerson, io
from ._common import report_ui
from ._node import FaceChainNode

_NOBODY = "(nobody is stored yet)"


class LoadPerson(FaceChainNode):
    """Loads a stored person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_LoadPerson",
            display_name="Load Person",
            category="FaceChain/identity",
            description="Loads a person who was trained or saved before.",
            inputs=[io.Combo.Input("person", options=persons.names() or [_NOBODY], tooltip="All stored persons.")],
            outputs=[
                FaceChainPerson.Output(display_name="person", tooltip="The person."),
                io.LoraModel.Output(display_name="lora", tooltip="The person's LoRA."),
                io.String.Output(display_name="trigger", tooltip="The trigger words, for prompts."),
                io.Image.Output(display_name="template", tooltip="The person's best photo."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, person: str) -> str | list[tuple[str, int, int]]:
        if person not in persons.names():
            return "gone"
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(persons.folder_of(person).iterdir())]

    @classmethod
    def execute(cls, person: str) -> io.NodeOutput:
        if person == _NOBODY:
            raise BadInput("No person is stored yet. Train a person with Train Face LoRA or store one with Save Person, then press R.")
        loaded = persons.load(person)
        template = None if loaded.photo is None else loaded.photo[None]
        report = Report("Stored person")
        report.add(loaded.name, Status.LOADED, trigger=loaded.trigger, format=lora_files.describe(loaded.lora))
        return io.NodeOutput(loaded, dict(loaded.lora), loaded.trigger, template, ui=report_ui(report))


class SavePerson(FaceChainNode):
    """Stores a person under a name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_SavePerson",
            display_name="Save Person",
            category="FaceChain/identity",
            description="Stores a person, or a LoRA and its trigger as a person, under a name.",
            is_output_node=True,
            inputs=[
                io.String.Input("name", default="my_face", tooltip="Name to store under; also the name of the LoRA file."),
                io.String.Input("trigger", default="", tooltip="Trigger words of the person. Empty: the ones the person has."),
                io.Combo.Input(
                    "if_person_exists", options=[policy.value for policy in IfExists], tooltip="What happens if the name is taken."
                ),
                FaceChainPerson.Input("person", optional=True, tooltip="A person to store under this name."),
                io.LoraModel.Input("lora", optional=True, tooltip="The LoRA, if no person is connected or to replace the person's LoRA."),
                io.Image.Input("template", optional=True, tooltip="The best photo, used for face fusion and ranking."),
            ],
            outputs=[FaceChainPerson.Output(display_name="person", tooltip="The stored person.")],
        )

    @classmethod
    def execute(
        cls, name: str, trigger: str, if_person_exists: str, person: Person | None = None, lora: dict[str, torch.Tensor] | None = None,
        template: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        if person is None:
            if lora is None:
                raise BadInput("There is nothing to save: connect a person or a LoRA.")
            person = Person(name, lora, trigger)
        person = replace(
            person, name=name, lora=person.lora if lora is None else lora, trigger=trigger or person.trigger,
            photo=person.photo if template is None else template[0],
        )  # fmt: skip
        stored = persons.save(person, {"facechain_trigger": person.trigger}, IfExists(if_person_exists))
        report = Report("Save person", notes=[f"{stored.name} is stored; the LoRA is {persons.lora_name(stored.name)}."])
        report.add(stored.name, Status.STORED, format=lora_files.describe(stored.lora), trigger=stored.trigger)
        return io.NodeOutput(stored, ui=report_ui(report))
