"""Presets: the published recipes, and Fast, Balanced and Best for each family of models.

FaceChain's are upstream's. Of the others none was measured here, since no published model was at hand: on a GPU only steps were timed,
with random weights. Each is chosen as the family's source and the level's reason say."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...errors import BadInput
from ...host.families import BY_CLASS, Family
from .settings import COMMON_RANK, Augmentation, Average, Offload, Optimiser, Precision, Start, Targets, TrainSettings, Weighting


@dataclass(frozen=True)
class Preset:
    """A recipe. Optimiser steps for each photo at batch size 1, and without the common face where the recipe starts from it and that is not
    here; within `limits`, the lowest and highest number in all."""

    steps_per_photo: int
    settings: TrainSettings
    steps_without_start: int = 0
    limits: tuple[int, int] = (1, 1_000_000)
    remark: str = ""


@dataclass(frozen=True, kw_only=True)
class Level:
    """What is multiplied with a family's own numbers. steps_per_photo, limits: as for a preset. reason: why these."""

    steps_per_photo: int
    limits: tuple[int, int]
    learning_rate: float = 1.0
    rank: float = 1.0
    targets: Targets = Targets.ATTENTION
    average: Average = Average.LAST
    reason: str

    def preset(self, name: str, family: Family) -> Preset:
        rank = max(1, round(self.rank * family.rank))
        settings = TrainSettings(
            steps=0, learning_rate=self.learning_rate * family.learning_rate, rank=rank, alpha=float(rank), schedule="cosine",
            optimiser=Optimiser.ADAMW, augmentation=Augmentation.FACE_CROP, targets=self.targets, average=self.average,
        )  # fmt: skip
        numbers = f"learning rate {settings.learning_rate:g} and rank {rank} ({family.source})"
        remark = f"{name} for {family.title}: {numbers}; {self.reason}. Not measured here."
        return Preset(self.steps_per_photo, settings, limits=self.limits, remark=remark)


PRESETS = {
    # spec of FaceChain v2/v3: 200 epochs at batch 1, rank 4, scale 1 because its alpha is ignored, no mixed precision
    "FaceChain": Preset(
        200,
        TrainSettings(
            steps=0, learning_rate=1.5e-4, rank=4, alpha=4.0, schedule="cosine", optimiser=Optimiser.ADAMW,
            augmentation=Augmentation.FACE_CROP, start=Start.FACE_COMMON, precision=Precision.FP32,
        ),
        # not upstream's, which always has the start; chosen, not measured
        steps_without_start=300,
    ),
    # the paper's recipe for style LoRAs
    "FaceChain style": Preset(
        20,
        TrainSettings(
            steps=0, learning_rate=1e-4, rank=32, alpha=32.0, schedule="cosine_with_restarts", optimiser=Optimiser.ADAMW_8BIT,
            augmentation=Augmentation.RANDOM, cycles=3,
        ),
    ),
}  # fmt: skip
# Steps: AI Toolkit's examples take 2000 and call 500 to 4000 a good range; FaceChain takes 200 a photo. The learning rate falls as a
# cosine, as FaceChain's, since the judge looks most where it is low.
LEVELS = {
    "Fast": Level(
        steps_per_photo=60, limits=(500, 1200), learning_rate=2.0, rank=0.5,
        reason="a third of FaceChain's steps at twice the usual learning rate and half the usual rank",
    ),
    "Balanced": Level(steps_per_photo=120, limits=(1000, 2500), reason="the usual learning rate and rank, about the usual number of steps"),
    "Best": Level(
        steps_per_photo=200, limits=(1500, 4000), rank=2.0, targets=Targets.ATTENTION_AND_MLP, average=Average.EMA,
        reason="FaceChain's steps, twice the usual rank, feed-forward layers as well, and a moving average of the weights",
    ),
}  # fmt: skip
NAMES = (*PRESETS, *LEVELS)
SD15 = BY_CLASS["BaseModel"]


def of(name: str, family: Family) -> Preset:
    """The preset of this name for models of a family."""
    if name in LEVELS:
        return LEVELS[name].preset(name, family)
    preset = PRESETS[name]
    if preset.settings.precision is Precision.AUTO or family is SD15:
        return preset
    told = (
        f"{name} for {family.title}: upstream trains SD 1.5 alone, in {preset.settings.precision.value}. Other models are larger: with "
        "precision Auto they compute in bf16 where the GPU is good at it, which takes half the memory."
    )
    return replace(preset, settings=replace(preset.settings, precision=Precision.AUTO), remark=told)


def from_preset(name: str, photos: int, changes: dict, has_common_start: bool = False, family: Family = SD15) -> TrainSettings:
    """The settings of a preset for a number of photos and a family of models, with `changes` where a value is not None. Precision Auto is
    the preset's.

    has_common_start: whether the file of the common face is here and fits the model; a preset that begins with it trains longer without."""
    preset = of(name, family)
    base = replace(preset.settings, resolution=family.resolution, guidance=family.guidance)
    changes = {key: value for key, value in changes.items() if value is not None and value is not Precision.AUTO}
    wants_start = preset.settings.start is Start.FACE_COMMON and changes.get("start", Start.PRESET) is Start.PRESET
    asked = replace(base, **{key: changes[key] for key in ("rank", "targets") if key in changes})
    fits = has_common_start and asked.rank == COMMON_RANK and asked.targets is Targets.ATTENTION
    if changes.get("start", Start.PRESET) is Start.PRESET:
        changes["start"] = Start.FACE_COMMON if wants_start and fits else Start.RANDOM
    steps_per_photo = preset.steps_without_start if wants_start and not fits else preset.steps_per_photo
    if "rank" in changes and "alpha" not in changes:
        changes["alpha"] = float(changes["rank"])
    if changes.get("optimiser") is Optimiser.PRODIGY and "learning_rate" not in changes:
        changes["learning_rate"] = 1.0
    settings = replace(base, **changes)
    if not settings.steps:
        per_step = settings.batch_size * settings.gradient_accumulation
        wanted = min(max(steps_per_photo * photos, preset.limits[0]), preset.limits[1])
        settings = replace(settings, steps=max(1, wanted // per_step))
    _check(settings)
    return settings


def _check(settings: TrainSettings) -> None:
    if settings.resolution % 8:
        raise BadInput(f"The resolution is {settings.resolution}; it must be a multiple of 8. Use for example 512.")
    if settings.start is Start.FACE_COMMON and settings.rank != COMMON_RANK:
        raise BadInput(f"{Start.FACE_COMMON.value} has rank 4 and the setting is rank {settings.rank}. Set rank to 4 or start from Random.")
    if settings.start is Start.FACE_COMMON and settings.targets is not Targets.ATTENTION:
        raise BadInput(
            f"{Start.FACE_COMMON.value} has attention layers alone. Set targets to {Targets.ATTENTION.value} or start from Random."
        )
    if settings.min_snr_gamma and settings.weighting is not Weighting.EVEN:
        raise BadInput(
            f"Both min_snr_gamma and weighting ({settings.weighting.value}) weigh the noise levels. "
            "Set min_snr_gamma to 0 or weighting to Even."
        )
    if settings.optimiser is Optimiser.PRODIGY and settings.text_encoder_learning_rate:
        raise BadInput("Prodigy finds one learning rate for all. Set text_encoder_learning_rate to 0, or choose another optimiser.")
    if settings.dora and settings.offload is Offload.ON:
        raise BadInput(
            "DoRA computes with the weights of the model at every step, so they cannot be offloaded. Switch offload or dora off."
        )
    if settings.warmup_steps >= settings.steps:
        raise BadInput(f"{settings.warmup_steps} warm-up steps leave none of {settings.steps} steps to train. Use fewer.")
