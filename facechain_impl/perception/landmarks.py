"""Facial landmarks: every scheme used here, and the conversions.

Points are [N, 2] in pixels of a picture, "left" meaning left in the picture. The schemes, by their number of points:

- 5: left eye, right eye, tip of the nose, left and right corner of the mouth. From face detectors.
- 68: iBUG 300-W, also dlib's. Outline of the jaw from left to right, brows from left to right, ridge of the nose down to its tip,
  lower edge of the nose, both eyes and both edges of the lips, each clockwise from its left corner.
- 70: the 68, then the pupil left in the picture and the one right in it. OpenPose's face, which pose ControlNets were trained on.
- 98: WFLW, finer along the outline, with pupils at 96 and 97.
- 468 and 478: MediaPipe's face mesh without and with the ten points of the irises.

Which vertex of the mesh is which of the 68 points is proved in tests/perception/test_landmarks.py against MediaPipe's canonical face.
"""

from __future__ import annotations

import numpy as np

from ..geometry.affine import similarity_transform, transform_points
from ..types import Face

GIVEN, FIVE_POINTS = "given landmarks", "five points"
CONTROL_POINTS = 70
MESH, MESH_WITH_IRISES = 468, 478

# the parts of the 68
JAW, LEFT_BROW, RIGHT_BROW, NOSE = slice(0, 17), slice(17, 22), slice(22, 27), slice(27, 36)
LEFT_EYE, RIGHT_EYE, LIPS = slice(36, 42), slice(42, 48), slice(48, 68)
NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH = 30, 48, 54
LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS = [36, 39], [42, 45]

# 68 vertices of MediaPipe's mesh in the order of the 68 points
MESH_TO_68 = np.array([
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 1, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
])  # fmt: skip
MESH_PUPILS = [468, 473]

# 68 from 98: each landmark is one point, or the mean of two
WFLW_TO_68 = [
    *((2 * i,) for i in range(17)),
    *[(33,), (34, 41), (35, 40), (36, 39), (37, 38), (42, 50), (43, 49), (44, 48), (45, 47), (46,)],
    *((i,) for i in range(51, 60)),
    *((i,) for i in (60, 61, 63, 64, 65, 67, 68, 69, 71, 72, 73, 75)),
    *((i,) for i in range(76, 96)),
]
WFLW_PUPILS = [96, 97]
_FIRST, _SECOND = (np.array([entry[side] for entry in WFLW_TO_68]) for side in (0, -1))

# a schematic face: the eyes 2 apart around the origin, y downwards
_JAW = [(-2.2 * np.cos(t), 0.3 + 2.9 * np.sin(t)) for t in np.linspace(0, np.pi, 17)]
_BROW = [(-0.75, -0.5), (-0.45, -0.75), (-0.05, -0.8), (0.35, -0.7), (0.7, -0.55)]
_NOSE = [(0, 0.0), (0, 0.35), (0, 0.7), (0, 1.05), (-0.4, 1.3), (-0.2, 1.38), (0, 1.42), (0.2, 1.38), (0.4, 1.3)]
_EYE = [(-0.4, 0.0), (-0.15, -0.15), (0.15, -0.15), (0.4, 0.0), (0.15, 0.12), (-0.15, 0.12)]
_LIPS = [(-1, 0), (-0.6, -0.22), (-0.25, -0.32), (0, -0.27), (0.25, -0.32), (0.6, -0.22)]
_LIPS += [(1, 0), (0.6, 0.3), (0.25, 0.42), (0, 0.44), (-0.25, 0.42), (-0.6, 0.3)]
_LIPS += [(-0.8, 0.02), (-0.25, -0.05), (0, -0.03), (0.25, -0.05), (0.8, 0.02), (0.25, 0.08), (0, 0.1), (-0.25, 0.08)]
SCHEMATIC_FACE = np.concatenate([
    _JAW, np.array(_BROW) + [-1, 0], np.array(_BROW)[::-1] * [-1, 1] + [1, 0], _NOSE,
    np.array(_EYE) + [-1, 0], np.array(_EYE) + [1, 0], np.array(_LIPS) * 0.85 + [0, 2.0],
])  # fmt: skip
SCHEMATIC_FIVE = np.array([(-1, 0), (1, 0), (0, 1.05), (-0.85, 2.0), (0.85, 2.0)])
_MOVED_BY = ((LEFT_EYE, 0), (LEFT_BROW, 0), (RIGHT_EYE, 1), (RIGHT_BROW, 1), (NOSE, 2))


def eye_centres(points: np.ndarray) -> np.ndarray:
    """The centres [2, 2] of both eyes of 68 or 70 landmarks: the means of their outlines."""
    return np.stack([points[LEFT_EYE].mean(0), points[RIGHT_EYE].mean(0)])


def five_points(points: np.ndarray) -> np.ndarray:
    """Eyes, nose and corners of the mouth [5, 2] of 68 or 70 landmarks. An eye is the mean of its outline."""
    return np.concatenate([eye_centres(points), points[[NOSE_TIP, LEFT_MOUTH, RIGHT_MOUTH]]])


def five_points_by_corners(points: np.ndarray) -> np.ndarray:
    """Like `five_points`, but an eye is the middle of its corners, which closing it does not move (Deep3DFaceRecon's template)."""
    left, right = points[LEFT_EYE_CORNERS].mean(0), points[RIGHT_EYE_CORNERS].mean(0)
    return np.stack([left, right, points[NOSE_TIP], points[LEFT_MOUTH], points[RIGHT_MOUTH]])


def mesh_to_68(points: np.ndarray) -> np.ndarray:
    """The 68 landmarks [68, 2] of MediaPipe's mesh [468 or 478, 2]."""
    return points[MESH_TO_68]


def mesh_to_70(points: np.ndarray) -> np.ndarray:
    """The 70 landmarks [70, 2] of MediaPipe's mesh with irises [478, 2]."""
    return points[[*MESH_TO_68, *MESH_PUPILS]]


def wflw_to_68(points: np.ndarray) -> np.ndarray:
    """Landmarks [98, 2] as float32 [68, 2]."""
    return ((points[_FIRST] + points[_SECOND]) / 2).astype(np.float32)


def wflw_to_70(points: np.ndarray) -> np.ndarray:
    """Landmarks [98, 2] as [70, 2], the network's own pupils among them."""
    return np.concatenate([wflw_to_68(points), points[WFLW_PUPILS]])


def landmarks_68(face: Face) -> tuple[np.ndarray, str]:
    """float32 [68, 2] and their source: GIVEN where the face has landmarks of a known scheme, else FIVE_POINTS."""
    count = 0 if face.landmarks is None else len(face.landmarks)
    if count in (68, CONTROL_POINTS):
        return np.asarray(face.landmarks, np.float32)[:68], GIVEN
    if count == 98:
        return wflw_to_68(np.asarray(face.landmarks, np.float64)), GIVEN
    if count in (MESH, MESH_WITH_IRISES):
        return mesh_to_68(np.asarray(face.landmarks, np.float32)), GIVEN
    return five_to_68(face.five), FIVE_POINTS


def five_to_68(points: np.ndarray) -> np.ndarray:
    """68 landmarks float32 [68, 2] of a schematic face whose eyes, nose tip and mouth corners are exactly at `points` [5, 2].

    The schematic face is turned and scaled to the five points; then every part is moved to its point. The crop and the alignment to
    the 3-D template use nothing but eyes, nose tip and mouth corners, so the other landmarks only complete the set."""
    points = np.asarray(points, np.float64)
    matrix = similarity_transform(SCHEMATIC_FIVE, points)
    placed = transform_points(SCHEMATIC_FACE, matrix)
    off = points - transform_points(SCHEMATIC_FIVE, matrix)
    for part, index in _MOVED_BY:
        placed[part] += off[index]
    across = (SCHEMATIC_FACE[LIPS, :1] / SCHEMATIC_FIVE[4, 0] + 1) / 2  # 0 at the left corner of the mouth, 1 at the right one
    placed[LIPS] += (1 - across) * off[3] + across * off[4]
    return placed.astype(np.float32)
