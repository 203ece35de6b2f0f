"""Training a person's LoRA from photos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..facechain_impl.errors import BadInput
from ..facechain_impl.host import families
from ..facechain_impl.host.protocols import Clip, Model, Vae
from ..facechain_impl.identity import persons
from ..facechain_impl.identity.persons import FileWatch, IfExists
from ..facechain_impl.identity.training import order, presets, start, train
from ..facechain_impl.identity.training import settings as train_settings
from ..facechain_impl.identity.training.judge import LOOKS, affordable
from ..facechain_impl.identity.training.looks import LookPlan
from ..facechain_impl.identity.training.previews import Preview
from ..facechain_impl.identity.training.settings import SCHEDULES, Augmentation, IfState, Offload, Optimiser, Precision, Start, Targets
from ..facechain_impl.types import Faces
from ..facechain_impl.weights.uses import TRAIN
from . import _train_recipe
from ._api import FaceChainFaces, FaceChainPerson, io, ui
from ._common import flatten_images, optional, report_ui
from ._node import FaceChainNode

MOST_LOOKS = 20
_CHOICES = {
    "schedule": str,
    "optimiser": Optimiser,
    "augmentation": Augmentation,
    "targets": Targets,
    "start": Start,
    "precision": Precision,
}
_files = FileWatch()


class TrainFaceLoRA(FaceChainNode):
    """Trains a LoRA of the person in the photos."""

    uses = TRAIN

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/identity",
            description="Trains a LoRA on photos of one person and stores it under a name. Resumes where it stopped.",
            search_aliases=["lora training", "dreambooth", "identity"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                *_sockets(),
                *_main_widgets(),
                *_recipe_widgets(),
                *_technical_widgets(),
                *_likeness_widgets(),
                *_train_recipe.widgets(),
            ],
            outputs=[
                io.LoraModel.Output(display_name="lora", tooltip="The trained LoRA."),
                io.LossMap.Output(display_name="loss", tooltip="The loss of every step."),
                io.String.Output(display_name="file", tooltip="The LoRA's name in the LoRA lists of loader nodes."),
                FaceChainPerson.Output(display_name="person", tooltip="The stored person: LoRA, trigger, best photo."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, name: str | list[str | None], **_: Any) -> str:
        asked = name[0] if isinstance(name, list) else name
        return f"{super().fingerprint_inputs()} {_files.missing_count(asked or '')}"

    @classmethod
    def execute(
        cls, model: Sequence[Model], clip: Sequence[Clip], vae: Sequence[Vae], images: Sequence[torch.Tensor], captions: Sequence[str],
        faces: Sequence[Faces] | None = None, class_images: Sequence[torch.Tensor] | None = None, **widgets: Sequence,
    ) -> io.NodeOutput:  # fmt: skip
        values = {key: value[0] for key, value in widgets.items() if value}
        photos = flatten_images(images)
        family = families.of(model[0])
        settings = presets.from_preset(values["preset"], len(photos), _changes(values), start.is_here(model[0]), family)
        inputs = order.TrainInputs(
            model=model[0], clip=clip[0], vae=vae[0], photos=photos, captions=list(captions), faces=optional(faces),
            class_photos=flatten_images(class_images or []), class_caption=values.get("class_caption", "a person"),
        )  # fmt: skip
        policy = _policy(values, settings, _preview(values, list(captions), settings), _remarks(model[0], values, settings))
        result = train.train_face_lora(order.TrainRequest(inputs=inputs, settings=settings, policy=policy))
        _files.stored(values["name"], result.person.lora_file)
        file = persons.lora_name(result.person.name)
        shown = report_ui(result.report)
        if result.sheet is not None:
            shown |= ui.PreviewImage(result.sheet[None], cls=cls).as_dict()
        return io.NodeOutput(dict(result.person.lora), {"loss": result.losses}, file, result.person, ui=shown)


def _remarks(model: Model, values: dict, settings: train_settings.TrainSettings) -> tuple[str, ...]:
    preset = presets.of(values["preset"], families.of(model))
    said = [preset.remark]
    if Start(values["start"]) is Start.PRESET:
        said.append(start.remark(model, settings, preset, chosen_steps=bool(values["steps"])))
    return tuple(filter(None, said))


def _policy(values: dict, settings: train_settings.TrainSettings, preview: Preview | None, remarks: tuple[str, ...]) -> order.TrainPolicy:
    return order.TrainPolicy(
        remarks=remarks,
        name=values["name"],
        trigger=values.get("trigger", ""),
        preset=values["preset"],
        if_state=IfState(values["if_state_exists"]),
        if_person=IfExists(values["if_person_exists"]),
        preview=preview,
        looks=LookPlan(affordable(_looks(values.get("looks", LOOKS)), settings.steps), keep=values.get("keep_steps", False)),
        use_step=values.get("use_step", 0),
    )


def _looks(wanted: int) -> int:
    """Workflows of version 0.1 have a number of steps in the place of this widget."""
    return wanted if wanted <= MOST_LOOKS else LOOKS


def _changes(values: dict) -> dict:
    """Widgets that override the preset. Zero and "From preset" stand for the preset's value."""
    plain = (
        "seed",
        "gradient_accumulation",
        "dropout",
        "warmup_steps",
        "train_text_encoder",
        "gradient_checkpointing",
        "max_grad_norm",
        "caption_dropout",
        "min_snr_gamma",
        "state_every",
        "variants",
        "mirror",
        "batch_size",
        "masked_loss",
        "prior_weight",
    )
    changes = {key: values[key] for key in plain if key in values}
    changes |= {key: values[key] or None for key in ("steps", "resolution", "learning_rate", "rank", "alpha")}
    changes |= _train_recipe.changes(values)
    if "offload" in values:
        changes["offload"] = Offload(values["offload"])
    return changes | {key: None if values[key] == _train_recipe.PRESET else kind(values[key]) for key, kind in _CHOICES.items()}


def _preview(values: dict, captions: list[str], settings: train_settings.TrainSettings) -> Preview | None:
    if not values["preview_every"]:
        return None
    if not captions:
        raise BadInput("No caption arrived. Connect the captions of Caption Crops (Tagger).")
    return Preview(values["preview_every"], values.get("preview_text") or captions[0], settings.seed, settings.resolution)


def _sockets() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model to train on, straight from its loader."),
        io.Clip.Input("clip", tooltip="The model's text encoder."),
        io.Vae.Input("vae", tooltip="The model's VAE."),
        io.Image.Input("images", tooltip="1 to 20 photos of one person, ideally the crops of Face Align."),
        io.String.Input("captions", force_input=True, tooltip="One caption for each photo, from Caption Crops (Tagger)."),
        FaceChainFaces.Input("faces", optional=True, tooltip="Faces found by Face Align in the photos, with their head masks."),
        io.Image.Input("class_images", optional=True, tooltip="Regularisation images: other people that the model should not forget."),
    ]


def _main_widgets() -> list[io.Input]:
    policies = [policy.value for policy in IfExists]
    return [
        io.String.Input("name", default="my_face", tooltip="Name of the person; also the name of the LoRA file."),
        io.Combo.Input(
            "preset",
            options=list(presets.NAMES),
            tooltip="FaceChain's own recipe, or Fast, Balanced and Best for any model. Values below that are 0 or 'From preset' follow it.",
        ),
        io.Int.Input("steps", default=0, min=0, max=100000, tooltip="Optimiser steps. 0: the preset's, 20 to 300 for each photo."),
        io.Int.Input(
            "resolution",
            default=0,
            min=0,
            max=2048,
            step=8,
            tooltip="Side of the training pictures in pixels. 0: 512 for SD1.5, 1024 for SDXL and newer models.",
        ),
        io.Int.Input("seed", default=42, min=0, max=2**63 - 1, control_after_generate=False, tooltip="The same seed gives the same LoRA."),
        io.Combo.Input(
            "if_state_exists",
            options=[choice.value for choice in IfState],
            tooltip="Resume an interrupted training with the same photos, captions and settings, or start over.",
        ),
        io.Combo.Input("if_person_exists", options=policies, tooltip="What to do when a person of this name is already stored."),
        io.String.Input("trigger", default="", optional=True, tooltip="Trigger words of the person. Empty: what all captions begin with."),
        io.Int.Input("preview_every", default=250, min=0, max=100000, tooltip="Steps between sample portraits on the node. 0: none."),
        io.String.Input("preview_text", default="", optional=True, tooltip="Prompt of the sample portraits. Empty: the first caption."),
    ]


def _recipe_widgets() -> list[io.Input]:
    crops = [_train_recipe.PRESET, *(choice.value for choice in Augmentation)]
    return [
        io.Float.Input("learning_rate", default=0.0, min=0.0, max=1.0, step=1e-6, advanced=True, tooltip="0: the preset's."),
        io.Combo.Input("schedule", options=[_train_recipe.PRESET, *SCHEDULES], advanced=True, tooltip="Learning rate schedule."),
        io.Int.Input("warmup_steps", default=0, min=0, max=10000, advanced=True, tooltip="Steps in which the learning rate rises from 0."),
        io.Combo.Input(
            "optimiser",
            options=[_train_recipe.PRESET, *(choice.value for choice in Optimiser)],
            advanced=True,
            tooltip="8-bit needs bitsandbytes, Prodigy prodigyopt.",
        ),
        io.Int.Input("rank", default=0, min=0, max=512, advanced=True, tooltip="Rank of the LoRA. 0: the preset's."),
        io.Float.Input(
            "alpha", default=0.0, min=0.0, max=1024.0, advanced=True, tooltip="The update is scaled by alpha / rank. 0: same as rank."
        ),
        io.Float.Input("dropout", default=0.0, min=0.0, max=0.9, step=0.01, advanced=True, tooltip="Dropout inside the LoRA layers."),
        io.Combo.Input(
            "targets",
            options=[_train_recipe.PRESET, *(choice.value for choice in Targets)],
            advanced=True,
            tooltip="Layers that get an adapter.",
        ),
        io.Boolean.Input("train_text_encoder", default=False, advanced=True, tooltip="Also train a LoRA on the text encoder."),
        io.Combo.Input(
            "start",
            options=[choice.value for choice in Start],
            advanced=True,
            tooltip="From preset: FaceChain's published face LoRA where it is here (SD1.5, rank 4), else random numbers.",
        ),
        io.Combo.Input(
            "augmentation", options=crops, advanced=True, tooltip="How training pictures are cropped. Face crop needs square crops."
        ),
        io.Int.Input("variants", default=16, min=1, max=256, advanced=True, tooltip="Random crops prepared from each photo."),
        io.Float.Input(
            "caption_dropout",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Share of steps without a caption.",
        ),
        io.Float.Input(
            "min_snr_gamma", default=0.0, min=0.0, max=20.0, step=0.1, advanced=True, tooltip="min-SNR weighting, 5 is usual. 0: off."
        ),
    ]


def _technical_widgets() -> list[io.Input]:
    return [
        io.Int.Input("batch_size", default=1, min=1, max=64, advanced=True, tooltip="Pictures per forward pass."),
        io.Int.Input("gradient_accumulation", default=1, min=1, max=256, advanced=True, tooltip="Forward passes per optimiser step."),
        io.Float.Input(
            "max_grad_norm", default=1.0, min=0.0, max=100.0, step=0.01, advanced=True, tooltip="Gradient clipping norm. 0: off."
        ),
        io.Combo.Input(
            "precision",
            options=[choice.value for choice in Precision],
            advanced=True,
            tooltip="Auto: fp32 for the preset FaceChain on SD1.5, as upstream; otherwise bf16 if the GPU supports it, else fp32.",
        ),
        io.Boolean.Input(
            "gradient_checkpointing",
            default=False,
            advanced=True,
            tooltip="Less memory, about a third slower. Off: only where the training does not fit otherwise, and the report says so.",
        ),
        io.Int.Input("state_every", default=100, min=1, max=10000, advanced=True, tooltip="Steps between saved states, for resuming."),
    ]


def _likeness_widgets() -> list[io.Input]:
    return [
        io.Int.Input(
            "looks",
            default=LOOKS,
            min=0,
            max=100000,
            optional=True,
            tooltip="How often sample portraits are drawn and measured, the last time after the last step. An earlier step is "
            f"used only where it is better by more than chance. 0: never. More than {MOST_LOOKS} count as {LOOKS}; short trainings have "
            "fewer.",
        ),
        io.Float.Input(
            "masked_loss",
            default=0.0,
            min=0.0,
            max=1.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="How much less the area around the head counts; 1: not at all. Needs Face Align's faces with head masks.",
        ),
        io.Float.Input(
            "prior_weight",
            default=1.0,
            min=0.0,
            max=10.0,
            step=0.05,
            optional=True,
            advanced=True,
            tooltip="Weight of class_images.",
        ),
        io.String.Input("class_caption", default="a person", optional=True, advanced=True, tooltip="Caption of all class images."),
        io.Boolean.Input(
            "mirror",
            default=True,
            optional=True,
            advanced=True,
            tooltip="Mirror every other training picture, as FaceChain does. Off for faces that differ between left and right.",
        ),
        io.Boolean.Input(
            "keep_steps", default=False, optional=True, advanced=True, tooltip="Also store the LoRA of every look, in the person's folder."
        ),
        io.Int.Input(
            "use_step",
            default=0,
            min=0,
            max=100000,
            optional=True,
            advanced=True,
            tooltip="After a training with keep_steps: put this step in the place of the chosen one, without training. 0: change nothing.",
        ),
        io.Combo.Input(
            "offload",
            options=[choice.value for choice in Offload],
            default=Offload.AUTO.value,
            optional=True,
            advanced=True,
            tooltip="Keep weights in RAM and fetch them layer by layer: slower, for models larger than the GPU. "
            "Auto: where the training does not fit otherwise. The result is the same.",
        ),
    ]
