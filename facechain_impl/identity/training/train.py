"""From photos and captions to a person with a LoRA: the whole training on the host's own model objects."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ... import __version__, provenance
from ...errors import BadInput, FaceChainError, MissingWeights
from ...geometry.pixels import check_all
from ...host import live, lora, models
from ...host.progress import Progress, check_interrupt
from ...host.protocols import Clip, Model, Vae
from ...perception import haar
from ...photos import study as photo_study
from ...photos.study import Study
from ...picture_names import nth, numbered
from ...types import Faces, Person, Report, Status, digest_of
from ...weights import load as weights
from .. import persons
from ..captions import common_trigger
from ..lora import formats as lora_files
from ..names import check_name
from ..persons import IfExists
from . import sheet as contact_sheet
from .adapters import Adapters, target_modules, tensors_for_file
from .dataset import LiveCaptions, Told, TrainingSet, encode_captions, encode_photos
from .judge import Look, noise, steps_of_looks
from .likeness import RtsScorer, Scorer, references
from .looks import LookPlan, Sitting, Watch, Weights
from .plan import Plan
from .plan import load as load_first
from .previews import Preview
from .settings import Augmentation, IfState, Start, TrainSettings
from .start import face_common
from .state import StateStore, Unfinished, decisive, require_space, run_hash, unfinished
from .trainer import Trainer

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

    trigger: the person's words in a prompt; empty for those that all captions begin with. use_step: a kept step to use instead of the
    chosen one, 0 for none. remarks: for the report."""

    name: str
    use_step: int = 0
    remarks: tuple[str, ...] = ()
    trigger: str = ""
    preset: str = ""
    if_state: IfState = IfState.RESUME
    if_person: IfExists = IfExists.KEEP_BOTH
    preview: Preview | None = None
    looks: LookPlan = LookPlan(0)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """One order to train."""

    inputs: TrainInputs
    settings: TrainSettings
    policy: TrainPolicy


@dataclass
class TrainResult:
    """The result of a training. losses: one per optimiser step. sheet: of its looks, [H, W, 3] in 0..1."""

    person: Person
    losses: list[float]
    report: Report
    sheet: torch.Tensor | None = None


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
    order = _ordered(request)
    if policy.if_state is IfState.START_OVER:
        order.store.discard()
    elif finished := _finished(policy, order.run):
        return finished
    persons.free_name(policy.name, policy.if_person)
    result = _train(request, order)
    order.store.discard()
    return result


@dataclass(frozen=True)
class _Order:
    """What was found out about a request before training. dtype: to compute in. run: its identity; kind: the same of all that differ in
    their number of steps alone. trigger: of the person. scorer: of sample portraits."""

    base: _Base
    dtype: torch.dtype
    run: str
    kind: str
    store: StateStore
    study: Study
    trigger: str
    masks: list[torch.Tensor] | None
    scorer: Scorer | None


def _ordered(request: TrainRequest) -> _Order:
    inputs, settings, policy = request.inputs, request.settings, request.policy
    found, base = photo_study.study(inputs.photos, inputs.faces), _base(inputs)
    dtype = models.compute_dtype(inputs.model, settings.precision.value)
    masks = _head_masks(found) if settings.masked_loss else None
    trigger = policy.trigger or common_trigger(inputs.captions)
    scorer = _scorer(policy.looks, found)
    facts: dict[str, Any] = {
        "captions": inputs.captions,
        "class caption": inputs.class_caption,
        "settings": decisive(settings, dtype),
        "models": base.identity,
        "masks": [digest_of(mask) for mask in masks or ()],
        "start": _content(Start.FACE_COMMON.value) if settings.start is Start.FACE_COMMON else "",
        "judge": [policy.looks.count, trigger, _content("rts") if isinstance(scorer, RtsScorer) else ""] if scorer else [],
    }
    pictures = [*inputs.photos, *inputs.class_photos]
    run, kind = run_hash(pictures, facts), run_hash(pictures, facts | {"settings": _without_length(facts["settings"])})
    return _Order(base, dtype, run, kind, StateStore(run), found, trigger, masks, scorer)


def _without_length(settings: dict) -> dict:
    return {key: value for key, value in settings.items() if key != "steps"}


def _content(name: str) -> str:
    """The sha256 of a published file that decides the result, empty without the file."""
    try:
        with provenance.recording():  # looking at it is no use of it
            file = weights.find(name)
    except MissingWeights:
        return ""
    return file.sha256 or models.file_hash(file.path)


def _scorer(plan: LookPlan, found: Study) -> Scorer | None:
    """What scores the portraits of looks: None where nobody looks, or where likeness cannot be measured."""
    if not plan.count or plan.scorer is not None:
        return plan.scorer
    given = references(found) if haar.can_run() else []
    return RtsScorer(given) if given else None


def _check(inputs: TrainInputs, name: str) -> None:
    check_name(name)
    if not inputs.photos:
        raise BadInput("There is no photo to train on. Connect the crops of Face Align; its report gives the reasons.")
    if len(inputs.captions) != len(inputs.photos):
        raise BadInput(
            f"There are {len(inputs.photos)} photos and {len(inputs.captions)} captions; each photo needs its own. "
            "Connect both from nodes that keep the order, such as Face Align and Caption Crops (Tagger)."
        )
    if inputs.model.model.concat_keys:
        raise BadInput(
            "This MODEL was made for inpainting or editing: beside the noise it expects a second picture, which training photos do not "
            "have. Train on the ordinary model of the same family; the LoRA works with the inpainting model as well."
        )
    check_all([*inputs.photos, *inputs.class_photos], [*numbered("photo", inputs.photos), *numbered("class photo", inputs.class_photos)])


def _base(inputs: TrainInputs) -> _Base:
    path = models.model_file(inputs.model)
    digest = models.file_hash(path) if path else models.layout_hash(inputs.model.model)
    patchers = (inputs.model, inputs.clip.patcher, inputs.vae.patcher)
    identity = [digest, *(models.weights_digest(patcher) for patcher in patchers)]
    return _Base(path.name if path else "unknown", digest, identity)


def _finished(policy: TrainPolicy, run: str) -> TrainResult | None:
    """The person whom exactly this training made before, all steps of it, under the name asked for or a numbered one, with the step that
    is wanted now."""
    for stored, report in _made_before(policy.name):
        if report.get("run") == run and report["steps"] >= report["settings"]["steps"]:
            notes = ["This training was already finished: nothing was trained. Set 'if_state_exists' to Start over to train again."]
            if policy.use_step and policy.use_step != report["used_step"]:
                persons.use_step(stored, policy.use_step)
                notes.append(f"The LoRA is now that of step {policy.use_step}; before it was that of step {report['used_step']}.")
            person = persons.load(stored)
            provenance.inherit(*person.used)
            return TrainResult(person, list(report["losses"]), Report(f"Training of {stored}", notes=notes))
    return None


def _made_before(name: str) -> Iterator[tuple[str, dict]]:
    """Persons of this or a numbered name, with what their training reported."""
    ours = re.compile(re.escape(name.strip()) + r"(-\d+)?")
    for stored in persons.names():
        if ours.fullmatch(stored):
            yield stored, persons.card(stored).get("report", {})


@dataclass(frozen=True)
class _Shorter:
    """A training that differs in its number of steps alone and did fewer. weights: of each group of adapters. told: for the report."""

    steps: int
    losses: list[float]
    weights: Weights
    told: str
    optimiser: dict | None = None


def _shorter(request: TrainRequest, order: _Order, adapters: list[Adapters], names: list[dict[str, str]]) -> _Shorter | None:
    """The longest finished or stopped training that this one lengthens. names: file names of the layers of each group."""
    if request.policy.if_state is IfState.START_OVER:
        return None
    steps = request.settings.steps
    made = [
        (report["used_step"], _of_person(stored, report, names))
        for stored, report in _made_before(request.policy.name)
        if report.get("kind") == order.kind and report["used_step"] < steps
    ]
    stopped = [
        (one.steps_done, _of_state(one, adapters))
        for one in unfinished()
        if one.kind == order.kind and one.run != order.run and one.steps_done < steps
    ]
    found = max([*made, *stopped], key=lambda one: one[0], default=None)
    return found[1]() if found else None


def _of_person(stored: str, report: dict, names: list[dict[str, str]]) -> Callable[[], _Shorter]:
    def opened() -> _Shorter:
        layers = lora_files.layers(lora_files.normalise(dict(persons.load(stored).lora)))
        weights = [{module: layers[name] for module, name in group.items() if name in layers} for group in names]
        return _Shorter(report["used_step"], report["losses"], weights, f"the finished training of {stored}")

    return opened


def _of_state(one: Unfinished, adapters: list[Adapters]) -> Callable[[], _Shorter]:
    def opened() -> _Shorter:
        state = StateStore(one.run).load() or {}
        weights = [group.as_layers(saved) for group, saved in zip(adapters, state["adapters"], strict=True)]
        return _Shorter(one.steps_done, state["losses"], weights, f"the stopped training of {one.name}", state["optimiser"])

    return opened


def _train(request: TrainRequest, order: _Order) -> TrainResult:
    settings, inputs = request.settings, request.inputs
    names = lora.file_names(inputs.model)
    groups = [{module.removeprefix(lora.MODEL_PREFIX): name for module, name in names.items()}]
    if settings.train_text_encoder:
        groups.append(lora.text_file_names(inputs.clip))  # before adapters are there, which rename its layers
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(models.training_model(inputs.model, order.dtype))
        clip = stack.enter_context(models.training_clip(inputs.clip)) if settings.train_text_encoder else inputs.clip
        inputs = replace(inputs, clip=clip)
        data, prior = _training_set(model, inputs, settings, order), _prior_set(model, inputs, settings)
        adapters = _adapters(model, clip, settings)
        for group in adapters:
            stack.callback(group.remove)
        stack.callback(model.give_back)
        _start(adapters[0], names, settings)
        _require_space(order.store, adapters)
        load_first(model, settings)
        trainer = Trainer(model, adapters, data, settings, order.dtype, prior)
        plan = Plan(trainer, model, stack)
        watch = _watch(replace(request, inputs=inputs), order, trainer, model)
        plan.notes += _resume(trainer, order, request, watch, groups)
        outcome = _run(trainer, order, replace(request, inputs=inputs), model, watch, plan)
    return _store(request, order, trainer, names, outcome)


def _tensors(request: TrainRequest, weights: Weights, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """As a LoRA file has them."""
    tensors = tensors_for_file(weights[0], names, lora.MODEL_PREFIX)
    if request.settings.train_text_encoder:
        tensors |= tensors_for_file(weights[1], lora.text_file_names(request.inputs.clip))
    return tensors


def _training_set(model: models.TrainingModel, inputs: TrainInputs, settings: TrainSettings, order: _Order) -> TrainingSet:
    latents, weights = _encoded(model, inputs, inputs.photos, settings, order.masks)
    return TrainingSet(latents, _conditions(model, inputs.clip, [*inputs.captions, ""], latents, settings), weights)


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


def _head_masks(found: Study) -> list[torch.Tensor]:
    """Head masks [H, W] of the photos, from what Face Align found."""
    masks = []
    for index, one in enumerate(found.facts):
        mask = one.face.masks.get("head") if one.face is not None else None
        if mask is None:
            raise BadInput(
                f"masked_loss needs a head mask for every photo; {nth('photo', index)} has none. Connect the faces of Face Align with "
                "white_background on, or set masked_loss to 0."
            )
        masks.append(torch.from_numpy(mask.copy()))
    return masks


def _watch(request: TrainRequest, order: _Order, trainer: Trainer, model: models.TrainingModel) -> Watch | None:
    """What looks at the training, or None where nobody wants looks."""
    inputs, settings, count = request.inputs, request.settings, request.policy.looks.count
    if not count:
        return None
    sitting = Sitting(model, inputs.clip, inputs.vae, order.trigger, Preview(0, "", 0, settings.resolution))
    keep = request.policy.looks.keep
    return Watch(steps_of_looks(settings.steps, count), order.scorer, sitting, trainer.validation_loss, keep=keep)


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


@dataclass(frozen=True)
class _Outcome:
    """weights: those to store, of the look `used` where there were looks. likeness: measured on portraits that no step was chosen by.
    kept: weights of looks by step. sheet: [H, W, 3]."""

    weights: Weights
    notes: list[str]
    looks: list[Look]
    used: Look | None = None
    likeness: float | None = None
    kept: Mapping[int, Weights] = field(default_factory=dict)
    sheet: torch.Tensor | None = None


def _resume(trainer: Trainer, order: _Order, request: TrainRequest, watch: Watch | None, names: list[dict[str, str]]) -> list[str]:
    """Go on where this training, or a shorter one, stopped. Notes about it. names: file names of the layers of each group of adapters."""
    notes = [trainer.note] if trainer.note else []
    if (state := order.store.load()) is not None:
        trainer.restore(state)
        if watch is not None and state["looks"]:
            watch.restore(state["looks"])
        return [*notes, f"Resumed after step {trainer.steps_done} of {request.settings.steps}."]
    if (shorter := _shorter(request, order, trainer.adapters, names)) is not None:
        trainer.lengthen(shorter.steps, shorter.losses, shorter.weights, shorter.optimiser)
        return [*notes, f"Lengthened {shorter.told}: goes on after step {shorter.steps}, and the learning rate rises anew from there."]
    return notes


def _run(trainer: Trainer, order: _Order, request: TrainRequest, model: models.TrainingModel, watch: Watch | None, plan: Plan) -> _Outcome:
    """Run the remaining steps and looks. Whatever stops them, the state is saved first."""
    progress, notes = Progress(request.settings.steps), plan.notes
    notes.append(plan.text())
    progress.step(count=trainer.steps_done)
    clock = _Clock(trainer, _warning(order.study), plan.text())
    done, reason = False, _end(trainer)
    try:
        with live.finishable():
            while reason is None:
                if watch is not None:
                    watch.at(trainer.steps_done, trainer.adapters)
                _step(trainer, order, request, model, watch, progress, clock, plan)
                reason = _end(trainer)
        if reason:
            notes.append(f"Finished early, after step {trainer.steps_done} of {request.settings.steps}: {reason}.")
        outcome = _outcome(trainer, watch, notes)
        done = True
    finally:
        if not done and trainer.consistent and trainer.steps_done:
            _save_state(trainer, watch, order, request, notes)
    return outcome


def _end(trainer: Trainer) -> str | None:
    """Why the training ends here: empty when all steps are done, None when it continues."""
    if trainer.steps_done >= trainer.settings.steps:
        return ""
    return "on request" if live.finish_requested() else None


def _outcome(trainer: Trainer, watch: Watch | None, notes: list[str]) -> _Outcome:
    if watch is None:
        return _Outcome([group.layers() for group in trainer.adapters], notes, [])
    look, weights = watch.chosen(trainer.steps_done, trainer.adapters)
    picture = contact_sheet.drawn(watch.looks, watch.portraits, look)
    return _Outcome(weights, notes, watch.looks, look, watch.likeness(trainer.adapters, weights), watch.kept, picture)


def _step(
    trainer: Trainer,
    order: _Order,
    request: TrainRequest,
    model: models.TrainingModel,
    watch: Watch | None,
    progress: Progress,
    clock: _Clock,
    plan: Plan,
) -> None:
    check_interrupt()
    loss = plan.step()
    clip, vae, preview = request.inputs.clip, request.inputs.vae, request.policy.preview
    picture = preview.at(trainer.steps_done, model, clip, vae) if preview else None
    if trainer.steps_done % request.settings.state_every == 0:
        _save_state(trainer, watch, order, request, plan.notes)
    live.say(clock.line(trainer, loss, watch))
    progress.step(preview=picture)


def _save_state(trainer: Trainer, watch: Watch | None, order: _Order, request: TrainRequest, notes: list[str]) -> None:
    """A state that cannot be saved does not end the training."""
    about = {"name": request.policy.name, "kind": order.kind, "steps": request.settings.steps, "steps_done": trainer.steps_done}
    try:
        order.store.save(trainer.state() | {"looks": watch.state() if watch else None}, about)
    except FaceChainError as error:
        if str(error) not in notes:
            notes.append(str(error))


def _warning(found: Study) -> str:
    """What is wrong with the photos, to be seen while there is time to stop. Empty for good ones."""
    problems = photo_study.verdicts(found)
    told = [f"{name}: {problem}" for name, problem in zip(numbered("photo", found.facts), problems) if problem]
    return "; ".join(told)


class _Clock:
    """Tells the user where a training is and how long it will take. warning: about the photos. expected: what it will take, said before
    the first step."""

    def __init__(self, trainer: Trainer, warning: str, expected: str):
        self._start, self._first, self._warning = time.monotonic(), trainer.steps_done, warning
        live.say(f"{expected}\nLook at your photos: {warning}" if warning else expected)

    def line(self, trainer: Trainer, loss: float, watch: Watch | None) -> str:
        total = trainer.settings.steps
        pace = (time.monotonic() - self._start) / (trainer.steps_done - self._first)
        left = pace * (total - trainer.steps_done)
        remaining = f"{left / 60:.0f} min" if left > 90 else f"{left:.0f} s"
        score = watch.looks[-1].score if watch is not None and watch.looks else None
        likeness = "" if score is None else f"  likeness {score:.3f}"
        line = f"step {trainer.steps_done}/{total}  loss {loss:.4f}  lr {trainer.learning_rate:.2e}{likeness}  {remaining} left"
        return f"{line}\nLook at your photos: {self._warning}" if self._warning else line


def _store(request: TrainRequest, order: _Order, trainer: Trainer, names: dict[str, str], outcome: _Outcome) -> TrainResult:
    inputs, policy = request.inputs, request.policy
    about = _about(request, order, trainer, outcome)
    photo, tensors = inputs.photos[photo_study.best(inputs.photos, order.study)].clone(), _tensors(request, outcome.weights, names)
    steps = {step: _tensors(request, kept, names) for step, kept in outcome.kept.items()}
    person = Person(policy.name, tensors, order.trigger, photo, order.study.embedding, about | {"losses": trainer.losses})
    person = persons.save(person, file_metadata(about | {"trigger": order.trigger}, request), policy.if_person, steps)
    notes = [f"The LoRA is {persons.lora_name(person.name)}.", *_remarks(request, order), *outcome.notes, *_judgement(outcome)]
    report = Report(f"Training of {person.name}", notes=notes)
    report.add(person.name, Status.TRAINED, steps=trainer.steps_done, first_loss=trainer.losses[0], last_loss=trainer.losses[-1])
    photo_study.fill(report, order.study, numbered("photo", inputs.photos))
    for look in outcome.looks:
        status = Status.TRAINED if look is outcome.used else Status.LEFT_OUT
        report.add(f"after step {look.step}", status, likeness=look.score, validation_loss=look.loss)
    return TrainResult(person, trainer.losses, report, outcome.sheet)


def _judgement(outcome: _Outcome) -> list[str]:
    """Which step was used, and how alike its portraits are."""
    used, looks = outcome.used, outcome.looks
    if used is None or used.score is None:
        return []
    last = looks[-1]
    if not any(any(look.scores) for look in looks):
        return ["No face was found in any sample portrait, so the last step was used."]
    if len(looks) == 1:
        said = "There was one look, after the last step: so short a training has no others."
    elif used is last:
        said = f"The last step was used: no earlier one was better by more than chance ({len(looks)} looks)."
    else:
        said = (
            f"Step {used.step} of {last.step} was used: its portraits have likeness {used.score:.3f}, those of the last step "
            f"{last.score or 0:.3f}, and chance explains {noise(looks):.3f}."
        )
    where = "" if len(looks) == 1 else ", measured on other portraits than those that the step was chosen by"
    return [said, f"Likeness {outcome.likeness:.3f}{where}."]


def _remarks(request: TrainRequest, order: _Order) -> list[str]:
    """Notes for the user about an order that was carried out."""
    inputs, remarks = request.inputs, list(request.policy.remarks)
    if request.policy.looks.count and order.scorer is None and order.study.embeddings:
        remarks.append("Likeness was not measured and the last step was used: this OpenCV cannot run the built-in face detector.")
    if others := [one for one in unfinished() if one.run != order.run]:
        told = "; ".join(one.text() for one in others)
        remarks.append(f"Trainings that were stopped and not finished: {told}. `python run.py trainings delete` takes them away.")
    if inputs.model.patches:
        remarks.append("This MODEL carries other LoRAs: the new one was trained on top of them and looks right only together with them.")
    if len(inputs.photos) == 1:
        remarks.append("There was only one photo: expect its pose, light and clothes in every portrait. Five to ten photos do better.")
    return remarks


def _about(request: TrainRequest, order: _Order, trainer: Trainer, outcome: _Outcome) -> dict:
    return {
        "run": order.run,
        "kind": order.kind,
        "lengthened_at": trainer.lengthened_at,
        "preset": request.policy.preset,
        "base_model": order.base.name,
        "base_model_hash": order.base.digest,
        "likeness": outcome.likeness,
        "looks": [{"step": look.step, "scores": list(look.scores), "validation_loss": look.loss} for look in outcome.looks],
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
        "facechain": json.dumps(about),
        "ss_network_dim": str(request.settings.rank),
        "ss_network_alpha": str(request.settings.alpha),
        "ss_sd_model_name": about["base_model"],
        "ss_output_name": request.policy.name,
        "ss_seed": str(request.settings.seed),
        "ss_steps": str(about["steps"]),
    }
