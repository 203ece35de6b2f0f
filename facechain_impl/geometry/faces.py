"""Faces moved along with their pictures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..types import Face
from .affine import ARCFACE_112, similarity_transform, transform_points

# A face's extent, in distances between the eyes: half width, half height, and how far its centre is below the eyes.
HALF_WIDTH, HALF_HEIGHT, CENTRE_BELOW = 1.02, 1.43, 0.36
EYE_DISTANCE = float(np.linalg.norm(ARCFACE_112[1] - ARCFACE_112[0]))


def box_around(eyes: np.ndarray, unit: float) -> np.ndarray:
    """The box float32 [4] of an elliptic face with these `eyes` [2, 2], `unit` pixels apart when it looks at the camera."""
    right = (eyes[1] - eyes[0]) / np.linalg.norm(eyes[1] - eyes[0])
    down = np.array([-right[1], right[0]])
    centre = eyes.mean(0) + CENTRE_BELOW * unit * down
    half = unit * np.hypot(HALF_WIDTH * right, HALF_HEIGHT * down)
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def moved(face: Face, matrix: np.ndarray) -> Face:
    """`face` after its picture went through `matrix` [2, 3] or [3, 3]; masks, which stay where they are, are left behind.

    The box is exact for shifts, scalings and quarter turns. After other turns it is that of the landmarks, or of a face
    with these five points, where they are known.
    """
    if np.array_equal(matrix[:2], np.eye(2, 3)):
        return replace(face)
    points = None if face.points is None else transform_points(face.points, matrix).astype(np.float32)
    landmarks = None if face.landmarks is None else transform_points(face.landmarks, matrix).astype(np.float32)
    box = _moved_box(face.box, matrix)
    if min(abs(matrix[0, 0]), abs(matrix[0, 1])) > 1e-6 * abs(matrix[:2, :2]).max():
        box = _box_of(points, landmarks, box)
    return replace(face, box=box, points=points, landmarks=landmarks, masks={}, crop_transform=None)


def _moved_box(box: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    corners = transform_points(np.asarray(box)[[0, 1, 2, 1, 0, 3, 2, 3]].reshape(4, 2), matrix)
    return np.concatenate([corners.min(0), corners.max(0)]).astype(np.float32)


def _box_of(points: np.ndarray | None, landmarks: np.ndarray | None, box: np.ndarray) -> np.ndarray:
    if landmarks is not None:
        return np.concatenate([landmarks.min(0), landmarks.max(0)])
    if points is None:
        return box
    scale = np.sqrt(abs(np.linalg.det(similarity_transform(ARCFACE_112, points)[:, :2])))
    return box_around(points[:2].astype(np.float64), scale * EYE_DISTANCE)
