"""Control pictures for pose ControlNets: a face's 70 landmarks as dots, or OpenPose joints of head, body and hands."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ...errors import BadInput
from ...geometry import affine
from ...host import pose_drawing
from ...host.protocols import PoseFrame, PosePerson
from ...types import Face

CANVAS = 512

# OpenPose body joints: nose, and the eyes of the person, whose right eye is left in the picture
_NOSE, _RIGHT_EYE_JOINT, _LEFT_EYE_JOINT = 0, 14, 15


def face_control(landmarks: np.ndarray | None, five: np.ndarray, size: int, body: Body | None = None) -> torch.Tensor:
    """The control picture [size, size, 3] of a face: its dots, or head joints from `five` points where there are no landmarks.

    Points are in pixels of the crop of `size`. `body` adds the person's joints and hands. Raises BadInput when none of it
    is in the picture, because an empty control picture has no effect.
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

    def __init__(self, person: PosePerson, matrix: np.ndarray):
        self.joints = _points(person, "pose_keypoints_2d", pose_drawing.BODY, matrix)
        right, left = (_points(person, f"hand_{side}_keypoints_2d", pose_drawing.HAND, matrix) for side in ("right", "left"))
        self.hands = np.stack([right, left])


def body_of(frame: PoseFrame, face: Face, matrix: np.ndarray) -> Body:
    """The person of `frame` whose nose or eyes are nearest to `face`. `matrix` moves the picture to the crop at `CANVAS` pixels.

    Raises BadInput when no head is on the face."""
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
            f"The connected pose holds {people} people, and no head is on the face at {face.box.round().tolist()}. "
            "Make the pose from this picture, with all its people, or disconnect it."
        )
    return Body(best, matrix)


def _points(person: PosePerson, key: str, count: int, matrix: np.ndarray) -> np.ndarray:
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
            "The control picture of a face would be empty: none of its landmarks or joints is in the crop. "
            "Connect a pose made from this picture, or disconnect the pose."
        )
    if size != CANVAS:
        canvas = np.asarray(Image.fromarray(canvas).resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(canvas.astype(np.float32) / 255)
