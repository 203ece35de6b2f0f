"""Selected faces of a picture: by place, size, or likeness to a person."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..errors import BadInput, FaceNotFound
from ..perception.recognition import FaceRecognition, cosine_similarity, with_embeddings
from ..types import Face, Faces, NoFace, Picture, Report, Status, updated

LEFT, RIGHT, TOP, LARGE, SURE, LIKE = (
    "Left to right", "Right to left", "Top to bottom", "Largest first", "Surest first", "Most like the reference",
)  # fmt: skip
ORDERS = {
    LEFT: lambda face: float(face.box[0] + face.box[2]),
    RIGHT: lambda face: -float(face.box[0] + face.box[2]),
    TOP: lambda face: float(face.box[1] + face.box[3]),
    LARGE: lambda face: -face.area,
    SURE: lambda face: -face.score,
}


@dataclass(frozen=True, kw_only=True)
class PickRule:
    """first: 1 for the first in that order. count: 0 for all from there. Sizes are of the face's longer side, 0 for no limit."""

    order: str = LEFT
    first: int = 1
    count: int = 0
    min_size: int = 0
    max_size: int = 0
    min_likeness: float = -1.0

    @property
    def needs_reference(self) -> bool:
        return self.order == LIKE or self.min_likeness > -1

    def keeps(self, face: Face) -> bool:
        longer = max(face.width, face.height)
        return longer >= self.min_size and (not self.max_size or longer <= self.max_size)


def embedded(faces: Faces, images: list[torch.Tensor], recognition: FaceRecognition) -> Faces:
    """`faces` with the embeddings of all that have five points. Raises BadInput when a picture they need is missing."""
    pixels = {id(picture): image for image in images if (picture := faces.of(image)) is not None}
    return replace(faces, pictures=tuple(_embedded(picture, pixels.get(id(picture)), recognition) for picture in faces.pictures))


def _embedded(picture: Picture, image: torch.Tensor | None, recognition: FaceRecognition) -> Picture:
    wanted = [index for index, face in enumerate(picture.faces) if face.embedding is None and face.points is not None]
    if not wanted:
        return picture
    if image is None:
        raise BadInput(f"Likeness needs the pixels of {picture.name or 'a picture'}. Connect the pictures to images.")
    found = with_embeddings(recognition, [image] * len(wanted), [picture.faces[index] for index in wanted])
    return replace(picture, faces=tuple(updated(picture.faces, dict(zip(wanted, found)))))


def pick(faces: Faces, rule: PickRule, reference: np.ndarray | None, policy: NoFace, report: Report) -> Faces:
    """The chosen faces of every picture, in the chosen order; one row of `report` per face. Raises FaceNotFound according to `policy`."""
    if rule.needs_reference and reference is None:
        raise BadInput("Likeness needs a reference: connect a picture or a person, or choose another order.")
    pictures = tuple(replace(picture, faces=tuple(_picked(picture, rule, reference, report))) for picture in faces.pictures)
    bare = [picture.name for picture in pictures if not picture.faces]
    if bare and policy is NoFace.STOP:
        raise FaceNotFound(f"No face is left in: {', '.join(bare)}.\n{report.text()}\nLoosen the limits, or set no_face to Skip.")
    return replace(faces, pictures=pictures)


def _picked(picture: Picture, rule: PickRule, reference: np.ndarray | None, report: Report) -> list[Face]:
    likeness = {id(face): _likeness(face, reference) for face in picture.faces}
    order = ORDERS.get(rule.order, lambda face: -likeness[id(face)])
    ranked = sorted(picture.faces, key=order)
    fitting = [face for face in ranked if rule.keeps(face) and (not rule.needs_reference or likeness[id(face)] >= rule.min_likeness)]
    last = rule.first - 1 + rule.count if rule.count else None
    kept = fitting[rule.first - 1 : last]
    for face in ranked:
        status = Status.PICKED if any(face is other for other in kept) else Status.LEFT_OUT
        values: dict[str, float] = {
            "size": round(max(face.width, face.height)),
            "x": round(float(face.box[0])),
            "y": round(float(face.box[1])),
        }
        if reference is not None:
            values["likeness"] = likeness[id(face)]
        report.add(picture.name, status, "" if status is Status.PICKED else _why(face, rule, likeness[id(face)]), **values)
    return kept


def _likeness(face: Face, reference: np.ndarray | None) -> float:
    """The cosine with `reference`, -1 for a face without an embedding."""
    return cosine_similarity(face.embedding, reference) if reference is not None and face.embedding is not None else -1.0


def _why(face: Face, rule: PickRule, likeness: float) -> str:
    if not rule.keeps(face):
        return "its size is outside the limits"
    if rule.needs_reference and likeness < rule.min_likeness:
        return f"likeness below {rule.min_likeness:g}"
    return "not among the first"
