"""What was trained before: the same training, finished, or one of fewer steps that this one lengthens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from ... import provenance
from ...geometry.pixels import to_bytes
from ...host import lora
from ...host.protocols import Model
from ...perception.recognition import cosine_similarity
from ...photos import study as photo_study
from ...types import Person, Report
from .. import persons
from ..lora import formats as lora_files
from ..lora import parts
from . import sheet
from .adapters import Adapters, Weights
from .judge import Look
from .order import Order, TrainRequest, TrainResult
from .result import listed
from .settings import IfState
from .state import StateStore, Unfinished, unfinished

# cosine; below rounding, which differs between devices
_SAME_EMBEDDING = 0.9999


def finished(request: TrainRequest, order: Order) -> TrainResult | None:
    """The person whom exactly this training made before, all steps of it, under the name asked for or a numbered one, with the step, the
    trigger and the photo that are wanted now."""
    policy = request.policy
    for stored, report in _made_before(policy.name):
        if report.get("run") == order.run and report["steps"] >= report["settings"]["steps"]:
            notes = ["This training was already finished: nothing was trained. Set 'if_state_exists' to Start over to train again."]
            notes += _describe_anew(stored, request.inputs.photos, order)
            averaged = report.get("averaged", [])
            if policy.use_step and (averaged or policy.use_step != report["used_step"]):
                persons.use_step(stored, policy.use_step)
                before = f"the mean of steps {listed(averaged)}" if averaged else f"that of step {report['used_step']}"
                notes.append(f"The LoRA is now that of step {policy.use_step}; before it was {before}.")
            person = persons.load(stored)
            provenance.inherit(*person.used)
            return TrainResult(person, list(report["losses"]), Report(f"Training of {stored}", notes=notes), _sheet(person))
    return None


def _sheet(person: Person) -> torch.Tensor | None:
    """The contact sheet of a stored person's training, with what is used now marked."""
    about = person.report
    looks = [Look(one["step"], tuple(one["scores"]), one["validation_loss"]) for one in about.get("looks", ())]
    used = next((look for look in looks if look.step == about["used_step"]), None)
    return sheet.drawn(looks, sheet.apart(persons.looks(person.name), looks), used, about.get("averaged", ()))


def _describe_anew(stored: str, photos: list[torch.Tensor], order: Order) -> list[str]:
    """Store what a training decides beside the weights, where it would be another now: another trigger was asked for, or other networks
    judge the photos. Notes about it."""
    photo, embedding, notes = photos[photo_study.best(photos, order.study)], order.study.embedding, []
    with provenance.recording():  # what it was made with until now
        person = persons.load(stored)
    if person.trigger != order.trigger:
        notes.append(f"The trigger is now {order.trigger!r}; before it was {person.trigger!r}.")
    if person.photo is None or not np.array_equal(to_bytes(person.photo), to_bytes(photo)):
        notes.append("Another photo stands for the person now: by the networks that are here it is the best.")
    if embedding is None:
        embedding = person.embedding
    elif person.embedding is None or cosine_similarity(person.embedding, embedding) < _SAME_EMBEDDING:
        notes.append("The person's embedding was computed anew: the recognition network (rts) is another than before.")
    if notes:
        opened = [one for one in provenance.current() if one.kind == "network"]
        kept = [one for one in person.used if one.kind != "network" or one.name not in {new.name for new in opened}]
        persons.describe(replace(person, trigger=order.trigger, photo=photo, embedding=embedding, used=(*kept, *opened)))
    return notes


def _made_before(name: str) -> Iterator[tuple[str, dict]]:
    """Persons of this or a numbered name, with what their training reported."""
    ours = re.compile(re.escape(name.strip()) + r"(-\d+)?")
    for stored in persons.names():
        if ours.fullmatch(stored):
            yield stored, persons.card(stored).get("report", {})


@dataclass(frozen=True)
class Shorter:
    """A training that did fewer steps and differs in their number and its looks alone. weights: of each group of adapters. told: for the
    report."""

    steps: int
    losses: list[float]
    weights: Weights
    told: str
    optimiser: dict | None = None
    average: dict | None = None


def shorter(request: TrainRequest, order: Order, adapters: list[Adapters], names: list[dict[str, str]]) -> Shorter | None:
    """The longest finished or stopped training that this one lengthens. names: file names of the layers of each group."""
    if request.policy.if_state is IfState.START_OVER:
        return None
    steps = request.settings.steps
    made = [
        (report["used_step"], _of_person(stored, report, names, request.inputs.model))
        for stored, report in _made_before(request.policy.name)
        if report.get("kind") == order.kind and report["steps"] < steps
    ]
    stopped = [
        (one.steps_done, _of_state(one, adapters))
        for one in unfinished()
        if one.kind == order.kind and one.steps != steps and one.steps_done < steps
    ]
    found = max([*made, *stopped], key=lambda one: one[0], default=None)
    return found[1]() if found else None


def discard_lengthened(order: Order, lengthened_at: int | None) -> None:
    """Delete the state of the stopped training that this one, now stored, went on from."""
    for one in unfinished():
        if one.kind == order.kind and one.run != order.run and one.steps_done == lengthened_at:
            StateStore(one.run).discard()


def _of_person(stored: str, report: dict, names: list[dict[str, str]], model: Model) -> Callable[[], Shorter]:
    def opened() -> Shorter:
        tensors = parts.joined(dict(persons.load(stored).lora), lora.parts(model))
        layers = lora_files.layers(lora_files.normalise(tensors))
        weights = [{module: layers[name] for module, name in group.items() if name in layers} for group in names]
        return Shorter(report["used_step"], report["losses"], weights, f"the finished training of {stored}")

    return opened


def _of_state(one: Unfinished, adapters: list[Adapters]) -> Callable[[], Shorter]:
    def opened() -> Shorter:
        state = StateStore(one.run).load() or {}
        weights = [group.as_layers(saved) for group, saved in zip(adapters, state["adapters"], strict=True)]
        return Shorter(
            one.steps_done, state["losses"], weights, f"the stopped training of {one.name}", state["optimiser"], state.get("average")
        )

    return opened
