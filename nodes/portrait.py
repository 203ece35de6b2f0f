"""Prompts for portraits."""

from __future__ import annotations

from ..facechain_impl.errors import BadInput
from ..facechain_impl.portrait import prompts
from ..facechain_impl.types import Person, Report
from ._api import FaceChainPerson, io
from ._common import report_ui
from ._node import FaceChainNode


class PortraitPrompt(FaceChainNode):
    """Both prompts of a portrait."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_PortraitPrompt",
            display_name="Portrait Prompt",
            category="FaceChain/portrait",
            description="Writes the prompts of a portrait from a person's trigger and a style.",
            search_aliases=["prompt", "trigger", "style", "text"],
            inputs=[
                io.String.Input("style", default="wearing a dark suit", multiline=True, tooltip="Clothes, or what the style LoRA shows."),
                io.Boolean.Input("style_lora", default=False, tooltip="The style comes from a LoRA and follows the trigger directly."),
                io.String.Input("ethnicity", default="", tooltip="Words for the person's ethnicity, if you want any."),
                io.String.Input("negative", default=prompts.NEGATIVE_PORTRAIT, multiline=True, tooltip="What to avoid."),
                io.String.Input("trigger", default="", tooltip="The person's trigger, as in the training captions."),
                FaceChainPerson.Input("person", optional=True, tooltip="A trained person, instead of a trigger."),
            ],
            outputs=[
                io.String.Output("positive", tooltip="The positive prompt."),
                io.String.Output("negative_prompt", display_name="negative", tooltip="The negative prompt."),
            ],
        )

    @classmethod
    def execute(
        cls, style: str, style_lora: bool, ethnicity: str, negative: str, trigger: str, person: Person | None = None
    ) -> io.NodeOutput:
        words = person.trigger if person is not None else trigger
        if not words.strip():
            raise BadInput("The trigger is empty and no person is connected. Write the trigger of the training captions.")
        prompt = prompts.portrait(words, style, style_lora, negative, ethnicity)
        report = Report("Portrait prompts", notes=[f"Positive: {prompt.positive}", f"Negative: {prompt.negative}"])
        return io.NodeOutput(*prompt, ui=report_ui(report))
