"""Persons put into a picture: matching faces to persons, one model per person, pasting, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ...errors import BadInput, FaceNotFound
from ...geometry.pixels import size_of
from ...host.sampling import Diffusion, DiffusionSampler, SamplingProgress, SamplingSettings
from ...identity.lora import merge
from ...types import Face, LoraEntry, NoFace, Person, Report, Status
from .. import people, prompts
from ..fusion.face_fusion import FaceFusion
from . import geometry
from .masks import paste_mask
from .targets import FaceAnalyzer, GivenMasks, Pose, Target, prepare
from .two_stage import FaceJob, FusionSource, Nets, Painted, Settings, TwoStage, steps_of

SEED_STRIDE = 1009


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """Texts of the prompts. trigger: of the person in the model, where no person is connected."""

    scene: str
    negative: str
    ethnicity: str = ""
    trigger: str = ""
    weights: bool = False


@dataclass(frozen=True, kw_only=True)
class FaceAssignment:
    """Which person on which face. which: see `people.chosen`; entries: the explicit list."""

    how: people.Assign = people.Assign.AUTO
    entries: str = ""
    which: str = people.AUTO_FACES

    @property
    def nobody(self) -> bool:
        return self.which.strip().lower() == people.NO_FACES


@dataclass(frozen=True, kw_only=True)
class TargetPicture:
    """One picture to put persons into. generated: the user's stage-1 pictures, one for all faces or one for each."""

    name: str
    image: torch.Tensor
    faces: list[Face]
    given: GivenMasks = field(default_factory=GivenMasks)
    pose: Pose = field(default_factory=Pose)
    generated: Sequence[torch.Tensor] = ()


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """The people: persons with their own LoRA, or none where the MODEL knows the person already.

    strength: of the persons' LoRAs. photo: a face of the person in the MODEL, for the fusion. fusion: None switches it off.
    """

    persons: Sequence[Person]
    strength: float = 0.95
    photo: torch.Tensor | None = None
    fusion: FaceFusion | None = None


class GroupInpaint:
    """The two-stage inpainting of any number of persons. `report` has a row for every face."""

    def __init__(
        self,
        *,
        base: Diffusion,
        nets: Nets,
        analyzer: FaceAnalyzer,
        subjects: Subjects,
        words: PromptText,
        settings: Settings,
        schedule: SamplingSettings,
    ):
        if settings.size % base.factor or settings.size < base.factor:
            raise BadInput(f"The crop size is {settings.size}; it must be a multiple of {base.factor}, the VAE's cell.")
        self._base, self._nets, self._analyzer, self._subjects = base, nets, analyzer, subjects
        self._words, self._settings, self._schedule = words, settings, schedule
        self.report = Report("Faces put into pictures", notes=nets.notes())

    def run_all(
        self, pictures: Sequence[TargetPicture], choice: FaceAssignment, seed: int, variants: int, no_face: NoFace
    ) -> list[torch.Tensor]:
        """The finished pictures of all pictures. Raises FaceNotFound when every one of them was skipped."""
        if not pictures:
            raise BadInput("There is no picture to put faces into. Connect at least one.")
        finished = [image for picture in pictures for image in self.run(picture, choice, seed, variants, no_face)]
        if not finished:
            raise FaceNotFound(f"All {len(pictures)} pictures were skipped, so there is no output. {self.report.text()}")
        return finished

    def run(self, picture: TargetPicture, choice: FaceAssignment, seed: int, variants: int, no_face: NoFace) -> list[torch.Tensor]:
        """`variants` pictures [H, W, 3]; empty when the picture is skipped. Raises FaceNotFound when a face is missing and no_face
        says so, BadInput when something connected does not belong to the picture."""
        plain = [picture.image] * variants
        if not picture.faces:
            return self._missing(picture.name, "no face was found", no_face, plain)
        who = self._assign(picture.faces, choice)
        if not who or self._settings.strength <= 0:
            self.report.add(picture.name, Status.UNCHANGED, "no face was chosen" if not who else "the strength is 0")
            return plain
        targets, reasons = prepare(
            picture.image, picture.faces, sorted(who), picture.given, picture.pose, self._analyzer, self._settings.size
        )
        canvases = [picture.image.clone() for _ in plain]
        bar = SamplingProgress(self._steps(targets, who, variants, bool(picture.generated)))
        for person, group in _groups(targets, who):
            if reasons and no_face is not NoFace.PASS:
                break
            jobs = self._jobs(picture, group, canvases, seed, sorted(who))
            self._stages(person, bar).run(jobs)
            reasons.update({job.target.number: job.problem for job in jobs if job.problem})
            for job in jobs:
                if job.result is not None:
                    paste(canvases[job.variant], job.target, job.result)
            self._note_landmarks(jobs)
        return self._report_faces(picture.name, who, reasons, no_face, canvases, plain)

    def _assign(self, faces: list[Face], choice: FaceAssignment) -> dict[int, int | None]:
        """Index of the face -> index of its person, None for the person in the model."""
        persons = self._subjects.persons
        indices = people.chosen(faces, choice.which, bool(persons))
        if not persons:
            return dict.fromkeys(indices)
        result = people.assign([faces[i] for i in indices], persons, choice.how, choice.entries)
        for note in result.notes:
            self._note(note)
        for index in sorted(set(range(len(persons))) - set(result.person_of)):
            self.report.add(persons[index].name, Status.NOT_USED, "there is no face left for this person")
        return {face: person for face, person in zip(indices, result.person_of) if person is not None}

    def _jobs(
        self, picture: TargetPicture, group: list[Target], canvases: list[torch.Tensor], seed: int, order: list[int]
    ) -> list[FaceJob]:
        generated = picture.generated
        if len(generated) not in (0, 1, len(order)):
            raise BadInput(f"There are {len(generated)} stage-1 pictures for {len(order)} faces. Connect one, or one for each face.")
        jobs = []
        for variant, canvas in enumerate(canvases):
            for target in group:
                place = order.index(target.number - 1)
                crop = target.crop(canvas, self._settings.size)
                given = generated[place % len(generated)] if generated else None
                jobs.append(FaceJob(target, variant, seed + variant + SEED_STRIDE * place, crop, given))
        return jobs

    def _stages(self, index: int | None, bar: SamplingProgress) -> TwoStage:
        person = None if index is None else self._subjects.persons[index]
        base = self._base if person is None else with_person(self._base, person, self._subjects.strength)
        sampler = DiffusionSampler(base, self._schedule, bar)
        words = self._words
        trigger = words.trigger if person is None else person.trigger
        prompt = prompts.scene(trigger, words.scene, words.negative, words.ethnicity)
        text = sampler.text(prompt.positive, prompt.negative, words.weights)
        return TwoStage(sampler, text, self._nets, self._analyzer, self._likeness(person), self._settings)

    def _likeness(self, person: Person | None) -> FusionSource | None:
        """The photograph for the fusion, or None with a note that gives the reason."""
        if self._subjects.fusion is None:
            return None
        photo = self._subjects.photo if person is None else person.photo
        name = "the person in the MODEL" if person is None else person.name
        if photo is None:
            self._note(f"No face is fused for {name}: there is no photograph of that face.")
            return None
        face = self._analyzer.largest([photo])[0]
        if face is None:
            self._note(f"No face is fused for {name}: no face was found in the photograph.")
            return None
        return FusionSource(self._subjects.fusion, self._subjects.fusion.read_source(photo, face.five))

    def _steps(self, targets: list[Target], who: dict[int, int | None], variants: int, given: bool) -> int:
        counts = [len(group) * variants for _, group in _groups(targets, who)]
        return sum(steps_of(count, given, self._settings, self._schedule) for count in counts)

    def _note_landmarks(self, jobs: list[FaceJob]) -> None:
        if any(job.result is not None and not job.result.has_landmarks for job in jobs):
            self._note(
                "Without facial landmarks only eyes, nose and mouth guide the painting: the expression and the outline of the jaw may "
                "differ from the generated face. Connect a FACE_DETECTION_MODEL, or get the weights of the landmark network."
            )

    def _note(self, note: str) -> None:
        if note not in self.report.notes:
            self.report.notes.append(note)

    def _report_faces(
        self, name: str, who: dict, reasons: dict[int, str], no_face: NoFace, canvases: list, plain: list
    ) -> list[torch.Tensor]:
        """Apply the policy to a picture with a face that could not be edited; else add every face to the report."""
        summary = "; ".join(f"face {number}: {reason}" for number, reason in sorted(reasons.items()))
        if reasons and no_face is not NoFace.PASS:
            return self._missing(name, summary, no_face, plain)
        for index, person in sorted(who.items()):
            values = {} if person is None else {"person": self._subjects.persons[person].name}
            reason = reasons.get(index + 1, "")
            self.report.add(f"{name}, face {index + 1}", Status.LEFT_AS_IT_WAS if reason else Status.PAINTED, reason, **values)
        return self._missing(name, summary, no_face, canvases) if reasons else canvases

    def _missing(self, name: str, reason: str, no_face: NoFace, otherwise: list[torch.Tensor]) -> list[torch.Tensor]:
        """Apply the policy to a picture with missing faces: an error, nothing, or `otherwise`."""
        if no_face is NoFace.STOP:
            raise FaceNotFound(
                f"{name}: {reason}. Set 'no_face' to '{NoFace.SKIP.value}' or '{NoFace.PASS.value}', or use a picture with a larger, "
                "unobstructed face."
            )
        skipped = no_face is NoFace.SKIP
        self.report.add(name, Status.SKIPPED if skipped else Status.PASSED_THROUGH, reason)
        return [] if skipped else otherwise


def with_person(base: Diffusion, person: Person, strength: float) -> Diffusion:
    """The model with the person's LoRA, on a clone. Raises BadInput when the LoRA does not fit the model."""
    entry = LoraEntry(person.name, strength, strength, "face", person=person)
    model, clip, _ = merge.apply(base.model, base.clip, [entry])
    return Diffusion(model, clip, base.vae)


def paste(canvas: torch.Tensor, target: Target, result: Painted) -> None:
    """Put a finished crop back into `canvas` [H, W, 3], in place. Pixels where its mask is 0 are bit-identical."""
    window, mask = paste_mask(target.square, target.face.box, target.others, *size_of(canvas))
    x0, y0, x1, y1 = window
    left, top, _, _ = target.square.box
    pixels = _full_size(target.pixels(canvas), result)[y0 - top : y1 - top, x0 - left : x1 - left]
    region = canvas[y0:y1, x0:x1]
    mixed = pixels * mask[..., None] + region * (1 - mask[..., None])
    canvas[y0:y1, x0:x1] = torch.where(mask[..., None] > 0, mixed, region)


def _full_size(original: torch.Tensor, result: Painted) -> torch.Tensor:
    """The result in the resolution of the picture. The loss of resizing is cancelled where nothing was painted."""
    side, size = len(original), len(result.image)
    lost = original - geometry.resize(geometry.resize(original, size, size), side, side)
    kept = 1 - geometry.resize(result.mask, side, side)
    return (geometry.resize(result.image, side, side) + lost * kept[..., None]).clamp(0, 1)


def _groups(targets: list[Target], who: dict[int, int | None]) -> list[tuple[int | None, list[Target]]]:
    """Targets by person, persons in the order of their leftmost face."""
    groups: dict[int | None, list[Target]] = {}
    for target in targets:
        groups.setdefault(who[target.number - 1], []).append(target)
    return list(groups.items())
