"""Face fusion on a batch of pictures: which faces are replaced by which, and what happens to pictures without a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import torch

from ...errors import BadInput, FaceNotFound
from ...geometry import pixels
from ...host.progress import Progress
from ...perception.faces import find_faces, largest, left_to_right
from ...picture_names import numbered
from ...types import Face, Faces, NoFace, Report, Status
from . import face_fusion as fusion
from . import pasting


class Which(str, Enum):
    LARGEST = "Largest face"
    CHOSEN = "Chosen face"
    ALL = "All faces"


@dataclass(frozen=True)
class FusionChoice:
    """Which faces of a picture are replaced. number: for Which.CHOSEN, counted from 1, left to right."""

    which: Which = Which.LARGEST
    number: int = 1

    def of(self, faces: Sequence[Face]) -> list[Face]:
        """The chosen ones of `faces`; empty where there is none. Faces without five points cannot be chosen."""
        faces = [face for face in faces if face.points is not None]
        if self.which is Which.CHOSEN:
            return left_to_right(faces)[self.number - 1 : self.number]
        main = largest(faces) if self.which is Which.LARGEST else None
        return faces if main is None else [main]

    def problem(self, faces: Sequence[Face]) -> str:
        """Why `of` found nothing in `faces`."""
        if not faces:
            return "no face was found"
        if not any(face.points is not None for face in faces):
            return "its faces lack the five points; find them with DamoFD or the built-in detector"
        return f"face {self.number} was chosen, but there {'is only 1' if len(faces) == 1 else f'are only {len(faces)}'}"


@dataclass(frozen=True, kw_only=True)
class FusionInputs:
    """pictures: [H, W, 3] each, the pictures to fill. sources: the pictures of the faces to put in, one for all or one per picture.
    mask: None, one [H, W] for all or one per picture. faces, source_faces: known faces of both."""

    pictures: list[torch.Tensor]
    sources: list[torch.Tensor]
    mask: torch.Tensor | None = None
    faces: Faces | None = None
    source_faces: Faces | None = None


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """detector: see perception.detection. edge: width in pixels over which the mask fades, inwards."""

    detector: str
    choice: FusionChoice = field(default_factory=FusionChoice)
    enhance: bool = True
    edge: int = 0
    no_face: NoFace = NoFace.STOP


@dataclass
class _Plan:
    """The faces to replace, per source; the unchanged pictures, with the reason."""

    targets: dict[int, list[fusion.TargetFace]] = field(default_factory=dict)
    faces: dict[int, int] = field(default_factory=dict)
    problems: dict[int, str] = field(default_factory=dict)


def fuse_pictures(inputs: FusionInputs, settings: FusionSettings, report: Report) -> list[torch.Tensor]:
    """The pictures with their faces replaced, in their order; skipped ones are left out. Fills `report`.

    Raises BadInput for inputs that do not belong together, FaceNotFound where a face is missing and the policy is to stop, or
    when every picture was skipped, MissingWeights when there is something to replace and a file is missing."""
    names = numbered("picture", inputs.pictures)
    masks = _checked_masks(inputs)
    found = find_faces(inputs.pictures, settings.detector, inputs.faces, names)
    owners = find_faces(inputs.sources, settings.detector, inputs.source_faces, numbered("face image", inputs.sources))
    plan = _plan(found, owners, settings.choice)
    _check_policy(plan, names, settings.no_face)
    results = _replace(inputs, owners, plan, settings.enhance) if plan.targets else list(inputs.pictures)
    for index in plan.faces if masks else ():
        mask = pasting.soft_edge(masks[index % len(masks)], settings.edge)
        results[index] = pasting.within(mask, results[index], inputs.pictures[index])
    _tell(plan, names, settings.no_face, report)
    return [result for index, result in enumerate(results) if index in plan.faces or settings.no_face is NoFace.PASS]


def _checked_masks(inputs: FusionInputs) -> list[torch.Tensor]:
    """Raises BadInput unless the numbers of face images and masks and the size of the masks fit the pictures."""
    pixels.check_all(inputs.pictures, numbered("picture", inputs.pictures))
    pixels.check_all(inputs.sources, numbered("face image", inputs.sources))
    masks = [] if inputs.mask is None else list(inputs.mask.reshape(-1, *inputs.mask.shape[-2:]))
    for what, values in (("face images", inputs.sources), ("masks", masks)):
        if len(values) not in (1, len(inputs.pictures)) and values:
            raise BadInput(f"There are {len(values)} {what} for {len(inputs.pictures)} pictures. Connect one for all, or one for each.")
    size = tuple(inputs.pictures[0].shape[:2])
    if masks and tuple(masks[0].shape) != size:
        raise BadInput(
            f"The mask has {masks[0].shape[1]}x{masks[0].shape[0]} pixels, the picture {size[1]}x{size[0]}. "
            "Connect a mask of the picture's size, or none."
        )
    return masks


def _plan(found: Faces, owners: Faces, choice: FusionChoice) -> _Plan:
    plan = _Plan()
    for index, picture in enumerate(found.pictures):
        source = index % len(owners)
        faces = choice.of(picture.faces)
        if not FusionChoice().of(owners.pictures[source].faces):
            plan.problems[index] = f"in the face image, {FusionChoice().problem(owners.pictures[source].faces)}"
        elif not faces:
            plan.problems[index] = choice.problem(picture.faces)
        else:
            plan.targets.setdefault(source, []).extend(fusion.target(index, face) for face in faces)
            plan.faces[index] = len(faces)
    return plan


def _check_policy(plan: _Plan, names: list[str], policy: NoFace) -> None:
    problems = "; ".join(f"{names[index]}: {problem}" for index, problem in plan.problems.items())
    if problems and policy is NoFace.STOP:
        raise FaceNotFound(
            f"{problems}. Expected a face in every picture and face image. Use pictures that show one, or set no_face to "
            f"{NoFace.SKIP.value!r} or {NoFace.PASS.value!r}."
        )
    if problems and policy is NoFace.SKIP and not plan.faces:
        raise FaceNotFound(f"Every picture was skipped ({problems}), so there is no output. Use pictures that show a face.")


def _replace(inputs: FusionInputs, owners: Faces, plan: _Plan, enhance: bool) -> list[torch.Tensor]:
    networks, results = fusion.open_fusion(enhance), list(inputs.pictures)
    bar = Progress(sum(plan.faces.values()) * (2 if enhance else 1))
    for source, targets in plan.targets.items():
        (face,) = FusionChoice().of(owners.pictures[source].faces)
        identity = networks.read_source(inputs.sources[source], face.five)
        chosen = sorted({target.picture for target in targets})
        moved = [fusion.TargetFace(chosen.index(target.picture), target.points, target.side) for target in targets]
        fused = networks.replace([inputs.pictures[index] for index in chosen], moved, identity, enhance, bar.step)
        results = [fused[chosen.index(i)] if i in chosen else result for i, result in enumerate(results)]
    return results


def _tell(plan: _Plan, names: list[str], policy: NoFace, report: Report) -> None:
    for index, name in enumerate(names):
        if index in plan.faces:
            report.add(name, Status.FUSED, faces=plan.faces[index])
        else:
            report.add(name, Status.PASSED_THROUGH if policy is NoFace.PASS else Status.SKIPPED, plan.problems[index])
