"""Facial landmarks as the pose ControlNets know them, from whatever can find them, and the control pictures made of them.

The pose ControlNets were trained on 70 points of a face: the 68 of the iBUG scheme, then the pupil left in the picture and the
one right in it. Where a source has no pupils they are the middle of the eyes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from ...errors import BadInput
from ...geometry import affine
from ...host import pose_drawing
from ...perception import landmarks98
from ...perception.detection import Detector, from_landmarks
from ...types import Face

POINTS = 70
CANVAS = 512

# Vertices of the MediaPipe face mesh in the order of the 70 points: jaw, brows, nose, eyes, outer and inner lips, pupils.
MEDIAPIPE = np.array([
    127, 234, 93, 132, 58, 136, 149, 176, 152, 400, 378, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 1, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 81, 13, 311, 308, 402, 14, 178,
    468, 473,
])  # fmt: skip

_LEFT_EYE, _RIGHT_EYE = slice(36, 42), slice(42, 48)
_NOSE_TIP, _LEFT_MOUTH, _RIGHT_MOUTH = 30, 48, 54
_PUPILS_98 = [96, 97]
# OpenPose body joints: nose, and the eyes of the person, whose right one is left in the picture
_NOSE, _RIGHT_EYE_JOINT, _LEFT_EYE_JOINT = 0, 14, 15


class Landmarker(Protocol):
    """Something that finds the 70 points [70, 2] of given faces, or None where it sees no face. `name` goes into the report."""

    name: str

    def find(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]: ...


class MediaPipe:
    """The host's face landmarker, as its loader gives it on FACE_DETECTION_MODEL."""

    name = "MediaPipe"

    def __init__(self, model):
        self._model = model

    def find(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]:
        found = self._model.detect_batch([_bytes(image) for image in images], num_faces=0, score_thresh=0.5, variant="full")
        return [self._of(face, meshes) for face, meshes in zip(faces, found)]

    def _of(self, face: Face, meshes: list[dict]) -> np.ndarray | None:
        """The mesh that lies on `face`: the one with the largest overlap, none where the boxes do not meet."""
        overlaps = [_overlap(face.box, mesh["bbox_xyxy"]) for mesh in meshes]
        if not overlaps or max(overlaps) <= 0:
            return None
        return np.asarray(meshes[int(np.argmax(overlaps))]["landmarks_xy"], np.float64)[MEDIAPIPE]


class Landmarks98:
    """The landmark network of the talking head; it knows the pupils too."""

    name = "98-point network"

    def __init__(self, network: landmarks98.Landmarks98):
        self._network = network

    def find(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]:
        found = [self._network.find(image, face) for image, face in zip(images, faces)]
        return [np.concatenate([landmarks98.to_68(points), points[_PUPILS_98]]) for points in found]


class MeshDetector(Detector):
    """Faces as the host's landmarker finds them, in any picture."""

    name = "MediaPipe"

    def __init__(self, model):
        self._model = model

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        meshes = self._model.detect_batch([_bytes(image) for image in images], num_faces=0, score_thresh=0.5, variant="full")
        sizes = [tuple(image.shape[:2]) for image in images]
        frames = [{"frames": [faces], "image_size": size} for faces, size in zip(meshes, sizes)]
        return from_landmarks(frames, images).detect(images)


def with_pupils(points: np.ndarray) -> np.ndarray:
    """68 points [68, 2] with the middles of the eyes as pupils: [70, 2]."""
    return np.concatenate([points[:68], [points[_LEFT_EYE].mean(0), points[_RIGHT_EYE].mean(0)]])


def five_of(points: np.ndarray) -> np.ndarray:
    """Eyes, nose and corners of the mouth [5, 2] of 68 or 70 landmarks."""
    eyes = [points[_LEFT_EYE].mean(0), points[_RIGHT_EYE].mean(0)]
    return np.stack([*eyes, points[_NOSE_TIP], points[_LEFT_MOUTH], points[_RIGHT_MOUTH]])


def face_control(landmarks: np.ndarray | None, five: np.ndarray, size: int, body: Body | None = None) -> torch.Tensor:
    """The control picture [size, size, 3] of a face: its dots, or head joints from `five` points where there are no landmarks.

    Points are in pixels of the crop of `size`. `body` adds the person's joints and hands. Raises BadInput when nothing of it
    lies in the picture, because an empty control picture steers nothing.
    """
    scale = CANVAS / size
    joints, hands = (body.joints, body.hands) if body else (None, None)
    dots = None
    if landmarks is not None:
        dots = _scored(landmarks * scale)
    elif joints is None:
        joints = _head(five * scale)
    return _picture(pose_drawing.draw(CANVAS, joints, hands, dots), size)


class Body:
    """One person of a POSE_KEYPOINT frame, moved into a crop drawn at `CANVAS` pixels. joints [18, 3], hands [2, 21, 3]."""

    def __init__(self, person: dict, matrix: np.ndarray):
        self.joints = _points(person, "pose_keypoints_2d", pose_drawing.BODY, matrix)
        right, left = (_points(person, f"hand_{side}_keypoints_2d", pose_drawing.HAND, matrix) for side in ("right", "left"))
        self.hands = np.stack([right, left])


def body_of(frame: dict, face: Face, matrix: np.ndarray) -> Body:
    """The person of `frame` whose nose or eyes lie nearest to `face`. `matrix` moves the picture to the crop at `CANVAS` pixels.

    Raises BadInput when nobody's head is on the face."""
    centre = (face.box[:2] + face.box[2:]) / 2
    reach = max(face.width, face.height)
    best, nearest = None, np.inf
    for person in frame.get("people", []):
        joints = _points(person, "pose_keypoints_2d", pose_drawing.BODY, np.eye(3))
        head = joints[[_NOSE, _RIGHT_EYE_JOINT, _LEFT_EYE_JOINT]]
        seen = head[head[:, 2] >= 0.3, :2]
        distance = float(np.linalg.norm(seen.mean(0) - centre)) if len(seen) else np.inf
        if distance < nearest:
            best, nearest = person, distance
    if best is None or nearest > reach:
        people = len(frame.get("people", []))
        raise BadInput(
            f"The connected pose holds {people} people, and nobody's head lies on the face at {face.box.round().tolist()}. "
            "Make the pose from this very picture, with all its people, or disconnect it."
        )
    return Body(best, matrix)


def _points(person: dict, key: str, count: int, matrix: np.ndarray) -> np.ndarray:
    flat = np.asarray(person.get(key) or np.zeros(3 * count), np.float64).reshape(-1, 3)
    if len(flat) != count:
        raise BadInput(f"The connected pose has {len(flat)} points in {key}; the OpenPose format has {count}.")
    return np.column_stack([affine.transform_points(flat[:, :2], matrix), flat[:, 2]])


def _head(five: np.ndarray) -> np.ndarray:
    joints = np.zeros((pose_drawing.BODY, 3))
    joints[[_RIGHT_EYE_JOINT, _LEFT_EYE_JOINT, _NOSE], :2] = five[:3]
    joints[[_RIGHT_EYE_JOINT, _LEFT_EYE_JOINT, _NOSE], 2] = 1.0
    return joints


def _scored(points: np.ndarray) -> np.ndarray:
    return np.column_stack([points, np.isfinite(points).all(1)])


def _picture(canvas: np.ndarray, size: int) -> torch.Tensor:
    if not canvas.any():
        raise BadInput(
            "The control picture of a face would be empty: none of its landmarks or joints lies in the crop. "
            "Connect a pose made from this very picture, or disconnect the pose."
        )
    if size != CANVAS:
        canvas = np.asarray(Image.fromarray(canvas).resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(canvas.astype(np.float32) / 255)


def _bytes(image: torch.Tensor) -> np.ndarray:
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    return float(np.prod(np.clip(high - low, 0, None)))
