"""The 68 landmarks of a face from whatever is known about it."""

from __future__ import annotations

import numpy as np

from ..geometry.affine import similarity_transform, transform_points
from ..perception.landmarks98 import to_68
from ..types import Face

GIVEN, FIVE_POINTS = "given landmarks", "five points"
MESH = 468  # points of MediaPipe's mesh; ten more are irises

# dlib's scheme in MediaPipe's mesh
MESH_68 = [
    *(127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
]

# a schematic face: the eyes 2 apart around the origin, y downwards
_JAW = [(-2.2 * np.cos(t), 0.3 + 2.9 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
_BROW = [(-0.75, -0.5), (-0.45, -0.75), (-0.05, -0.8), (0.35, -0.7), (0.7, -0.55)]
_NOSE = [(0, 0.0), (0, 0.35), (0, 0.7), (0, 1.05), (-0.4, 1.3), (-0.2, 1.38), (0, 1.42), (0.2, 1.38), (0.4, 1.3)]
_EYE = [(-0.4, 0.0), (-0.15, -0.15), (0.15, -0.15), (0.4, 0.0), (0.15, 0.12), (-0.15, 0.12)]
_LIPS = [(-1, 0), (-0.6, -0.22), (-0.25, -0.32), (0, -0.27), (0.25, -0.32), (0.6, -0.22)]
_LIPS += [(1, 0), (0.6, 0.3), (0.25, 0.42), (0, 0.44), (-0.25, 0.42), (-0.6, 0.3)]
_LIPS += [(-0.8, 0.02), (-0.25, -0.05), (0, -0.03), (0.25, -0.05), (0.8, 0.02), (0.25, 0.08), (0, 0.1), (-0.25, 0.08)]
_PARTS = {
    "jaw": (slice(0, 17), np.array(_JAW)),
    "left brow": (slice(17, 22), np.array(_BROW) + [-1, 0]),
    "right brow": (slice(22, 27), np.array(_BROW)[::-1] * [-1, 1] + [1, 0]),
    "nose": (slice(27, 36), np.array(_NOSE)),
    "left eye": (slice(36, 42), np.array(_EYE) + [-1, 0]),
    "right eye": (slice(42, 48), np.array(_EYE) + [1, 0]),
    "mouth": (slice(48, 68), np.array(_LIPS) * 0.85 + [0, 2.0]),
}
SCHEMATIC_FACE = np.concatenate([points for _, points in _PARTS.values()])
FIVE = np.array([(-1, 0), (1, 0), (0, 1.05), (-0.85, 2.0), (0.85, 2.0)])
_NEAREST = {"left eye": 0, "left brow": 0, "right eye": 1, "right brow": 1, "nose": 2}


def landmarks_68(face: Face) -> tuple[np.ndarray, str]:
    """float32 [68, 2] and where they come from: GIVEN where the face has them, else FIVE_POINTS."""
    count = 0 if face.landmarks is None else len(face.landmarks)
    if count == 68:
        return np.asarray(face.landmarks, np.float32), GIVEN
    if count == 98:
        return to_68(np.asarray(face.landmarks, np.float64)), GIVEN
    if count >= MESH:
        return np.asarray(face.landmarks, np.float32)[MESH_68], GIVEN
    return from_five(face.points), FIVE_POINTS


def from_five(points: np.ndarray) -> np.ndarray:
    """68 landmarks [68, 2] of a schematic face whose eyes, nose tip and mouth corners lie exactly at `points` [5, 2].

    The schematic face is turned and scaled to the five points; then every part is moved to its own. The crop and the alignment to
    the 3-D template use nothing but eyes, nose tip and mouth corners, so that the other landmarks only complete the picture."""
    points = np.asarray(points, np.float64)
    placed = transform_points(SCHEMATIC_FACE, similarity_transform(FIVE, points))
    off = points - transform_points(FIVE, similarity_transform(FIVE, points))
    for name, index in _NEAREST.items():
        placed[_PARTS[name][0]] += off[index]
    mouth = _PARTS["mouth"][0]
    across = (SCHEMATIC_FACE[mouth, :1] / FIVE[4, 0] + 1) / 2  # 0 at the left corner, 1 at the right one
    placed[mouth] += (1 - across) * off[3] + across * off[4]
    return placed.astype(np.float32)
