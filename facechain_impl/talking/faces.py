"""Which face of a picture is meant, and its 68 landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch

from ..perception.detection import Detector
from ..perception.faces import find_faces
from ..perception.landmarks98 import Landmarks98, to_68
from ..types import Face, Faces, Origin
from .landmarks import from_five, landmarks_68

FIVE_NOTE = "its five points were spread over a schematic face of 68 landmarks"


class Order(str, Enum):
    """How the faces of a picture are counted."""

    LARGEST = "Largest first"
    SCORE = "Surest first"
    LEFT = "From the left"


@dataclass
class Portrait:
    """A picture, RGB uint8 [H, W, 3], and 68 landmarks float32 [68, 2] of the face in it. source: where they come from."""

    pixels: np.ndarray
    landmarks: np.ndarray
    source: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


class FaceFinder:
    """Finds the face to animate.

    detector: or its choice as a word. landmarks: the 98-point network, or None to spread the detector's five points over a
    schematic face. known: faces that replace both for the pictures in which they were found.
    """

    def __init__(
        self,
        detector: Detector | str,
        landmarks: Landmarks98 | None = None,
        known: Faces | None = None,
        order: Order = Order.LARGEST,
        number: int = 1,
    ):
        self.detector, self.landmarks, self.known = detector, landmarks, known
        self.order, self.number = order, number
        self.stand_ins: tuple[str, ...] = ()

    def portrait(self, image: torch.Tensor) -> Portrait | None:
        """The face of `image`, float RGB [H, W, 3] in 0..1, or None where it has not as many faces. Raises BadInput, WeightsError."""
        reused = self.known.of(image) if self.known else None
        faces = self.faces(image)
        if len(faces) < self.number:
            return None
        face = ordered(faces, self.order)[self.number - 1]
        if reused is None and self.landmarks:
            landmarks, source = self._found(image, face), "98-point network"
        elif reused is None:
            landmarks, source = from_five(face.points), "five points"
        else:
            landmarks, source = landmarks_68(face)
        return Portrait(levels(image), landmarks, source)

    def faces(self, image: torch.Tensor) -> list[Face]:
        found = find_faces([image], self.detector, self.known)
        self._note(*found.stand_ins)
        return found.pictures[0].faces

    def points(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Five points [5, 2] of every face in RGB uint8 [H, W, 3], without what is known of other pictures."""
        found = find_faces([torch.from_numpy(pixels).float() / 255], self.detector)
        self._note(*found.stand_ins)
        return [np.asarray(face.points, np.float64) for face in found.pictures[0].faces]

    def anonymous(self) -> FaceFinder:
        """The same for other pictures, in which the largest face is meant."""
        return FaceFinder(self.detector, self.landmarks)

    def _found(self, image: torch.Tensor, face: Face) -> np.ndarray:
        if self.landmarks.origin is Origin.STAND_IN:
            self._note("sadtalker_fan")
        return to_68(self.landmarks.find(image, face))

    def _note(self, *names: str) -> None:
        self.stand_ins = tuple(dict.fromkeys((*self.stand_ins, *names)))


def ordered(faces: list[Face], order: Order) -> list[Face]:
    keys = {Order.LARGEST: lambda face: -face.area, Order.SCORE: lambda face: -face.score, Order.LEFT: lambda face: face.box[0]}
    return sorted(faces, key=keys[order])


def levels(image: torch.Tensor) -> np.ndarray:
    """float [H, W, 3] in 0..1 -> uint8."""
    return (image.detach().float() * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
