"""Faces of a list of pictures: found once, reused for equal pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..geometry.pixels import size_of
from ..picture_names import nth
from ..types import Face, Faces, Picture, digest_of
from .detection import Detector, open_detector

# Training pictures with a second face are used only when the first is this many times as large.
MAIN_FACE_RATIO = 4.0


def find_faces(images: list[torch.Tensor], detector: Detector | str, known: Faces | None = None, names: list[str] | None = None) -> Faces:
    """The faces of `images` (each [H, W, 3] in 0..1), in their order, with `names`, known names, or numbers.

    `known` faces are reused for their pictures. A detector given by its choice is opened only when some
    picture is not known. Raises BadInput when `known` belongs to pictures of other sizes, WeightsError from the detector.
    """
    given = [known.of(image) if known is not None else None for image in images]
    pictures = {index: picture for index, picture in enumerate(given) if picture is not None}
    missing = [index for index, picture in enumerate(given) if picture is None]
    if missing:
        detector = open_detector(detector) if isinstance(detector, str) else detector
        for index, faces in zip(missing, detector.detect([images[index] for index in missing])):
            pictures[index] = Picture(tuple(faces), size_of(images[index]), digest_of(images[index]), detector=detector.name)
    found = [pictures[index] for index in range(len(images))]
    names = names or [picture.name or nth("picture", index) for index, picture in enumerate(found)]
    return Faces(tuple(replace(picture, name=name) for picture, name in zip(found, names)))


def known_names(images: list[torch.Tensor], known: Faces | None, what: str = "picture") -> list[str]:
    """What `known` calls each of `images`, or its number. Raises BadInput when `known` belongs to pictures of other sizes."""
    pictures = [known.of(image) if known is not None else None for image in images]
    return [picture.name if picture and picture.name else nth(what, index) for index, picture in enumerate(pictures)]


def with_face(picture: Picture, old: Face, new: Face) -> Picture:
    """`picture` with its face `old` replaced by `new`."""
    return replace(picture, faces=tuple(new if face is old else face for face in picture.faces))


def enriched(known: Faces | None, pictures: Sequence[Picture]) -> Faces:
    """`known`, with the entries of `pictures` replacing those of equal pixels; new ones are appended."""
    before = known or Faces(())
    found = {picture.digest: picture for picture in pictures}
    crops = tuple(found.pop(picture.digest, picture) for picture in before.crops)
    old = tuple(found.pop(picture.digest, picture) for picture in before.pictures)
    return Faces((*old, *found.values()), crops)


def largest(faces: Sequence[Face], ratio: float | None = None) -> Face | None:
    """The face of the largest area, the last of equals. With `ratio` only when it is at least that many times as large as the next,
    else None."""
    ordered = sorted(faces, key=lambda face: face.area)[::-1]
    if not ordered or (ratio and len(ordered) > 1 and ordered[0].area < ratio * ordered[1].area):
        return None
    return ordered[0]


def large_enough(faces: Sequence[Face], side: float = 10.0) -> list[Face]:
    """`faces` whose box is at least `side` pixels wide and high; the alignment to 112 pixels ignores others."""
    return [face for face in faces if face.width >= side and face.height >= side]


def left_to_right(faces: Sequence[Face]) -> list[Face]:
    """`faces` by their left edges, the upper of two first."""
    return sorted(faces, key=lambda face: (float(face.box[0]), float(face.box[1])))


def main_face(faces: Sequence[Face]) -> Face | None:
    """The largest face that can be aligned to 112 pixels, or None."""
    return largest([face for face in large_enough(faces) if face.points is not None])
