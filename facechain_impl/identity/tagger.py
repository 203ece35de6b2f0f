"""Captions of one person's pictures: the trigger, chosen or read from age and gender, then tags or sentences; edits by hand go first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..errors import BadInput, FaceNotFound
from ..geometry.affine import align112
from ..geometry.pixels import check_all
from ..perception import models
from ..perception.attributes import AGES, GENDERS, FaceAttributes
from ..perception.detection import BUILT_IN, Detector
from ..perception.faces import enriched, find_faces, known_names, main_face, with_face
from ..perception.tagging import Tagger
from ..types import Face, Faces, NoFace, Picture, Report, Status, updated
from ..weights import load
from . import captions
from . import edits as by_hand
from .edits import Line

AUTOMATIC, OWN_WORDS = "automatic", "own words"


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """trigger: AUTOMATIC, OWN_WORDS or the words themselves. extra_tags: see captions.extra_tags. tag_threshold: of the tagger,
    None leaves its tags out. ages: one of captions.AGE_TABLES. sentences: a text for each picture, which takes the place of the
    tagger's tags; None without. edits: see edits.parsed."""

    trigger: str = OWN_WORDS
    own_words: str = "a person"
    token: str = captions.TOKEN
    extra_tags: str = ""
    tag_threshold: float | None = None
    ages: tuple[float, float] = (10, 40)
    detector: Detector | str = BUILT_IN
    no_face: NoFace = NoFace.STOP
    sentences: Sequence[str] | None = None
    edits: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Captions:
    """lines: one for each picture. trigger: token and trigger. common: tags that most of them share. faces: all that is known now."""

    lines: list[Line]
    trigger: str
    common: str
    report: Report
    faces: Faces

    @property
    def texts(self) -> list[str]:
        return [line.text for line in self.lines]


def caption_pictures(images: list[torch.Tensor], settings: CaptionSettings, known: Faces | None = None) -> Captions:
    """Captions of pictures [H, W, 3] of one person. Raises BadInput, FaceNotFound, WeightsError."""
    names = known_names(images, known)
    check_all(images, names)
    report = Report("Captions")
    tags = _tags(images, settings, report)
    keys = [by_hand.keys_of(image, known) for image in images]
    trigger = _chosen_trigger(settings)
    rows: list[dict[str, str] | None] = [{}] * len(images)
    if settings.trigger == AUTOMATIC:
        found = open_attribute_reader(settings.detector).read(images, names, known, settings.ages, settings.no_face)
        trigger, rows = found.trigger, found.rows
        known = enriched(known, found.pictures)
    spoken = captions.caption(settings.token, trigger)
    automatic = [captions.caption(settings.token, trigger, own) for own in tags]
    lines = [by_hand.line_of(*one, settings.edits) for one in zip(keys, names, automatic)]
    _report(report, lines, rows, spoken)
    _report_unused(report, settings.edits, {key for own_keys in keys for key in own_keys})
    common = ", ".join(captions.common_tags([line.text for line in lines]))
    return Captions(lines, spoken, common, report, known or Faces(()))


def _tags(images: list[torch.Tensor], settings: CaptionSettings, report: Report) -> list[list[str]]:
    """What follows the trigger, for each picture: the user's tags and the tagger's, or the sentence and the user's tags."""
    tags = captions.extra_tags(settings.extra_tags, len(images))
    if settings.sentences is not None:
        if settings.tag_threshold is not None:
            report.notes.append("append_tags has no effect while captions are connected: they take the place of the tags.")
        return [[sentence, *own] for sentence, own in zip(captions.sentences(settings.sentences, len(images)), tags)]
    if settings.tag_threshold is not None:
        return [own + seen for own, seen in zip(tags, picture_tags(open_tagger(), images, settings.tag_threshold))]
    return tags


def _report(report: Report, lines: list[Line], rows: list[dict[str, str] | None], spoken: str) -> None:
    """One row for each picture. spoken: what prompts of the person begin with."""
    for line, row in zip(lines, rows):
        reasons = ["edited by hand"] if line.edited else []
        if line.edited and not line.edited.startswith(spoken):
            reasons.append(f"it does not begin with {spoken!r}, as prompts of this person do")
        if row is None:
            reasons.append("no face found, so it does not count for the trigger")
        status = Status.NOT_COUNTED if row is None else Status.EDITED if line.edited else Status.CAPTIONED
        report.add(line.name, status, "; ".join(reasons), caption=line.text, **(row or {}))


def _report_unused(report: Report, edits: Mapping[str, str], keys: set[str]) -> None:
    unused = [f"{key}: {text}" for key, text in edits.items() if key not in keys]
    if unused:
        which = "the edited caption" if len(unused) == 1 else "the edited captions"
        report.notes.append(f"Not among these pictures, so not used, but kept: {which} {'; '.join(unused)}")


def _chosen_trigger(settings: CaptionSettings) -> str:
    words = settings.own_words.strip() if settings.trigger == OWN_WORDS else settings.trigger
    if not words:
        raise BadInput("The trigger is empty because own_words is. Write the words for the person, or choose a trigger from the list.")
    return words


@dataclass
class Attributes:
    """trigger: of the whole set. rows: per picture gender and age in words, or None where no face was found. pictures: what is
    known about each, its main face with attributes."""

    trigger: str
    rows: list[dict[str, str] | None]
    pictures: list[Picture]


@dataclass
class AttributeReader:
    """FairFace on the main face of each picture, summed over the pictures."""

    detector: Detector | str
    attributes: FaceAttributes

    def read(
        self, images: list[torch.Tensor], names: list[str], known: Faces | None, limits: tuple[float, float], policy: NoFace
    ) -> Attributes:
        """Attributes of pictures [H, W, 3]. A picture without a face does not count, or raises FaceNotFound if the policy is Stop."""
        found = find_faces(images, self.detector, known, names)
        faces = {index: face for index, picture in enumerate(found.pictures) if (face := main_face(picture.faces))}
        missing = [name for index, name in enumerate(names) if index not in faces]
        if missing and (policy is NoFace.STOP or len(missing) == len(images)):
            raise FaceNotFound(
                f"No face was found in {', '.join(missing)} ({len(missing)} of {len(images)}), so age and gender cannot be read there. "
                "Set no_face to Skip, choose another detector, or choose the trigger yourself."
            )
        judged = self._judged(images, faces)
        pictures = updated(found.pictures, {index: with_face(found.pictures[index], faces[index], face) for index, face in judged.items()})
        attributes = {index: face.attributes for index, face in judged.items() if face.attributes is not None}
        trigger = captions.trigger_of(*captions.summed(attributes.values()), limits)
        rows = [_in_words(attributes[index]) if index in attributes else None for index in range(len(images))]
        return Attributes(trigger, rows, pictures)

    def _judged(self, images: list[torch.Tensor], faces: dict[int, Face]) -> dict[int, Face]:
        """`faces`, by the index of their picture in `images`, with their attributes; those that are known stay as they are."""
        wanted = [index for index, face in faces.items() if not face.attributes]
        predicted = self.attributes.predict([align112(images[index], faces[index].five) for index in wanted])
        return faces | {index: replace(faces[index], attributes=found) for index, found in zip(wanted, predicted)}


def open_attribute_reader(detector: Detector | str) -> AttributeReader:
    """Raises WeightsError."""
    return AttributeReader(detector, FaceAttributes(models.open_network("fairface")))


def open_tagger() -> Tagger:
    """Raises WeightsError."""
    return Tagger(models.open_network("deepdanbooru"), load.tags(load.find("deepdanbooru")))


def picture_tags(tagger: Tagger, images: list[torch.Tensor], threshold: float) -> list[list[str]]:
    """The tags of each picture that do not describe the person, ready for a prompt."""
    return [
        [captions.escaped(tag) for tag in captions.without_identity(captions.chosen_tags(tags, threshold))]
        for tags in tagger.tags(images, threshold)
    ]


def _in_words(attributes: Mapping[str, np.ndarray]) -> dict[str, str]:
    return {"gender": GENDERS[int(np.argmax(attributes["gender"]))], "age": AGES[int(np.argmax(attributes["age"]))]}
