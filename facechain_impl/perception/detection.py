"""Face detectors: pictures in, boxes and five points out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import cv2
import numpy as np
import torch

from ..errors import BadInput, WeightsError
from ..geometry.affine import ARCFACE_112, similarity_transform, transform_points
from ..geometry.faces import box_around
from ..geometry.pixels import to_bytes
from ..host.memory import ManagedModel
from ..host.progress import check_interrupt
from ..host.protocols import FaceLandmarks, MeshFace
from ..networks.damofd import ANCHORS, STRIDES, DamoFD, Maps
from ..picture_names import nth
from ..types import Face, digest_of
from . import haar
from .batching import max_batch
from .landmarks import five_points_by_corners, mesh_to_68
from .models import open_network

BUILT_IN, DAMOFD, MEDIAPIPE = "Built-in", "DamoFD", "MediaPipe landmarks"
CHOICES = (BUILT_IN, DAMOFD, MEDIAPIPE)

NO_CASCADES = (
    "The built-in face detector runs on cascades, which OpenCV {version} on this machine lacks: OpenCV 4 and the contrib builds of 5 have "
    f"them. Choose the detector {DAMOFD!r} (python run.py models get damofd), or {MEDIAPIPE!r} with ComfyUI's node Detect Face Landmarks. "
    "To a node without that choice connect the faces that Find Faces found so. Or install a version below 5 of the OpenCV package that is "
    "here."
)

# The usual distance between the eyes, in sides of the square that a cascade calls a face.
SQUARE_TO_EYES = 0.368


class Detector(ABC):
    """Finds faces. `name` is shown to the user.

    `redetects_after_rotation`: whether a rotated photo is searched again. Else the faces found before are rotated with it.
    """

    name: str
    redetects_after_rotation = True

    @abstractmethod
    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        """The faces of each picture [H, W, 3] in 0..1, best score first, with box, score and points in its pixels."""


def open_detector(choice: str) -> Detector:
    """The detector that the user chose, "Built-in" or "DamoFD". Raises WeightsError when it cannot work on this machine."""
    if choice == BUILT_IN:
        return BuiltInDetector()
    if choice == DAMOFD:
        return DamoFDDetector(open_network("damofd"))
    raise BadInput(f"There is no face detector {choice!r}; choose {BUILT_IN!r} or {DAMOFD!r}.")


def choose_detector(choice: str, landmarks: list[FaceLandmarks], images: list[torch.Tensor]) -> Detector:
    """Like `open_detector`, with the faces that the host's MediaPipe node found in `images` as a third choice. Raises BadInput."""
    if choice != MEDIAPIPE:
        return open_detector(choice)
    if not landmarks:
        raise BadInput(
            f"The detector is set to {MEDIAPIPE!r}, but nothing is connected to landmarks. Connect the host's node Detect Face Landmarks "
            f"(MediaPipe), fed with the same pictures, or choose {BUILT_IN!r}."
        )
    return from_landmarks(landmarks, images)


class BuiltInDetector(Detector):
    """OpenCV's cascades. Eyes are detected; nose and mouth are placed where faces have them."""

    name = BUILT_IN
    redetects_after_rotation = False

    def __init__(self) -> None:
        if not haar.can_run():
            raise WeightsError(NO_CASCADES.format(version=cv2.__version__))
        self._cascades = haar.HaarFaces()

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        return [self._faces(image) for image in images]

    def _faces(self, image: torch.Tensor) -> list[Face]:
        check_interrupt()
        pixels = to_bytes(image)
        seen = self._cascades.find(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
        return [_face_from_eyes(face.eyes, face.side, face.score) for face in seen]


def _face_from_eyes(eyes: np.ndarray, side: float, score: float) -> Face:
    """A face from its eyes [2, 2] and the side of its cascade's square."""
    points = transform_points(ARCFACE_112, similarity_transform(ARCFACE_112[:2], eyes))
    return Face(box_around(eyes, SQUARE_TO_EYES * side), float(score), points.astype(np.float32))


class DamoFDDetector(Detector):
    """DamoFD-0.5G. On a GPU several pictures at once, each letterboxed to 640 x 640."""

    name = DAMOFD
    SIDE = 640

    def __init__(self, managed: ManagedModel[DamoFD], threshold: float = 0.3, overlap: float = 0.45):
        self._managed, self._threshold, self._overlap = managed, threshold, overlap
        self._count = max_batch(8, managed.device)

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        faces = []
        for start in range(0, len(images), self._count):
            check_interrupt()
            faces += self._batch(images[start : start + self._count])
        return faces

    def _batch(self, images: list[torch.Tensor]) -> list[list[Face]]:
        canvases = [self.prepare(image) for image in images]
        network = self._managed.load()
        maps = network(torch.stack([canvas for canvas, _, _ in canvases]).to(self._managed.device))
        maps = [Maps(*(part.float().cpu() for part in level)) for level in maps]
        return [
            self._decode([Maps(*(part[i] for part in level)) for level in maps], size, scale) for i, (_, size, scale) in enumerate(canvases)
        ]

    def prepare(self, image: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int], np.ndarray]:
        """(network input [3, 640, 640], (height, width) of the picture on it, scale in x and y)."""
        height, width = image.shape[:2]
        ratio = self.SIDE / max(height, width)
        size = max(int(height * ratio + 0.5), 1), max(int(width * ratio + 0.5), 1)
        pixels = image.detach().cpu().float().numpy() * 255
        small = cv2.resize(pixels, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        canvas = torch.zeros(3, self.SIDE, self.SIDE)
        canvas[:, : size[0], : size[1]] = torch.from_numpy((small - 127.5) / 128).permute(2, 0, 1)
        return canvas, size, np.array([size[1] / width, size[0] / height], np.float32)

    def _decode(self, maps: list[Maps], size: tuple[int, int], scale: np.ndarray) -> list[Face]:
        rows = torch.cat([decode(level, stride, self._threshold) for level, stride in zip(maps, STRIDES)]).numpy()
        boxes = rows[:, 1:5].reshape(-1, 2, 2).clip(0, [size[1], size[0]])
        inside = (boxes[:, 1] > boxes[:, 0]).all(1)
        scores, boxes = rows[inside, 0], (boxes[inside] / scale).reshape(-1, 4).astype(np.float32)
        points = (rows[inside, 5:].reshape(-1, 5, 2) / scale).astype(np.float32)
        return [Face(boxes[i], float(scores[i]), points[i]) for i in nms(boxes, scores, self._overlap)]


def decode(level: Maps, stride: int, threshold: float) -> torch.Tensor:
    """Rows [M, 15] of score, box and points above `threshold`, in pixels of the network's input, from maps [C, H, W] of one stride."""
    rows, columns = level.scores.shape[1:]
    places = torch.stack(torch.meshgrid(torch.arange(columns), torch.arange(rows), indexing="xy"), -1) * stride
    centres = places.reshape(-1, 1, 2).expand(-1, ANCHORS, 2).reshape(-1, 2).float()
    scores = level.scores.permute(1, 2, 0).reshape(-1).sigmoid()
    keep = scores > threshold
    centres = centres[keep]
    distances = level.distances.permute(1, 2, 0).reshape(-1, 4)[keep] * stride
    points = level.points.permute(1, 2, 0).reshape(-1, 5, 2)[keep] * stride + centres[:, None]
    boxes = torch.cat([centres - distances[:, :2], centres + distances[:, 2:]], 1)
    return torch.cat([scores[keep, None], boxes, points.flatten(1)], 1)


def nms(boxes: np.ndarray, scores: np.ndarray, overlap: float, border: float = 0.0) -> list[int]:
    """Indices of `boxes` [N, 4] to keep, best score first: none overlaps a better one by more than `overlap` (intersection over union).

    `border` is added to widths and heights, as in networks that count pixels including both ends."""
    order = np.argsort(-scores, kind="stable")
    areas = (boxes[:, 2] - boxes[:, 0] + border) * (boxes[:, 3] - boxes[:, 1] + border)
    keep = []
    while order.size:
        best, rest = order[0], order[1:]
        keep.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[rest, :2])
        high = np.minimum(boxes[best, 2:], boxes[rest, 2:])
        shared = np.prod(np.maximum(high - low + border, 0), 1)
        order = rest[shared <= overlap * (areas[best] + areas[rest] - shared)]
    return keep


class Mesh(NamedTuple):
    """One entry of the host's FACE_LANDMARKS: `frames` of faces and the (height, width) that they were found in."""

    faces: list[MeshFace]
    size: tuple[int, int]


def from_landmarks(face_landmarks: list[FaceLandmarks] | FaceLandmarks, images: list[torch.Tensor]) -> Detector:
    """A detector for `images` only: the faces that the host's MediaPipe node found in them, in the same order.

    Raises BadInput when the landmarks are not of these pictures."""
    given = face_landmarks if isinstance(face_landmarks, list) else [face_landmarks]
    meshes = [Mesh(faces, (one["image_size"][0], one["image_size"][1])) for one in given for faces in one["frames"]]
    if len(meshes) != len(images):
        raise BadInput(
            f"face_landmarks is for {len(meshes)} pictures, images has {len(images)}. Connect the pictures in which they were found."
        )
    for index, (mesh, image) in enumerate(zip(meshes, images)):
        if mesh.size != tuple(image.shape[:2]):
            raise BadInput(
                f"The landmarks of {nth('picture', index)} were found in {mesh.size[1]}x{mesh.size[0]} pixels, "
                f"the picture has {image.shape[1]}x{image.shape[0]}. Connect the picture in which they were found."
            )
    return LandmarkDetector({digest_of(image): mesh.faces for mesh, image in zip(meshes, images)})


class LandmarkDetector(Detector):
    """Faces of known pictures, by the digest of their pixels. Other pictures have none."""

    name = MEDIAPIPE
    redetects_after_rotation = False

    def __init__(self, faces: dict[str, list[MeshFace]]):
        self._faces = faces

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        found = [[_face_from_mesh(face) for face in self._faces.get(digest_of(image), [])] for image in images]
        return [sorted(faces, key=lambda face: -face.score) for faces in found]


def _face_from_mesh(face: MeshFace) -> Face:
    landmarks = np.asarray(face["landmarks_xy"], np.float32)
    points = five_points_by_corners(mesh_to_68(landmarks))
    return Face(np.asarray(face["bbox_xyxy"], np.float32), float(face["score"]), points, landmarks)
