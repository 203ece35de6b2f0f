"""Pictures in order of their likeness to a face: cosine of RTS embeddings, with FaceChain's filters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..errors import BadInput, FaceNotFound
from ..geometry.affine import align112
from ..geometry.pixels import check_all
from ..perception import models
from ..perception.detection import Detector
from ..perception.faces import enriched, find_faces, main_face, with_face
from ..perception.quality import FaceQuality
from ..perception.recognition import FaceRecognition, cosine_similarity, vector_of, with_embeddings
from ..picture_names import nth, numbered
from ..types import Face, Faces, NoFace, Person, Picture, Report, Status, updated

SIZE_RANGE = (120.0, 300.0)
"""Longer side of a face, in pixels of a 512 portrait, that upstream accepts; both ends excluded."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """one_face: refuse pictures with more than one. size: refuse a face whose longer side is not inside; None accepts all."""

    one_face: bool = True
    size: tuple[float, float] | None = SIZE_RANGE

    def reason(self, faces: Sequence[Face], face: Face) -> str:
        """Why a picture with these faces, of which `face` counts, is refused; empty when it is not."""
        if self.one_face and len(faces) != 1:
            return f"{len(faces)} faces instead of one"
        side = max(face.width, face.height)
        if self.size and not self.size[0] < side < self.size[1]:
            return f"the face measures {side:.0f} px instead of {self.size[0]:g} to {self.size[1]:g}"
        return ""


@dataclass
class Candidate:
    """One picture. score: cosine with the reference, None where there is no face. reason: why it is not ranked."""

    index: int
    picture: Picture
    face: Face | None = None
    score: float | None = None
    reason: str = ""

    @property
    def ranked(self) -> bool:
        return not self.reason

    def values(self) -> dict[str, object]:
        side = round(max(self.face.width, self.face.height)) if self.face else None
        uncertainty = self.face.uncertainty if self.face else None
        return {"score": self.score, "uncertainty": uncertainty, "faces": len(self.picture.faces), "face px": side}


@dataclass
class Ranking:
    """kept: the output, best first, then unranked pictures. dropped: the rest."""

    kept: list[Candidate]
    dropped: list[Candidate]

    def keep_best(self, count: int) -> None:
        """Leave out all ranked pictures after the first `count`; 0 keeps all."""
        ranked = [one for one in self.kept if one.ranked]
        for one in ranked[count:] if count else ():
            one.reason = f"not among the best {count}"
            self.kept.remove(one)
            self.dropped.append(one)

    def scores(self) -> list[float]:
        return [math.nan if one.score is None else one.score for one in self.kept]

    def fill(self, report: Report) -> None:
        for place, one in enumerate(self.kept, 1):
            if one.ranked:
                report.add(one.picture.name, Status.RANKED, "", place=place, **one.values())
            else:
                report.add(one.picture.name, Status.PASSED_THROUGH, one.reason, **one.values())
        for one in self.dropped:
            report.add(one.picture.name, Status.LEFT_OUT, one.reason, **one.values())

    def faces(self) -> Faces:
        return Faces(tuple(one.picture for one in self.kept))


@dataclass
class Reference:
    """The face that pictures are compared with. vector: float32 [512] of length 1. note: which one it is. faces: what is known about
    the reference pictures now."""

    vector: np.ndarray
    note: str
    faces: Faces = field(default_factory=lambda: Faces(()))


@dataclass
class Ranker:
    """Finds, embeds and compares. quality: opens the network that rates reference faces; with None the first face is used."""

    detector: Detector | str
    recognition: FaceRecognition
    quality: Callable[[], FaceQuality] | None = None

    def reference(self, images: list[torch.Tensor], known: Faces | None) -> Reference:
        """The best face of the reference pictures [H, W, 3]; without pictures, of `known`. Raises FaceNotFound, BadInput."""
        if not images:
            return _embedded_reference(known)
        check_all(images, numbered("reference", images))
        found = find_faces(images, self.detector, known).pictures
        faces = {index: face for index, picture in enumerate(found) if (face := main_face(picture.faces))}
        if not faces:
            raise FaceNotFound(
                f"No face was found in the reference ({len(images)} pictures). Connect a photo that shows the face, or another detector."
            )
        judged = self._judged(images, faces)
        index = max(judged, key=lambda one: _quality(judged[one])) if judged is not faces else next(iter(faces))
        (best,) = with_embeddings(self.recognition, [images[index]], [judged[index]])
        pictures = [with_face(found[i], face, best if i == index else judged[i]) for i, face in faces.items()]
        quality = f", quality {best.quality:.3f}" if judged is not faces else ""
        note = f"Compared with {found[index].name}, {nth('reference', index)} of {len(images)}{quality}."
        return Reference(vector_of(best), note, enriched(known, updated(found, dict(zip(faces, pictures)))))

    def person(self, person: Person) -> Reference:
        """The face on a person's photo, or the embedding that was stored where there is none."""
        if person.photo is not None:
            found = self.reference([person.photo], None)
            return replace(found, note=f"Compared with the photo of {person.name}.")
        if person.embedding is None:
            raise BadInput(f"{person.name} was stored without a face to compare with. Connect a reference picture instead.")
        return Reference(person.embedding, f"Compared with the stored face of {person.name}.")

    def _judged(self, images: list[torch.Tensor], faces: dict[int, Face]) -> dict[int, Face]:
        """`faces` with their quality, or unchanged where there is nothing to choose."""
        if self.quality is None or len(faces) == 1:
            return faces
        unknown = [index for index, face in faces.items() if face.quality is None]
        scores = self.quality().score([align112(images[index], faces[index].five) for index in unknown]) if unknown else []
        return faces | {index: replace(faces[index], quality=score) for index, score in zip(unknown, scores)}

    def rank(self, images: list[torch.Tensor], known: Faces | None, reference: Reference, filters: Filters, policy: NoFace) -> Ranking:
        """Pictures [H, W, 3] sorted by likeness. Raises FaceNotFound where the policy says so, or when nothing is left."""
        check_all(images, numbered("picture", images))
        found = find_faces(images, self.detector, known).pictures
        candidates = [_candidate(index, picture, filters) for index, picture in enumerate(found)]
        faced = [(one, one.face) for one in candidates if one.face]
        embedded = with_embeddings(self.recognition, [images[one.index] for one, _ in faced], [face for _, face in faced])
        for (one, before), face in zip(faced, embedded):
            one.picture, one.face = with_face(one.picture, before, face), face
            one.score = cosine_similarity(vector_of(face), reference.vector)
        return _sorted(candidates, policy)


def open_ranker(detector: Detector | str, by_quality: bool) -> Ranker:
    """A ranker with the published networks. Raises WeightsError."""

    def quality() -> FaceQuality:
        return FaceQuality(models.open_session("fqa"))

    return Ranker(detector, FaceRecognition(models.open_network("rts")), quality if by_quality else None)


def _candidate(index: int, picture: Picture, filters: Filters) -> Candidate:
    face = main_face(picture.faces)
    return Candidate(index, picture, face, reason=filters.reason(picture.faces, face) if face else "no face found")


def _embedded_reference(known: Faces | None) -> Reference:
    """The face of highest quality among those that already have an embedding."""
    faces = [face for picture in (known.pictures if known else ()) for face in picture.faces if face.embedding is not None]
    if known is None or not faces:
        raise BadInput("There is nothing to compare with: connect a reference picture, a person, or faces that were recognised before.")
    best = max(faces, key=_quality)
    return Reference(vector_of(best), f"Compared with one of {len(faces)} connected faces.", known)


def _quality(face: Face) -> float:
    return -math.inf if face.quality is None else face.quality


def _sorted(candidates: list[Candidate], policy: NoFace) -> Ranking:
    ranked = sorted((one for one in candidates if one.ranked), key=lambda one: math.inf if one.score is None else -one.score)
    others = [one for one in candidates if not one.ranked]
    faceless = [one for one in others if one.face is None]
    if policy is NoFace.PASS:
        return Ranking(ranked + others, [])
    if (policy is NoFace.STOP and faceless) or not ranked:
        reasons = "; ".join(f"{one.picture.name}: {one.reason}" for one in (faceless if ranked else others))
        raise FaceNotFound(
            f"{len(ranked)} of {len(candidates)} pictures can be ranked. {reasons}. "
            "Set no_face to Skip or Pass through, or change the filters."
        )
    return Ranking(ranked, others)
