"""The chosen face of a picture and its 68 landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
import torch

from ..geometry.pixels import size_of, to_bytes
from ..host.protocols import FaceLandmarks
from ..perception import detection
from ..perception.detection import Detector, open_detector
from ..perception.landmarks import FIVE_POINTS, five_to_68, landmarks_68, wflw_to_68
from ..perception.landmarks98 import Landmarks98
from ..perception.models import open_network
from ..perception.retinaface import FACEXLIB, RetinaFace
from ..types import Faces, Picture, digest_of

RETINAFACE = "RetinaFace"
DETECTORS = (RETINAFACE, detection.BUILT_IN, detection.DAMOFD)
NETWORK = "98-point network"
LANDMARKS = (NETWORK, FIVE_POINTS)


class Order(str, Enum):
    """How the faces of a picture are counted."""

    LARGEST = "Largest first"
    SCORE = "Surest first"
    LEFT = "From the left"


KEYS = {Order.LARGEST: lambda face: -face.area, Order.SCORE: lambda face: -face.score, Order.LEFT: lambda face: face.box[0]}


@dataclass
class Portrait:
    """A picture, RGB uint8 [H, W, 3], and 68 landmarks float32 [68, 2] of its face. source: where they come from."""

    pixels: np.ndarray
    landmarks: np.ndarray
    source: str

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.pixels.shape[1], self.pixels.shape[0]


class FaceFinder:
    """Finds the face to animate. Networks are opened on first use.

    detector, landmarks: one of DETECTORS and of LANDMARKS; with FIVE_POINTS a schematic face is fitted to the detector's points.
    known: faces that replace both for the pictures in which they were found.
    """

    def __init__(self, detector: str, landmarks: str, known: Faces | None = None, order: Order = Order.LARGEST, number: int = 1):
        self.choice, self.landmarks, self.known = detector, landmarks, known
        self.order, self.number = order, number

    @cached_property
    def detector(self) -> Detector:
        if self.choice != RETINAFACE:
            return open_detector(self.choice)
        return RetinaFace(open_network("sadtalker_retinaface"), bgr=True, rules=FACEXLIB)

    @cached_property
    def network(self) -> Landmarks98:
        return Landmarks98(open_network("sadtalker_fan"))

    def portrait(self, image: torch.Tensor) -> Portrait | None:
        """The face of `image`, float RGB [H, W, 3] in 0..1, or None where it has fewer faces. Raises BadInput, WeightsError."""
        known = self.known.of(image) if self.known else None
        faces = known.faces if known else self.detector.detect([image])[0]
        if len(faces) < self.number:
            return None
        face = sorted(faces, key=KEYS[self.order])[self.number - 1]
        if known:
            return Portrait(to_bytes(image), *landmarks_68(face))
        if self.landmarks == NETWORK:
            return Portrait(to_bytes(image), wflw_to_68(self.network.find(image, face)), NETWORK)
        return Portrait(to_bytes(image), five_to_68(face.five), FIVE_POINTS)

    def points(self, pixels: np.ndarray) -> list[np.ndarray]:
        """Five points [5, 2] of every face in RGB uint8 [H, W, 3]."""
        faces = self.detector.detect([torch.from_numpy(pixels).float() / 255])[0]
        return [np.asarray(face.five, np.float64) for face in faces]

    def of_other_pictures(self) -> FaceFinder:
        """The same for other pictures, without known faces; the largest face is used."""
        return FaceFinder(self.choice, self.landmarks)


def from_face_landmarks(face_landmarks: FaceLandmarks, image: torch.Tensor) -> Faces:
    """The faces of the host's MediaPipe node in `image`. Raises BadInput when they belong to another picture."""
    detector = detection.from_landmarks(face_landmarks, [image])
    faces = detector.detect([image])[0]
    return Faces((Picture(tuple(faces), size_of(image), digest_of(image), detector=detector.name),))
