"""Sources of the 70 landmarks of faces in crops: the host's face mesh, or the 98-point network of the talking head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from ...geometry.pixels import size_of, to_bytes
from ...host.protocols import FaceDetectionModel, FaceLandmarks, MeshFace
from ...perception import landmarks98
from ...perception.detection import Detector, from_landmarks
from ...perception.landmarks import mesh_to_70, wflw_to_70
from ...types import Face


class Landmarker(Protocol):
    """Something that finds the 70 points [70, 2] of given faces, or None where it finds no face. `name` is shown in the report."""

    name: str

    def find(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]: ...


class MediaPipe:
    """The host's face landmarker, as its loader gives it on FACE_DETECTION_MODEL."""

    name = "MediaPipe"

    def __init__(self, model: FaceDetectionModel):
        self._model = model

    def find(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]:
        found = self._model.detect_batch([to_bytes(image) for image in images], num_faces=0, score_thresh=0.5, variant="full")
        return [self._of(face, meshes) for face, meshes in zip(faces, found)]

    def _of(self, face: Face, meshes: list[MeshFace]) -> np.ndarray | None:
        """The mesh of `face`: the one with the largest overlap, None without any."""
        overlaps = [_overlap(face.box, mesh["bbox_xyxy"]) for mesh in meshes]
        if not overlaps or max(overlaps) <= 0:
            return None
        return mesh_to_70(np.asarray(meshes[int(np.argmax(overlaps))]["landmarks_xy"], np.float64))


class Landmarks98:
    """The landmark network of the talking head; it knows the pupils too."""

    name = "98-point network"

    def __init__(self, network: landmarks98.Landmarks98):
        self._network = network

    def find(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]:
        found = [self._network.find(image, face) for image, face in zip(images, faces)]
        return [wflw_to_70(points) for points in found]


class MeshDetector(Detector):
    """Faces as the host's landmarker finds them, in any picture."""

    name = "MediaPipe"

    def __init__(self, model: FaceDetectionModel):
        self._model = model

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        meshes = self._model.detect_batch([to_bytes(image) for image in images], num_faces=0, score_thresh=0.5, variant="full")
        frames: list[FaceLandmarks] = [{"frames": [faces], "image_size": size_of(image)} for faces, image in zip(meshes, images)]
        return from_landmarks(frames, images).detect(images)


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    return float(np.prod(np.clip(high - low, 0, None)))
