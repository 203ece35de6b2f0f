"""What a training is asked to do, and what is checked beforehand: whether it can be trained, and what identifies it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ... import provenance
from ...errors import BadInput, MissingWeights
from ...geometry.pixels import check_all
from ...host import models
from ...host.protocols import Clip, Model, Vae
from ...perception import haar
from ...photos import study as photo_study
from ...photos.study import Study
from ...picture_names import nth, numbered
from ...types import Faces, Person, Report, digest_of
from ...weights import load as weights
from ..captions import common_trigger
from ..names import check_name
from ..persons import IfExists
from . import crops
from .dataset import Original
from .likeness import RtsScorer, Scorer, references
from .looks import LookPlan
from .previews import Preview
from .settings import Average, IfState, Start, TrainSettings
from .state import StateStore, decisive, run_hash


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
    """A request for one training."""

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
    """What identifies the model."""

    name: str
    digest: str
    identity: list[str]


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was found out about a request before training. dtype: to compute in. run: its identity; kind: the same of all that differ in
    their number of steps and their looks alone. trigger: of the person. scorer: of sample portraits. originals, class_originals: of the
    photos and the class photos, empty where none was enlarged or the model is not told. blur: what to say about training pictures that are
    blurred, empty for others."""

    base: _Base
    dtype: torch.dtype
    run: str
    kind: str
    store: StateStore
    study: Study
    trigger: str
    masks: list[torch.Tensor] | None
    scorer: Scorer | None
    originals: list[Original]
    class_originals: list[Original]
    blur: str


def ordered(request: TrainRequest) -> Order:
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
    if settings.average is Average.MEAN:
        if not policy.looks.count:
            raise BadInput(f"{Average.MEAN.value} needs looks, and looks is 0. Set looks to 3 or more, or average to {Average.LAST.value}.")
        facts["looks"] = policy.looks.count
    scales = crops.scales(inputs.photos, inputs.faces)
    originals, of_class = _originals(inputs, settings, scales)
    if originals or of_class:
        facts["original sizes"] = [originals, of_class]
    pictures = [*inputs.photos, *inputs.class_photos]
    run, kind = run_hash(pictures, facts), run_hash(pictures, _of_any_length(facts))
    return Order(
        base=base,
        dtype=dtype,
        run=run,
        kind=kind,
        store=StateStore(run),
        study=found,
        trigger=trigger,
        masks=masks,
        scorer=scorer,
        originals=originals,
        class_originals=of_class,
        blur=crops.remark(inputs.photos, settings.augmentation, settings.resolution, scales),
    )


def _originals(inputs: TrainInputs, settings: TrainSettings, scales: list[float]) -> tuple[list[Original], list[Original]]:
    """Sizes before enlargement of the training pictures of all photos and of all class photos. Each empty where there is nothing to say.
    scales: of the photos, as `crops.scales` finds them."""
    if models.family(inputs.model) != "sdxl":
        return [], []
    of_class = settings.of_class_photos()
    found = [
        [crops.original_size(photo, one.augmentation, one.resolution, scale) for photo, scale in zip(photos, enlarged, strict=True)]
        for photos, one, enlarged in (
            (inputs.photos, settings, scales),
            (inputs.class_photos, of_class, [1.0] * len(inputs.class_photos)),
        )
    ]
    photos, class_photos = (sizes if any(sizes) else [] for sizes in found)
    return photos, class_photos


def _of_any_length(facts: dict[str, Any]) -> dict[str, Any]:
    """Without the number of steps and without the looks, whose number depends on it and which do not affect the weights."""
    settings = {key: value for key, value in facts["settings"].items() if key != "steps"}
    return {key: value for key, value in facts.items() if key != "looks"} | {"settings": settings, "judge": []}


def _content(name: str) -> str:
    """The sha256 of a published file that decides the result, empty without the file."""
    try:
        with provenance.recording():  # looking at it is no use of it
            file = weights.find(name)
    except MissingWeights:
        return ""
    return file.sha256 or models.file_hash(file.path)


def _scorer(plan: LookPlan, found: Study) -> Scorer | None:
    """What scores the portraits of looks: None if there are no looks, or where likeness cannot be measured."""
    if not plan.count or plan.scorer is not None:
        return plan.scorer
    given = references(found) if haar.can_run() else []
    return RtsScorer(given) if given else None


def check(inputs: TrainInputs, name: str) -> None:
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
