"""From photos and captions to a person with a LoRA: the whole training on the host's own model objects."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from ...errors import BadInput, FaceChainError
from ...host import families, live, lora, models
from ...host.frozen import is_quantised
from ...host.objective import Objective
from ...host.progress import Progress, check_interrupt
from ...host.protocols import Clip
from ...photos import study as photo_study
from ...photos.study import Study
from ...picture_names import numbered
from .. import persons
from . import earlier, losses, optimisers, sheet
from .adapters import Adapters, convolutions, target_modules
from .dataset import Captioned, LiveCaptions, Told, TrainingSet, encode_captions, encode_photos, with_sizes
from .judge import steps_of_looks
from .looks import AVERAGED, Sitting, Watch
from .noise import TIMES
from .order import Order, TrainInputs, TrainRequest, TrainResult, check, ordered
from .plan import Plan, load_first
from .previews import Preview
from .result import Outcome, store
from .settings import Average, IfState, Start, Targets, TrainSettings
from .start import face_common
from .state import StateStore, require_space
from .trainer import Trainer

# adapters, two moments and the gradient in float32; the state is written beside the old one
_STATE_COPIES = 8
_AVERAGE_COPIES = {Average.LAST: 0, Average.MEAN: 2 * AVERAGED, Average.EMA: 2}


def train_face_lora(request: TrainRequest) -> TrainResult:
    """Train, store the person, and report. The same order given again resumes where it stopped, or is found finished.

    Raises BadInput for orders that cannot be trained, FaceChainError when the training itself fails; an interrupt passes through
    after the state was saved."""
    inputs, policy = request.inputs, request.policy
    check(inputs, policy.name)
    order = ordered(request)
    if policy.if_state is IfState.START_OVER:
        order.store.discard()
    elif made := earlier.finished(request, order):
        return made
    persons.free_name(policy.name, policy.if_person)
    result = _train(request, order)
    order.store.discard()
    earlier.discard_lengthened(order, result.person.report["lengthened_at"])
    return result


def _train(request: TrainRequest, order: Order) -> TrainResult:
    settings, inputs = request.settings, request.inputs
    names = lora.file_names(inputs.model)
    groups = [{module.removeprefix(lora.MODEL_PREFIX): name for module, name in names.items()}]
    if settings.train_text_encoder:
        groups.append(lora.text_file_names(inputs.clip))  # before adapters are there, which rename its layers
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(models.training_model(inputs.model, order.dtype))
        _require_recipe(model.objective, settings)
        clip = stack.enter_context(models.training_clip(inputs.clip)) if settings.train_text_encoder else inputs.clip
        inputs = replace(inputs, clip=clip)
        data, prior = _training_set(model, inputs, settings, order), _prior_set(model, inputs, settings, order)
        unused = _unused_guidance(model, clip, data, settings)
        adapters = _adapters(model, clip, settings)
        for group in adapters:
            stack.callback(group.remove)
        stack.callback(model.give_back)
        _start(adapters[0], names, settings)
        _require_space(order.store, adapters, settings)
        load_first(model, settings)
        for group in adapters:
            group.measure()
        trainer = Trainer(model, adapters, data, settings, order.dtype, prior)
        plan = Plan(trainer, model, stack)
        watch = _watch(replace(request, inputs=inputs), order, trainer, model)
        plan.notes += [*unused, *_resume(trainer, order, request, watch, groups)]
        outcome = _run(trainer, order, replace(request, inputs=inputs), model, watch, plan)
    return store(request, order, trainer, names, outcome)


def _require_recipe(objective: Objective, settings: TrainSettings) -> None:
    """Raises BadInput for settings that are not defined for this model or need a missing package, before anything is encoded."""
    optimisers.require_package(settings)
    sigmas = objective.sample_sigmas(1, torch.Generator().manual_seed(0), TIMES[settings.timesteps])
    losses.level_weights(objective, sigmas, settings)


def _training_set(model: models.TrainingModel, inputs: TrainInputs, settings: TrainSettings, order: Order) -> TrainingSet:
    latents, weights = _encoded(model, inputs, inputs.photos, settings, order.masks)
    told = with_sizes(inputs.captions, latents, order.originals)
    return TrainingSet(latents, _conditions(model, inputs.clip, told, settings), weights, originals=order.originals)


def _prior_set(model: models.TrainingModel, inputs: TrainInputs, settings: TrainSettings, order: Order) -> TrainingSet | None:
    """Pictures of other people with the caption of their class, so that the model does not forget what others look like."""
    if not inputs.class_photos:
        return None
    latents, _ = _encoded(model, inputs, inputs.class_photos, settings.of_class_photos(), None)
    told = with_sizes([inputs.class_caption] * len(inputs.class_photos), latents, order.class_originals)
    return TrainingSet(latents, _conditions(model, inputs.clip, told, settings), salt=100, originals=order.class_originals)


def _encoded(
    model: models.TrainingModel,
    inputs: TrainInputs,
    photos: Sequence[torch.Tensor],
    settings: TrainSettings,
    masks: list[torch.Tensor] | None,
) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    with torch.no_grad():
        return encode_photos(model, inputs.vae, [photo.clone() for photo in photos], settings, masks)


def _conditions(model: models.TrainingModel, clip: Clip, told: list[Captioned], settings: TrainSettings) -> Told:
    if settings.train_text_encoder:
        return LiveCaptions(model, clip, told, settings.guidance)
    with torch.no_grad():
        return encode_captions(model, clip, told, settings.guidance)


def _unused_guidance(model: models.TrainingModel, clip: Clip, data: TrainingSet, settings: TrainSettings) -> list[str]:
    """A note where another guidance than the family's own is set and the model has no such input."""
    if settings.guidance in (None, families.of(model.patcher).guidance):
        return []
    with torch.no_grad():
        told = model.conditions(models.encode_text(clip, ""), data.latents[0][:1], settings.guidance)
    return [] if model.takes_guidance(told) else ["guidance has no effect: this model has no guidance input."]


def _watch(request: TrainRequest, order: Order, trainer: Trainer, model: models.TrainingModel) -> Watch | None:
    """The object that evaluates the training, or None if no looks are wanted."""
    inputs, settings, count = request.inputs, request.settings, request.policy.looks.count
    if not count:
        return None
    sitting = Sitting(model, inputs.clip, inputs.vae, order.trigger, Preview(0, "", 0, settings.resolution))
    keep = request.policy.looks.keep
    due, average = steps_of_looks(settings.steps, count), settings.average is Average.MEAN
    return Watch(due, order.scorer, sitting, trainer.validation_loss, keep=keep, average=average)


def _adapters(model: models.TrainingModel, clip: Clip, settings: TrainSettings) -> list[Adapters]:
    """Adapters on the diffusion model and, where it is trained, on the text encoder."""
    modules = [model.module]
    if settings.train_text_encoder:
        modules.append(clip.cond_stage_model)
        model.companions.append(clip.patcher)
    if settings.targets is Targets.CONVOLUTIONS and not convolutions(model.module):
        raise BadInput(
            f"{type(model.module).__name__} has no convolutions between its first and its last layer, as a UNet has. "
            f"Set targets to {Targets.ATTENTION_AND_MLP.value}."
        )
    names = [target_modules(module, settings.targets) for module in modules]
    if settings.dora:
        _require_weights(modules, names)
    shape = (settings.rank, settings.alpha, settings.dropout)
    return [
        Adapters(module, chosen, *shape, settings.seed + index, settings.dora) for index, (module, chosen) in enumerate(zip(modules, names))
    ]


def _require_weights(modules: list[torch.nn.Module], names: list[list[str]]) -> None:
    """DoRA computes with the weights that it is put on."""
    for module, chosen in zip(modules, names):
        for name in chosen:
            weight = module.get_parameter(f"{name}.weight")
            if weight.element_size() < 2 or is_quantised(weight):
                raise BadInput(
                    f"DoRA measures the weights of the model, and those of {name} are stored in 8 bits or quantised. "
                    "Train on an fp32, fp16 or bf16 file of the model, or switch dora off."
                )


def _start(adapters: Adapters, names: dict[str, str], settings: TrainSettings) -> None:
    """Set the starting weights as the settings say."""
    if settings.start is Start.FACE_COMMON:
        adapters.load(face_common(names, lora.MODEL_PREFIX))


def _require_space(store: StateStore, adapters: list[Adapters], settings: TrainSettings) -> None:
    size = sum(parameter.nbytes for group in adapters for parameter in group.parameters())
    require_space(store.folder, (_STATE_COPIES + _AVERAGE_COPIES[settings.average]) * size)
    require_space(persons.folder_of("any"), 2 * size)


def _resume(trainer: Trainer, order: Order, request: TrainRequest, watch: Watch | None, names: list[dict[str, str]]) -> list[str]:
    """Go on where this training, or a shorter one, stopped. Notes about it. names: file names of the layers of each group of adapters."""
    notes = [trainer.note] if trainer.note else []
    if (state := order.store.load()) is not None:
        trainer.restore(state)
        if watch is not None and state["looks"]:
            watch.restore(state["looks"])
        return [*notes, f"Resumed after step {trainer.steps_done} of {request.settings.steps}."]
    if (found := earlier.shorter(request, order, trainer.adapters, names)) is not None:
        trainer.lengthen(found.steps, found.losses, found.weights, found.optimiser, found.average)
        return [*notes, f"Lengthened {found.told}: goes on after step {found.steps}, and the learning rate warms up again from there."]
    return notes


def _run(trainer: Trainer, order: Order, request: TrainRequest, model: models.TrainingModel, watch: Watch | None, plan: Plan) -> Outcome:
    """Run the remaining steps and looks. Whatever stops them, the state is saved first."""
    progress, notes = Progress(request.settings.steps), plan.notes
    notes.append(plan.text())
    progress.step(count=trainer.steps_done)
    clock = _Clock(trainer, _warning(order.study), plan.text())
    done, reason = False, _end(trainer)
    try:
        with live.finishable():
            _show(watch)
            while reason is None:
                _look(trainer, watch, plan)
                _step(trainer, order, request, model, watch, progress, clock, plan)
                reason = _end(trainer)
        if reason:
            notes.append(f"Finished early, after step {trainer.steps_done} of {request.settings.steps}: {reason}.")
        _look(trainer, watch, plan, at_end=True)
        with trainer.averaged():
            outcome = _outcome(trainer, watch, plan)
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


def _look(trainer: Trainer, watch: Watch | None, plan: Plan, at_end: bool = False) -> None:
    """A look where one is due; not at portraits where they do not fit into memory."""
    step = trainer.steps_done
    if watch is None or not watch.wants(step, at_end):
        return

    def look(drawn: bool) -> None:
        with trainer.averaged():
            watch.look(step, trainer.adapters, drawn)

    plan.draw(f"the look after step {step}", lambda: look(True), lambda: look(False), "it has no portraits and no likeness")
    _show(watch)


def _show(watch: Watch | None) -> None:
    """The contact sheet of the looks so far."""
    if watch is not None and (drawn := sheet.drawn(watch.looks, watch.portraits, None)) is not None:
        live.show(drawn)


def _outcome(trainer: Trainer, watch: Watch | None, plan: Plan) -> Outcome:
    if watch is None:
        return Outcome(weights=[group.layers() for group in trainer.adapters], notes=plan.notes, looks=[])
    look, weights, averaged = watch.chosen(trainer.adapters)
    likeness = plan.draw(
        "the portraits of the result", lambda: watch.likeness(trainer.adapters, weights), lambda: None, "its likeness is not known"
    )
    return Outcome(
        weights=weights,
        notes=plan.notes,
        looks=watch.looks,
        used=look,
        likeness=likeness,
        kept=watch.kept,
        portraits=watch.portraits,
        averaged=averaged,
    )


def _step(
    trainer: Trainer,
    order: Order,
    request: TrainRequest,
    model: models.TrainingModel,
    watch: Watch | None,
    progress: Progress,
    clock: _Clock,
    plan: Plan,
) -> None:
    check_interrupt()
    loss = plan.step()
    picture = _preview(trainer, request, model, plan)
    if trainer.steps_done % request.settings.state_every == 0:
        _save_state(trainer, watch, order, request, plan.notes)
    live.say(clock.line(trainer, loss, watch))
    progress.step(preview=picture)


def _preview(trainer: Trainer, request: TrainRequest, model: models.TrainingModel, plan: Plan) -> torch.Tensor | None:
    """A portrait where one is due and fits into memory."""
    inputs, preview = request.inputs, request.policy.preview
    if preview is None or not preview.is_due(trainer.steps_done):
        return None

    def portrait() -> torch.Tensor:
        with trainer.averaged():
            return preview.portrait(model, inputs.clip, inputs.vae)

    return plan.draw("a preview", portrait, lambda: None, "those that do not fit are left out")


def _save_state(trainer: Trainer, watch: Watch | None, order: Order, request: TrainRequest, notes: list[str]) -> None:
    """A state that cannot be saved does not end the training. The user is told at once: a training that was stopped has no report."""
    about = {"name": request.policy.name, "kind": order.kind, "steps": request.settings.steps, "steps_done": trainer.steps_done}
    try:
        order.store.save(trainer.state() | {"looks": watch.state() if watch else None}, about)
    except FaceChainError as error:
        live.say(str(error))
        if str(error) not in notes:
            notes.append(str(error))


def _warning(found: Study) -> str:
    """What is wrong with the photos, shown while there is still time to stop. Empty for good photos."""
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
