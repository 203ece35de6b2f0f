"""Starting a training from FaceChain's published face LoRA instead of from random weights."""

from __future__ import annotations

import re

import torch

from ...errors import BadInput
from ...host.models import family
from ...host.protocols import Model
from ...weights import catalogue, files
from ...weights import load as weights
from ..lora import formats as lora_files
from ..lora.formats import Layer
from .presets import Preset
from .settings import COMMON_RANK, Start, Targets, TrainSettings

# Order in which diffusers numbers the attention layers of a UNet.
_SIDES = {"down": 0, "up": 1, "mid": 2}
_NUMBERED = re.compile(r"^(\d+)\.(?=to_(q|k|v|out)_lora\.)")


def is_here(model: Model) -> bool:
    """Whether the published start is on this machine and belongs to this MODEL."""
    entry = catalogue.get(Start.FACE_COMMON.value)
    return belongs_to(model) and (files.published(entry) or files.stand_in(entry)) is not None


def belongs_to(model: Model) -> bool:
    """Whether a MODEL has the layers of SD1.5's UNet."""
    config = model.model.model_config.unet_config
    return family(model) == "sd" and config.get("context_dim") == 768 and tuple(config.get("channel_mult", ())) == (1, 2, 4, 4)


def remark(model: Model, settings: TrainSettings, recipe: Preset, chosen_steps: bool) -> str:
    """What is lost where a training should start from the common face but cannot; else empty. chosen_steps: whether the
    user chose their number."""
    if recipe.settings.start is not Start.FACE_COMMON or settings.start is Start.FACE_COMMON:
        return ""
    longer = "" if chosen_steps else f" It trained {recipe.steps_without_start} steps a photo instead of {recipe.steps_per_photo}."
    if not belongs_to(model):
        return f"The recipe starts from {Start.FACE_COMMON.value}, which exists for SD1.5 only.{longer}"
    if settings.rank != COMMON_RANK:
        ranks = f"which has rank {COMMON_RANK}; this training has rank {settings.rank}"
        return f"The recipe starts from {Start.FACE_COMMON.value}, {ranks}.{longer}"
    if settings.targets is not Targets.ATTENTION:
        return f"The recipe starts from {Start.FACE_COMMON.value}, which has attention layers alone; this training has others.{longer}"
    how = f"python run.py models get {Start.FACE_COMMON.value}"
    return f"The recipe starts from {Start.FACE_COMMON.value}, which is not here: expect less likeness.{longer} Get it with: {how}"


def face_common(file_names: dict[str, str], prefix: str) -> dict[str, Layer]:
    """The published start by module name; `file_names` is the host's table by `prefix` + module.

    Raises MissingWeights without the file, BadInput when the model is not SD1.5."""
    name = Start.FACE_COMMON.value
    file = weights.find(Start.FACE_COMMON.value)
    by_file_name = {theirs: ours.removeprefix(prefix) for ours, theirs in file_names.items()}
    layers = lora_files.layers(lora_files.normalise(named(weights.tensors(file), list(by_file_name))))
    unknown = [layer for layer in layers if layer not in by_file_name]
    if unknown:
        raise BadInput(
            f"{name} belongs to SD1.5; this model has no layer for {len(unknown)} of its {len(layers)}, such as {unknown[0]}. "
            "Train on an SD1.5 model or set 'start' to Random."
        )
    return {by_file_name[layer]: value for layer, value in layers.items()}


def named(tensors: dict[str, torch.Tensor], file_names: list[str]) -> dict[str, torch.Tensor]:
    """Tensors of a container that numbers its layers, by the names of the layers; others as they are."""
    if not any(_NUMBERED.match(key) for key in tensors):
        return tensors
    stems = sorted({name[: -len("_to_q")] for name in file_names if re.search(r"_attn\d_to_q$", name)}, key=_place)
    places = {key: _NUMBERED.match(key) for key in tensors}
    if max(int(place[1]) for place in places.values() if place) >= len(stems):
        raise BadInput(f"The starting weights have more attention layers than the {len(stems)} of this model. Set 'start' to Random.")
    return {_renamed(key, places[key], stems): value for key, value in tensors.items()}


def _renamed(key: str, place: re.Match | None, stems: list[str]) -> str:
    if place is None:
        return key
    projection, half = key[place.end() :].split("_lora.")
    projection = "to_out_0" if projection == "to_out" else projection
    return f"{stems[int(place[1])]}_{projection}.lora_{half}"


def _place(stem: str) -> tuple:
    side = stem.removeprefix("lora_unet_").split("_")[0]
    return _SIDES[side], [int(number) for number in re.findall(r"\d+", stem)]
