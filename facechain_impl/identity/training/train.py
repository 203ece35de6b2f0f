"""From photos and captions to a person with a LoRA: the whole training on the host's own model objects."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from ... import __version__, provenance
from ...errors import BadInput, FaceChainError
from ...geometry.pixels import check_all
from ...host import live, lora, models
from ...host.progress import Progress, check_interrupt
from ...host.protocols import Clip, Model, Vae
from ...photos import study as photo_study
from ...photos.study import Study
from ...picture_names import nth, numbered
from ...types import Faces, Person, Report, Status
from .. import persons
from ..captions import common_trigger
from ..names import check_name
from ..persons import IfExists
from .adapters import Adapters, target_modules, tensors_for_file
from .checkpointing import checkpointed
from .dataset import LiveCaptions, Told, TrainingSet, encode_captions, encode_photos
from .likeness import LikenessPlan, LikenessWatch, held_out
from .previews import Preview
from .settings import Augmentation, IfState, Start, TrainSettings
from .start import face_common
from .state import StateStore, require_space, run_hash
from .trainer import Trainer

T = TypeVar("T")
# adapters, two moments and the gradient in float32; the state is written beside the old one
_STATE_COPIES = 8


@dataclass(frozen=True, kw_only=True)
class TrainInputs:
    """The training material. photos: [H, W, 3] in 0..1, one caption each. faces: what is known about their faces. class_photos: pictures
    of other people that the model must not forget, all with `class_caption`. model, clip, vae: from the host's loaders."""

    model: Model
    clip: Clip
    vae: Vae
    photos: list[torch.Tensor]
    captions: list[str]
    faces: Faces | None = None
    class_photos: Sequence[torch.Tensor] = ()
    class_caption: str = ""


@dataclass(frozen=True, kw_only=True)
class TrainPolicy:
    """The name of the result, what happens to existing files, and what is shown meanwhile.

    trigger: the person's words in a prompt; empty for those that all captions begin with."""

    name: str
    trigger: str = ""
    preset: str = ""
    if_state: IfState = IfState.RESUME
    if_person: IfExists = IfExists.KEEP_BOTH
    preview: Preview | None = None
    likeness: LikenessPlan = LikenessPlan(0)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """One order to train."""

    inputs: TrainInputs
    settings: TrainSettings
    policy: TrainPolicy


@dataclass
class TrainResult:
    """The result of a training. losses: one per optimiser step."""

    person: Person
    losses: list[float]
    report: Report


@dataclass(frozen=True)
class _Base:
    """What the model is known by."""

    name: str
    digest: str
    identity: list[str]


def train_face_lora(request: TrainRequest) -> TrainResult:
    """Train, store the person, and report. The same order given again resumes where it stopped, or is found finished.

    Raises BadInput for orders that cannot be trained, FaceChainError when the training itself fails; an interrupt passes through
    after the state was saved."""
    inputs, policy = request.inputs, request.policy
    _check(inputs, policy.name)
    found = photo_study.study(inputs.photos, inputs.faces)
    base = _base(inputs)
    plan = policy.likeness.possible()
    held = held_out(len(inputs.photos), plan, request.settings.steps, found)
    run = _run_hash(request, base, plan, held)
    store = StateStore(run)
    if policy.if_state is IfState.START_OVER:
        store.discard()
    elif finished := _finished(policy.name, run):
        return finished
    persons.free_name(policy.name, policy.if_person)
    result = _train(request, _Order(base, run, store, found, plan, held))
    store.discard()
    return result


@dataclass(frozen=True)
class _Order:
    """What was found out about a request before training. likeness: the plan as far as this machine can follow it. held: photos held
    out for comparison."""

    base: _Base
    run: str
    store: StateStore
    study: Study
    likeness: LikenessPlan
    held: list[int]

    def trained(self, values: list[T]) -> list[T]:
        """Those of `values`, one for each photo, that belong to photos to train on."""
        return [value for index, value in enumerate(values) if index not in self.held]


def _check(inputs: TrainInputs, name: str) -> None:
    check_name(name)
    if not inputs.photos:
        raise BadInput("There is no photo to train on. Connect the crops of Face Align; its report gives the reasons.")
    if len(inputs.captions) != len(inputs.photos):
        raise BadInput(
            f"There are {len(inputs.photos)} photos and {len(inputs.captions)} captions; each photo needs its own. "
            "Connect both from nodes that keep the order, such as Face Align and Caption Crops (Tagger)."
        )
    check_all([*inputs.photos, *inputs.class_photos], [*numbered("photo", inputs.photos), *numbered("class photo", inputs.class_photos)])


def _run_hash(request: TrainRequest, base: _Base, plan: LikenessPlan, held: list[int]) -> str:
    inputs = request.inputs
    texts = [*inputs.captions, inputs.class_caption, repr(held), repr(plan)]
    return run_hash([*inputs.photos, *inputs.class_photos], texts, request.settings, base.identity)


def _base(inputs: TrainInputs) -> _Base:
    path = models.model_file(inputs.model)
    digest = models.file_hash(path) if path else models.layout_hash(inputs.model.model)
    patchers = (inputs.model, inputs.clip.patcher, inputs.vae.patcher)
    identity = [digest, *(models.weights_digest(patcher) for patcher in patchers)]
    return _Base(path.name if path else "unknown", digest, identity)


def _finished(name: str, run: str) -> TrainResult | None:
    """The person whom exactly this training made before, under the name asked for or a numbered one."""
    ours = re.compile(re.escape(name.strip()) + r"(-\d+)?")
    for stored in persons.names():
        report = persons.card(stored).get("report", {})
        if ours.fullmatch(stored) and report.get("run") == run:
            note = "This training was already finished: nothing was trained. Set 'if_state_exists' to Start over to train again."
            person = persons.load(stored)
            provenance.inherit(*person.used)
            return TrainResult(person, list(report["losses"]), Report(f"Training of {stored}", notes=[note]))
    return None


def _train(request: TrainRequest, order: _Order) -> TrainResult:
    settings, inputs = request.settings, request.inputs
    dtype = models.compute_dtype(inputs.model, settings.precision.value)
    names = lora.file_names(inputs.model)
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(models.training_model(inputs.model, dtype))
        clip = stack.enter_context(models.training_clip(inputs.clip)) if settings.train_text_encoder else inputs.clip
        inputs = replace(inputs, clip=clip)
        data, prior = _training_set(model, inputs, settings, order), _prior_set(model, inputs, settings)
        adapters = _adapters(model, clip, settings)
        for group in adapters:
            stack.callback(group.remove)
        _start(adapters[0], names, settings)
        stack.enter_context(checkpointed(model.module, settings.gradient_checkpointing))
        model.load()
        _require_space(order.store, adapters)
        trainer = Trainer(model, adapters, data, settings, dtype, prior)
        watch = _likeness(request, order)
        notes = _run(trainer, order.store, replace(request, inputs=inputs), model, watch)
        layers = watch.best if watch is not None and watch.best else [group.layers() for group in adapters]
    tensors = tensors_for_file(layers[0], names, lora.MODEL_PREFIX)
    if settings.train_text_encoder:
        tensors |= tensors_for_file(layers[1], lora.text_file_names(request.inputs.clip))
    return _store(request, order, trainer, tensors, [*notes, *(watch.notes() if watch else [])], watch)


def _training_set(model: models.TrainingModel, inputs: TrainInputs, settings: TrainSettings, order: _Order) -> TrainingSet:
    masks = _head_masks(order) if settings.masked_loss else None
    photos, captions = (order.trained(values) for values in (inputs.photos, inputs.captions))
    latents, weights = _encoded(model, inputs, photos, settings, masks)
    return TrainingSet(latents, _conditions(model, inputs.clip, [*captions, ""], latents, settings), weights)


def _prior_set(model: models.TrainingModel, inputs: TrainInputs, settings: TrainSettings) -> TrainingSet | None:
    """Pictures of other people with the caption of their class, so that the model does not forget how they look."""
    if not inputs.class_photos:
        return None
    settings = replace(settings, augmentation=Augmentation.RANDOM, variants=1)
    latents, _ = _encoded(model, inputs, inputs.class_photos, settings, None)
    captions = [inputs.class_caption] * len(inputs.class_photos)
    return TrainingSet(latents, _conditions(model, inputs.clip, [*captions, ""], latents, settings), salt=100)


def _encoded(
    model: models.TrainingModel,
    inputs: TrainInputs,
    photos: Sequence[torch.Tensor],
    settings: TrainSettings,
    masks: list[torch.Tensor] | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    with torch.no_grad():
        return encode_photos(model, inputs.vae, [photo.clone() for photo in photos], settings, masks)


def _conditions(model: models.TrainingModel, clip: Clip, captions: list[str], latents: torch.Tensor, settings: TrainSettings) -> Told:
    if settings.train_text_encoder:
        return LiveCaptions(model, clip, captions, latents)
    with torch.no_grad():
        return encode_captions(model, clip, captions, latents)


def _head_masks(order: _Order) -> list[torch.Tensor]:
    """Head masks [H, W] of the photos to train on, from what Face Align found."""
    masks = []
    for index, one in enumerate(order.study.facts):
        mask = one.face.masks.get("head") if one.face is not None else None
        if mask is None:
            raise BadInput(
                f"masked_loss needs a head mask for every photo; {nth('photo', index)} has none. Connect the faces of Face Align with "
                "white_background on, or set masked_loss to 0."
            )
        masks.append(torch.from_numpy(mask.copy()))
    return order.trained(masks)


def _likeness(request: TrainRequest, order: _Order) -> LikenessWatch | None:
    """What chooses the best step, or None where likeness is not wanted or cannot be measured."""
    plan, settings = order.likeness, request.settings
    references = [order.study.embeddings[index] for index in order.held] or list(order.study.embeddings.values())
    if not references or not plan.every or settings.steps < plan.every:
        return None
    preview = request.policy.preview or Preview(plan.every, request.inputs.captions[0], settings.seed, settings.resolution)
    return LikenessWatch(plan, references, preview, not order.held)


def _adapters(model: models.TrainingModel, clip: Clip, settings: TrainSettings) -> list[Adapters]:
    """Adapters on the diffusion model and, where it is trained, on the text encoder."""
    modules = [model.module]
    if settings.train_text_encoder:
        modules.append(clip.cond_stage_model)
        model.companions.append(clip.patcher)
    names = [target_modules(module, settings.targets) for module in modules]
    shape = (settings.rank, settings.alpha, settings.dropout)
    return [Adapters(module, chosen, *shape, settings.seed + index) for index, (module, chosen) in enumerate(zip(modules, names))]


def _start(adapters: Adapters, names: dict[str, str], settings: TrainSettings) -> None:
    """Set the starting weights as the settings say."""
    if settings.start is Start.FACE_COMMON:
        adapters.load(face_common(names, lora.MODEL_PREFIX))


def _require_space(store: StateStore, adapters: list[Adapters]) -> None:
    size = sum(parameter.nbytes for group in adapters for parameter in group.parameters())
    require_space(store.folder, _STATE_COPIES * size)
    require_space(persons.folder_of("any"), 2 * size)


def _run(trainer: Trainer, store: StateStore, request: TrainRequest, model: models.TrainingModel, watch: LikenessWatch | None) -> list[str]:
    """Run the remaining steps; returns notes about them. Whatever stops them, the state is saved first."""
    notes = [trainer.note] if trainer.note else []
    if (state := store.load()) is not None:
        trainer.restore(state)
        if watch is not None:
            watch.restore(state["likeness"])
        notes.append(f"Resumed after step {trainer.steps_done} of {request.settings.steps}.")
    progress = Progress(request.settings.steps)
    progress.step(count=trainer.steps_done)
    clock = _Clock(trainer)
    done, reason = False, _end(trainer, watch)
    try:
        with live.finishable():
            while reason is None:
                _step(trainer, store, request, model, watch, progress, clock, notes)
                reason = _end(trainer, watch)
        done = True
    finally:
        if not done and trainer.consistent and trainer.steps_done:
            _save_state(trainer, watch, store, notes)
    if reason:
        notes.append(f"Finished early, after step {trainer.steps_done} of {request.settings.steps}: {reason}.")
    return notes


def _end(trainer: Trainer, watch: LikenessWatch | None) -> str | None:
    """Why the training ends here: empty when all steps are done, None when it continues."""
    if trainer.steps_done >= trainer.settings.steps:
        return ""
    if live.finish_requested():
        return "on request"
    return "the likeness stopped rising" if watch is not None and watch.is_done else None


def _step(
    trainer: Trainer,
    store: StateStore,
    request: TrainRequest,
    model: models.TrainingModel,
    watch: LikenessWatch | None,
    progress: Progress,
    clock: _Clock,
    notes: list[str],
) -> None:
    check_interrupt()
    loss = trainer.step()
    clip, vae, preview = request.inputs.clip, request.inputs.vae, request.policy.preview
    picture = preview.at(trainer.steps_done, model, clip, vae) if preview else None
    if watch is not None:
        watch.at(trainer.steps_done, trainer.adapters, model, clip, vae)
    if trainer.steps_done % request.settings.state_every == 0:
        _save_state(trainer, watch, store, notes)
    live.say(clock.line(trainer, loss, watch))
    progress.step(preview=picture)


def _save_state(trainer: Trainer, watch: LikenessWatch | None, store: StateStore, notes: list[str]) -> None:
    """A state that cannot be saved does not end the training."""
    try:
        store.save(trainer.state() | {"likeness": watch.state() if watch else None})
    except FaceChainError as error:
        if str(error) not in notes:
            notes.append(str(error))


class _Clock:
    """Tells the user where a training is and how long it will take."""

    def __init__(self, trainer: Trainer):
        self._start, self._first = time.monotonic(), trainer.steps_done

    def line(self, trainer: Trainer, loss: float, watch: LikenessWatch | None) -> str:
        total = trainer.settings.steps
        pace = (time.monotonic() - self._start) / (trainer.steps_done - self._first)
        left = pace * (total - trainer.steps_done)
        remaining = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
        best = watch.best_likeness if watch is not None else None
        likeness = "" if best is None else f"  best likeness {best:.3f}"
        return f"step {trainer.steps_done}/{total}  loss {loss:.4f}  lr {trainer.learning_rate:.2e}{likeness}  {remaining} left"


def _store(
    request: TrainRequest, order: _Order, trainer: Trainer, tensors: dict[str, torch.Tensor], notes: list[str], watch: LikenessWatch | None
) -> TrainResult:
    inputs, policy = request.inputs, request.policy
    trigger = policy.trigger or common_trigger(inputs.captions)
    about = _about(request, order, trainer, watch)
    person = Person(policy.name, tensors, trigger, inputs.photos[0].clone(), order.study.embedding, about | {"losses": trainer.losses})
    person = persons.save(person, file_metadata(about | {"trigger": trigger}, request), policy.if_person)
    report = Report(
        f"Training of {person.name}", notes=[f"The LoRA is {persons.lora_name(person.name)}.", *_remarks(request, order), *notes]
    )
    report.add(person.name, Status.TRAINED, steps=trainer.steps_done, first_loss=trainer.losses[0], last_loss=trainer.losses[-1])
    photo_study.fill(report, order.study, numbered("photo", inputs.photos))
    return TrainResult(person, trainer.losses, report)


def _remarks(request: TrainRequest, order: _Order) -> list[str]:
    """Notes for the user about an order that was carried out."""
    inputs, remarks = request.inputs, []
    if order.likeness != request.policy.likeness and order.study.embeddings:
        remarks.append("Likeness was not measured and the last step was used: this OpenCV cannot run the built-in face detector.")
    if inputs.model.patches:
        remarks.append("This MODEL carries other LoRAs: the new one was trained on top of them and looks right only together with them.")
    if len(inputs.photos) == 1:
        remarks.append("There was only one photo: expect its pose, light and clothes in every portrait. Five to ten photos do better.")
    return remarks


def _about(request: TrainRequest, order: _Order, trainer: Trainer, watch: LikenessWatch | None) -> dict:
    return {
        "run": order.run,
        "preset": request.policy.preset,
        "base_model": order.base.name,
        "base_model_hash": order.base.digest,
        "likeness": watch.best_likeness if watch else None,
        "likeness_curve": watch.curve if watch else [],
        "likeness_on_training_photos": watch.on_training_photos if watch else None,
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
        "facechain": json.dumps(about),
        "ss_network_dim": str(request.settings.rank),
        "ss_network_alpha": str(request.settings.alpha),
        "ss_sd_model_name": about["base_model"],
        "ss_output_name": request.policy.name,
        "ss_seed": str(request.settings.seed),
        "ss_steps": str(about["steps"]),
    }
