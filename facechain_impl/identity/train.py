"""From photos and captions to a person with a LoRA: the whole training on the host's own model objects."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from dataclasses import dataclass, field, replace

import torch

from .. import __version__
from ..errors import BadInput, FaceChainError
from ..host import live, lora, models
from ..host.progress import Progress, check_interrupt
from ..types import Person, Report
from ..weights.files import model_stand_ins
from . import persons
from .persons import IfExists
from .train_adapters import Adapters, target_modules, tensors_for_file
from .train_checkpoint import checkpointed
from .train_data import LiveCaptions, TrainingSet, encode_captions, encode_photos
from .train_loop import Trainer
from .train_previews import Preview
from .train_settings import IfState, Start, TrainSettings
from .train_start import face_common
from .train_state import StateStore, require_space, run_hash

# adapters, two moments and the gradient in float32; the state is written beside the old one
_STATE_COPIES = 8


@dataclass
class TrainRequest:
    """One order to train. photos: [H, W, 3] in 0..1, one caption each."""

    model: object
    clip: object
    vae: object
    photos: list[torch.Tensor]
    captions: list[str]
    name: str
    trigger: str
    settings: TrainSettings
    if_state: IfState = IfState.RESUME
    if_person: IfExists = IfExists.KEEP_BOTH
    preview: Preview | None = None
    preset: str = ""


@dataclass
class TrainResult:
    """What a training ends with. losses: one per optimiser step."""

    person: Person
    losses: list[float]
    report: Report


@dataclass
class _Base:
    """What the model is known by."""

    name: str
    digest: str
    identity: list[str] = field(default_factory=list)
    stand_ins: tuple[str, ...] = ()


def train_face_lora(request: TrainRequest) -> TrainResult:
    """Train, store the person, and report. The same order given again is taken up where it stopped, or found finished.

    Raises BadInput for orders that cannot be trained, FaceChainError when the training itself fails; an interrupt passes through
    after the state was saved."""
    _check(request)
    base = _base(request)
    run = run_hash(request.photos, request.captions, request.settings, base.identity)
    store = StateStore(run)
    if request.if_state is IfState.START_OVER:
        store.discard()
    elif finished := _finished(request.name, run):
        return finished
    persons.free_name(request.name, request.if_person)
    result = _train(request, base, run, store)
    store.discard()
    return result


def _check(request: TrainRequest) -> None:
    persons.check_name(request.name)
    if not request.photos:
        raise BadInput("No photo arrived to train on. Connect the crops of FaceAlign and look at its report for the reasons.")
    if len(request.captions) != len(request.photos):
        raise BadInput(
            f"There are {len(request.photos)} photos and {len(request.captions)} captions; each photo needs its own. "
            "Connect both from nodes that keep the order, such as FaceAlign and Tagger."
        )


def _base(request: TrainRequest) -> _Base:
    path = models.model_file(request.model)
    digest = models.file_hash(path) if path else models.layout_hash(request.model.model)
    patchers = (request.model, request.clip.patcher, request.vae.patcher)
    identity = [digest, *(models.weights_digest(patcher) for patcher in patchers)]
    return _Base(path.name if path else "unknown", digest, identity, model_stand_ins(path))


def _finished(name: str, run: str) -> TrainResult | None:
    """The person whom exactly this training made before, under the name asked for or a numbered one."""
    ours = re.compile(re.escape(name.strip()) + r"(-\d+)?")
    for stored in persons.names():
        report = persons.card(stored).get("report", {})
        if ours.fullmatch(stored) and report.get("run") == run:
            note = "This training had finished before: nothing was trained. Set 'if_state_exists' to Start over to train again."
            return TrainResult(persons.load(stored), report["losses"], Report(f"Training of {stored}", notes=[note]))
    return None


def _train(request: TrainRequest, base: _Base, run: str, store: StateStore) -> TrainResult:
    settings = request.settings
    dtype = models.compute_dtype(request.model, settings.precision.value)
    names = lora.file_names(request.model)
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(models.training_model(request.model, dtype))
        clip = stack.enter_context(models.training_clip(request.clip)) if settings.train_text_encoder else request.clip
        data = _training_set(model, clip, request)
        adapters = _adapters(model, clip, settings)
        for group in adapters:
            stack.callback(group.remove)
        stand_ins = base.stand_ins + _start(adapters[0], names, settings)
        stack.enter_context(checkpointed(model.module, settings.gradient_checkpointing))
        model.load()
        _require_space(store, adapters)
        trainer = Trainer(model, adapters, data, settings, dtype)
        notes = _run(trainer, store, replace(request, clip=clip), model)
        layers = [group.layers() for group in adapters]
    tensors = tensors_for_file(layers[0], names, lora.MODEL_PREFIX)
    if settings.train_text_encoder:
        tensors |= tensors_for_file(layers[1], lora.text_file_names(request.clip))
    return _store(request, base, run, trainer, tensors, Report("", notes=notes, stand_ins=stand_ins))


def _training_set(model: models.TrainingModel, clip, request: TrainRequest) -> TrainingSet:
    with torch.no_grad():
        photos = [photo.clone() for photo in request.photos]
        latents = encode_photos(model, request.vae, photos, request.settings)
        captions = [*request.captions, ""]
        if request.settings.train_text_encoder:
            return TrainingSet(latents, LiveCaptions(model, clip, captions, latents))
        return TrainingSet(latents, encode_captions(model, clip, captions, latents))


def _adapters(model: models.TrainingModel, clip, settings: TrainSettings) -> list[Adapters]:
    """Adapters on the diffusion model and, where it is trained, on the text encoder."""
    modules = [model.module]
    if settings.train_text_encoder:
        modules.append(clip.cond_stage_model)
        model.companions.append(clip.patcher)
    names = [target_modules(module, settings.targets) for module in modules]
    shape = (settings.rank, settings.alpha, settings.dropout)
    return [Adapters(module, chosen, *shape, settings.seed + index) for index, (module, chosen) in enumerate(zip(modules, names))]


def _start(adapters: Adapters, names: dict[str, str], settings: TrainSettings) -> tuple[str, ...]:
    """Set the first weights as the settings say; returns the stand-ins that were used for it."""
    if settings.start is not Start.FACE_COMMON:
        return ()
    layers, stand_ins = face_common(names, lora.MODEL_PREFIX)
    adapters.load(layers)
    return stand_ins


def _require_space(store: StateStore, adapters: list[Adapters]) -> None:
    size = sum(parameter.nbytes for group in adapters for parameter in group.parameters())
    require_space(store.folder, _STATE_COPIES * size)
    require_space(persons.folder_of("any"), 2 * size)


def _run(trainer: Trainer, store: StateStore, request: TrainRequest, model: models.TrainingModel) -> list[str]:
    """All steps that are left; returns what there is to say about them. Whatever stops them, the state is saved first."""
    notes = [trainer.note] if trainer.note else []
    if (state := store.load()) is not None:
        trainer.restore(state)
        notes.append(f"Resumed after step {trainer.steps_done} of {request.settings.steps}.")
    progress = Progress(request.settings.steps)
    progress.step(count=trainer.steps_done)
    clock = _Clock(trainer)
    done = False
    try:
        with live.finishable():
            while trainer.steps_done < request.settings.steps and not live.finish_requested():
                _step(trainer, store, request, model, progress, clock, notes)
        done = True
    finally:
        if not done and trainer.consistent and trainer.steps_done:
            _save_state(trainer, store, notes)
    if trainer.steps_done < request.settings.steps:
        notes.append(f"Finished early, after step {trainer.steps_done} of {request.settings.steps}, as asked.")
    return notes


def _step(trainer, store, request, model, progress, clock, notes) -> None:
    check_interrupt()
    loss = trainer.step()
    picture = request.preview.at(trainer.steps_done, model, request.clip, request.vae) if request.preview else None
    if trainer.steps_done % request.settings.state_every == 0:
        _save_state(trainer, store, notes)
    live.say(clock.line(trainer, loss))
    progress.step(preview=picture)


def _save_state(trainer: Trainer, store: StateStore, notes: list[str]) -> None:
    """A state that cannot be saved does not end a training that otherwise goes well."""
    try:
        store.save(trainer.state())
    except FaceChainError as error:
        if str(error) not in notes:
            notes.append(str(error))


class _Clock:
    """Tells the user where a training is and how long it will take."""

    def __init__(self, trainer: Trainer):
        self._start, self._first = time.monotonic(), trainer.steps_done

    def line(self, trainer: Trainer, loss: float) -> str:
        total = trainer.settings.steps
        pace = (time.monotonic() - self._start) / (trainer.steps_done - self._first)
        left = pace * (total - trainer.steps_done)
        remaining = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
        return f"step {trainer.steps_done}/{total}  loss {loss:.4f}  lr {trainer.learning_rate:.2e}  {remaining} left"


def _store(request: TrainRequest, base: _Base, run: str, trainer: Trainer, tensors: dict, said: Report) -> TrainResult:
    trigger = request.trigger or common_trigger(request.captions)
    about = _about(request, base, run, trainer)
    person = Person(request.name, tensors, trigger, template=request.photos[0].clone(), report=about | {"losses": trainer.losses})
    person = persons.save(person, file_metadata(about | {"trigger": trigger}, request), request.if_person)
    notes = [f"The LoRA is {persons.lora_name(person.name)}.", *_remarks(request), *said.notes]
    report = Report(f"Training of {person.name}", notes=notes, stand_ins=said.stand_ins)
    report.add(person.name, "trained", steps=trainer.steps_done, first_loss=trainer.losses[0], last_loss=trainer.losses[-1])
    return TrainResult(person, trainer.losses, report)


def _remarks(request: TrainRequest) -> list[str]:
    """What a person should know about an order that was carried out nevertheless."""
    remarks = []
    if request.model.patches:
        remarks.append("This MODEL carries other LoRAs: the new one was trained on top of them and looks right only together with them.")
    if len(request.photos) == 1:
        remarks.append("There was one photo only: expect its pose, light and clothes in every portrait. Five to ten photos do better.")
    return remarks


def _about(request: TrainRequest, base: _Base, run: str, trainer: Trainer) -> dict:
    return {
        "run": run,
        "preset": request.preset,
        "base_model": base.name,
        "base_model_hash": base.digest,
        "base_model_patched": bool(request.model.patches),
        "photos": len(request.photos),
        "steps": trainer.steps_done,
        "settings": request.settings.described(),
        "captions_hash": captions_hash(request.captions),
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
        "ss_output_name": request.name,
        "ss_seed": str(request.settings.seed),
        "ss_steps": str(about["steps"]),
    }


def common_trigger(captions: list[str]) -> str:
    """The words that all captions begin with, cut at commas: a caption is the token, the trigger and what differs."""
    fields = [[part.strip() for part in caption.split(",")] for caption in captions]
    common = []
    for position in zip(*fields, strict=False):
        if len(set(position)) > 1:
            break
        common.append(position[0])
    return ", ".join(common[:2])
