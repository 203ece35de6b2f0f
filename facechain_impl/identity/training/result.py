"""What a training produces: the stored person with its LoRA file, and the report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ... import __version__
from ...host import lora
from ...photos import study as photo_study
from ...picture_names import numbered
from ...types import Person, Report, Status
from .. import persons
from ..lora import parts
from . import sheet
from .adapters import Weights, tensors_for_file
from .crops import bucket
from .judge import Look, noise
from .order import Order, TrainRequest, TrainResult
from .settings import Augmentation, Average, TrainSettings
from .state import unfinished
from .trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """weights: those to store, of the look `used` where there were looks. likeness: measured on portraits that no step was chosen by.
    kept: weights of looks by step. portraits: of looks, small, by step. averaged: steps of which the weights are the mean."""

    weights: Weights
    notes: list[str]
    looks: list[Look]
    used: Look | None = None
    likeness: float | None = None
    kept: Mapping[int, Weights] = field(default_factory=dict)
    portraits: Mapping[int, torch.Tensor] = field(default_factory=dict)
    averaged: tuple[int, ...] = ()


def lora_tensors(request: TrainRequest, weights: Weights, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """As a LoRA file has them."""
    inputs = request.inputs
    tensors = parts.split(tensors_for_file(weights[0], names, lora.MODEL_PREFIX), lora.parts(inputs.model))
    if request.settings.train_text_encoder:
        tensors |= tensors_for_file(weights[1], lora.text_file_names(inputs.clip))
    return tensors


def store(request: TrainRequest, order: Order, trainer: Trainer, names: dict[str, str], outcome: Outcome) -> TrainResult:
    inputs, policy = request.inputs, request.policy
    about = _about(request, order, trainer, outcome)
    photo, tensors = inputs.photos[photo_study.best(inputs.photos, order.study)].clone(), lora_tensors(request, outcome.weights, names)
    steps = {step: lora_tensors(request, kept, names) for step, kept in outcome.kept.items()}
    person = Person(policy.name, tensors, order.trigger, photo, order.study.embedding, about | {"losses": trainer.losses})
    header = file_metadata(about | {"trigger": order.trigger}, request)
    person = persons.save(person, header, policy.if_person, steps, sheet.joined(outcome.portraits))
    notes = [
        f"The LoRA is {persons.lora_name(person.name)}.",
        *_remarks(request, order),
        *outcome.notes,
        *_judgement(outcome),
        *_averaging(request.settings, outcome),
    ]
    report = Report(f"Training of {person.name}", notes=notes)
    report.add(person.name, Status.TRAINED, steps=trainer.steps_done, first_loss=trainer.losses[0], last_loss=trainer.losses[-1])
    photo_study.fill(report, order.study, numbered("photo", inputs.photos))
    for look in outcome.looks:
        status = Status.TRAINED if look is outcome.used or look.step in outcome.averaged else Status.LEFT_OUT
        report.add(f"after step {look.step}", status, likeness=look.score, validation_loss=look.loss)
    drawn = sheet.drawn(outcome.looks, outcome.portraits, outcome.used, outcome.averaged)
    return TrainResult(person, trainer.losses, report, drawn)


def _judgement(outcome: Outcome) -> list[str]:
    """Which step was used, and how alike its portraits are."""
    used, looks = outcome.used, outcome.looks
    if used is None or not any(look.scores for look in looks):
        return []
    if used.score is None:
        return ["The last step was used: there are no portraits of it to be compared with those of earlier steps."]
    last = looks[-1]
    if not any(any(look.scores) for look in looks):
        return ["No face was found in any sample portrait, so the last step was used."]
    if len(looks) == 1:
        said = "There was one look, after the last step: a training this short has only one."
    elif outcome.averaged:
        said = f"No earlier step was better by more than chance ({len(looks)} looks)."
    elif used is last:
        said = f"The last step was used: no earlier one was better by more than chance ({len(looks)} looks)."
    else:
        said = (
            f"Step {used.step} of {last.step} was used: its portraits have likeness {used.score:.3f}, those of the last step "
            f"{last.score or 0:.3f}, and chance explains {noise(looks):.3f}."
        )
    where = "" if len(looks) == 1 else ", measured on other portraits than those that the step was chosen by"
    return [said] if outcome.likeness is None else [said, f"Likeness {outcome.likeness:.3f}{where}."]


def _averaging(settings: TrainSettings, outcome: Outcome) -> list[str]:
    """Of which steps the weights are a mean."""
    if settings.average is Average.EMA:
        over = f"decay {settings.ema_decay:g}, about {1 / (1 - settings.ema_decay):.0f} steps"
        return [f"The weights are the moving average over the steps ({over}), also in the portraits and in the looks."]
    if outcome.averaged:
        return [f"The weights are the mean of those after steps {listed(outcome.averaged)}."]
    if settings.average is Average.MEAN and len(outcome.looks) == 1:
        return ["There was one look, so that its weights were used and no mean of several."]
    return []


def listed(steps: Sequence[int]) -> str:
    return " and ".join([", ".join(map(str, steps[:-1])), str(steps[-1])])


def _remarks(request: TrainRequest, order: Order) -> list[str]:
    """Notes for the user about an order that was carried out."""
    inputs = request.inputs
    remarks = [*request.policy.remarks, *filter(None, [order.blur]), *request.settings.without_effect()]
    if request.settings.augmentation is Augmentation.BUCKETS:
        found = Counter(bucket(photo.shape[1], photo.shape[0], request.settings.resolution) for photo in inputs.photos)
        told = ", ".join(f"{width}x{height} ({count})" for (width, height), count in found.items())
        remarks.append(f"Sizes of the training pictures, and of how many photos: {told}.")
    if request.policy.looks.count and order.scorer is None and order.study.embeddings:
        remarks.append("Likeness was not measured and the last step was used: this OpenCV cannot run the built-in face detector.")
    if others := [one for one in unfinished() if one.run != order.run]:
        told = "; ".join(one.text() for one in others)
        remarks.append(f"Trainings that were stopped and not finished: {told}. `python run.py trainings delete` deletes them.")
    if inputs.model.patches:
        remarks.append("This MODEL carries other LoRAs: the new one was trained on top of them and looks right only together with them.")
    if len(inputs.photos) == 1:
        remarks.append("There was only one photo: expect its pose, light and clothes in every portrait. Five to ten photos do better.")
    return remarks


def _about(request: TrainRequest, order: Order, trainer: Trainer, outcome: Outcome) -> dict:
    return {
        "run": order.run,
        "kind": order.kind,
        "lengthened_at": trainer.lengthened_at,
        "preset": request.policy.preset,
        "base_model": order.base.name,
        "base_model_hash": order.base.digest,
        "likeness": outcome.likeness,
        "looks": [{"step": look.step, "scores": list(look.scores), "validation_loss": look.loss} for look in outcome.looks],
        "averaged": list(outcome.averaged),
        "used_step": outcome.used.step if outcome.used else trainer.steps_done,
        "base_model_patched": bool(request.inputs.model.patches),
        "photos": len(request.inputs.photos),
        "steps": trainer.steps_done,
        "settings": request.settings.described(),
        "captions_hash": captions_hash(request.inputs.captions),
        "facechain_studio": __version__,
    }


def captions_hash(captions: list[str]) -> str:
    """A hash of all captions in order, which does not reveal them."""
    return hashlib.sha256("\n".join(captions).encode()).hexdigest()


def file_metadata(about: dict, request: TrainRequest) -> dict[str, str]:
    """The header of the LoRA file: ours as one JSON value, and kohya's names for what other tools look up there."""
    return {
        persons.HEADER: json.dumps(about),
        "ss_network_dim": str(request.settings.rank),
        "ss_network_alpha": str(request.settings.alpha),
        "ss_sd_model_name": about["base_model"],
        "ss_output_name": request.policy.name,
        "ss_seed": str(request.settings.seed),
        "ss_steps": str(about["steps"]),
    }
