"""Landmark schemes: which vertex of MediaPipe's mesh is which of the 68 points, and the ways between schemes.

Two tables were in use that differed at seven points. What decides is the shape of MediaPipe's canonical face, the definition of the
68 points (the outline of the jaw in sixteen equal steps) and where those points lie on the average face that dlib aligns to.
"""

from __future__ import annotations

import numpy as np
import pytest

from facechain_impl.perception import landmarks
from facechain_impl.types import Face

# x to the right and y up of MediaPipe's canonical face (mediapipe, canonical_face_model.obj, Apache-2.0)
CANONICAL = {
    0: (0.00, -3.41), 1: (0.00, -1.13), 2: (0.00, -2.09), 4: (0.00, -0.46), 5: (0.00, 0.37), 13: (0.00, -3.99), 14: (0.00,
    -4.54), 17: (0.00, -5.37), 33: (-4.45, 2.66), 37: (-0.71, -3.33), 39: (-1.43, -3.50), 58: (-6.72, -4.79), 61: (-2.46,
    -4.34), 63: (-4.99, 4.80), 66: (-2.76, 5.10), 70: (-5.72, 4.25), 78: (-2.15, -4.28), 81: (-1.02, -3.99), 82: (-0.53, -3.99),
    84: (-0.70, -5.29), 87: (-0.58, -4.52), 93: (-7.54, -1.05), 97: (-0.60, -2.01), 98: (-1.41, -1.71), 105: (-3.99, 5.11), 107:
    (-1.40, 5.01), 127: (-7.74, 2.36), 132: (-7.27, -2.89), 133: (-1.86, 2.59), 136: (-5.09, -7.18), 144: (-3.67, 2.36), 148:
    (-1.29, -9.30), 149: (-3.21, -8.53), 150: (-4.07, -7.99), 152: (0.00, -9.40), 153: (-2.72, 2.32), 158: (-2.72, 2.96), 160:
    (-3.67, 2.93), 168: (0.00, 3.27), 172: (-5.94, -6.22), 176: (-2.31, -8.97), 178: (-1.10, -4.46), 181: (-1.33, -5.11), 197:
    (0.00, 1.73), 234: (-7.66, 0.67), 263: (4.45, 2.66), 267: (0.71, -3.33), 269: (1.43, -3.50), 288: (6.72, -4.79), 291: (2.46,
    -4.34), 293: (4.99, 4.80), 296: (2.76, 5.10), 300: (5.72, 4.25), 308: (2.15, -4.28), 311: (1.02, -3.99), 312: (0.53, -3.99),
    314: (0.70, -5.29), 317: (0.58, -4.52), 323: (7.54, -1.05), 326: (0.60, -2.01), 327: (1.41, -1.71), 334: (3.99, 5.11), 336:
    (1.40, 5.01), 356: (7.74, 2.36), 361: (7.27, -2.89), 362: (1.86, 2.59), 365: (5.09, -7.18), 373: (3.67, 2.36), 377: (1.29,
    -9.30), 378: (3.21, -8.53), 379: (4.07, -7.99), 380: (2.72, 2.32), 385: (2.72, 2.96), 387: (3.67, 2.93), 397: (5.94, -6.22),
    400: (2.31, -8.97), 402: (1.10, -4.46), 405: (1.33, -5.11), 454: (7.66, 0.67),
}  # fmt: skip
# points 17 to 67 of dlib's average face, y down (dlib, get_face_chip_details, Boost licence)
AVERAGE = np.array([
    (0.000, 0.106), (0.075, 0.039), (0.181, 0.019), (0.291, 0.034), (0.393, 0.077), (0.587, 0.077), (0.689, 0.034), (0.799,
    0.019), (0.905, 0.039), (0.980, 0.106), (0.490, 0.203), (0.490, 0.307), (0.490, 0.410), (0.490, 0.516), (0.367, 0.587),
    (0.426, 0.609), (0.490, 0.628), (0.554, 0.609), (0.613, 0.587), (0.122, 0.216), (0.187, 0.179), (0.266, 0.180), (0.335,
    0.232), (0.261, 0.245), (0.183, 0.244), (0.646, 0.232), (0.714, 0.180), (0.793, 0.179), (0.859, 0.216), (0.798, 0.244),
    (0.719, 0.245), (0.254, 0.780), (0.341, 0.745), (0.429, 0.727), (0.490, 0.743), (0.551, 0.727), (0.639, 0.745), (0.726,
    0.780), (0.642, 0.865), (0.557, 0.902), (0.490, 0.909), (0.424, 0.902), (0.338, 0.865), (0.290, 0.785), (0.428, 0.779),
    (0.490, 0.785), (0.552, 0.779), (0.690, 0.785), (0.553, 0.824), (0.490, 0.832), (0.427, 0.824),
])  # fmt: skip
# vertices along the outline of the face, from the left temple down to the chin
OUTLINE = [127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152]
MIRROR = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
          54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]  # fmt: skip
# where the tables of 0.1.0 went apart: point, vertex in the table of inpainting, vertex in the table of the talking portrait
DISPUTED = {6: (149, 150), 10: (378, 379), 30: (1, 4), 61: (81, 82), 63: (311, 312), 65: (402, 317), 67: (178, 87)}


def at(vertices) -> np.ndarray:
    """Vertices of the canonical face, y down."""
    return np.array([CANONICAL[int(vertex)] for vertex in vertices]) * [1, -1]


def table_with(side: int) -> np.ndarray:
    """One of the two tables of 0.1.0."""
    table = landmarks.MESH_TO_68.copy()
    for point, vertices in DISPUTED.items():
        table[point] = vertices[side]
    return table


def asymmetric(table: np.ndarray) -> set[int]:
    """Points whose vertex is not the mirror image of the vertex of the mirrored point."""
    points = at(table)
    off = np.abs(points[MIRROR] * [-1, 1] - points).max(1)
    return set(np.flatnonzero(off > 0.02).tolist())


def off_the_jaw(table: np.ndarray) -> set[int]:
    """Points of the jaw that are not the vertex of the outline nearest to their place, sixteen equal steps from temple to temple."""
    line = at(OUTLINE)
    steps = np.append(0, np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum())
    places = steps / steps[-1] * 8
    wanted = [OUTLINE[np.abs(places - point).argmin()] for point in range(9)]
    mirrored = {vertex: other for vertex in wanted for other in CANONICAL if np.allclose(at([other]) * [-1, 1], at([vertex]), atol=0.02)}
    wanted += [mirrored[vertex] for vertex in reversed(wanted[:8])]
    return {point for point in range(17) if table[point] != wanted[point]}


def farther_than_the_other(table: np.ndarray) -> set[int]:
    """Disputed points whose other vertex is nearer to the average face, laid on the mesh by all the points that nobody disputes."""
    agreed = [point for point in range(17, 68) if point not in DISPUTED]
    places = landmarks.transform_points(
        AVERAGE, landmarks.similarity_transform(AVERAGE[np.array(agreed) - 17], at(landmarks.MESH_TO_68[agreed]))
    )
    found = set()
    for point in (point for point in DISPUTED if point >= 17):
        mine, best = (np.linalg.norm(at(vertices) - places[point - 17], axis=1).min() for vertices in ([table[point]], DISPUTED[point]))
        found |= {point} if mine > best else set()
    return found


def faults(table: np.ndarray) -> set[int]:
    return asymmetric(table) | off_the_jaw(table) | farther_than_the_other(table)


def test_the_table_of_the_mesh_is_right_at_every_point():
    assert faults(landmarks.MESH_TO_68) == set()
    assert len(set(landmarks.MESH_TO_68.tolist())) == 68


@pytest.mark.parametrize(("side", "wrong"), [(0, {6, 10, 61, 63, 65, 67}), (1, {30})])
def test_both_tables_of_before_were_wrong(side, wrong):
    assert faults(table_with(side)) == wrong


@pytest.mark.parametrize("point", range(68))
def test_a_vertex_of_one_side_alone_is_seen(point):
    """Any point moved to another vertex breaks the symmetry, unless both lie on the axis of the face."""
    table = landmarks.MESH_TO_68.copy()
    table[point] = 61 if table[point] != 61 else 78
    assert point in asymmetric(table)


def test_every_point_lies_near_its_place_on_the_average_face():
    points = at(landmarks.MESH_TO_68)[17:]
    places = landmarks.transform_points(AVERAGE, landmarks.similarity_transform(AVERAGE, points))
    between_the_eyes = np.linalg.norm(np.diff(landmarks.eye_centres(at(landmarks.MESH_TO_68)), axis=0))
    assert np.linalg.norm(places - points, axis=1).max() < 0.11 * between_the_eyes


def test_the_ridge_of_the_nose_goes_down_in_equal_steps():
    steps = np.diff(at(landmarks.MESH_TO_68)[27:31, 1])
    assert steps.max() / steps.min() < 1.15


def test_every_part_of_the_mapped_face_is_where_the_68_points_have_it():
    p = at(landmarks.MESH_TO_68)
    x, y = p[:, 0], p[:, 1]
    assert (np.diff(x[:17][1:-1]) > 0).all() and y[8] == y.max() and y[0] < y[1]
    assert (np.diff(x[17:27]) > 0).all() and y[17:27].max() < y[36:48].min()
    assert (np.diff(y[27:31]) > 0).all() and np.abs(x[27:31]).max() < 0.01
    assert (np.diff(x[31:36]) > 0).all() and y[31:36].min() > y[30]
    for eye in (36, 42):
        ring = p[eye : eye + 6]
        assert ring[0, 0] == ring[:, 0].min() and ring[3, 0] == ring[:, 0].max()
        assert ring[[1, 2], 1].max() < ring[[4, 5], 1].min()
    assert p[36:42, 0].max() < 0 < p[42:48, 0].min()
    for first, last in ((48, 54), (60, 64)):
        assert x[first] < 0 < x[last] and (np.diff(x[first : last + 1]) > 0).all()
    assert y[55:60].min() > y[64:68].min() > y[61:64].max() - 0.6 and (np.diff(x[54:60]) < 0).all()
    gaps = np.linalg.norm(np.diff(p[:17], axis=0), axis=1)
    assert gaps.max() < 3 * gaps.min()


@pytest.mark.parametrize("five", [landmarks.five_points, landmarks.five_points_by_corners])
def test_five_points_of_the_landmarks(five):
    five = five(at(landmarks.MESH_TO_68))
    assert five.shape == (5, 2)
    assert five[0, 0] < 0 < five[1, 0] and five[3, 0] < 0 < five[4, 0] and five[:2, 1].max() < five[2, 1] < five[3:, 1].min()


def test_the_corners_of_an_eye_stay_when_it_closes():
    opened = at(landmarks.MESH_TO_68)
    closed = opened.copy()
    closed[[37, 38, 43, 44], 1] += 0.5
    assert np.array_equal(landmarks.five_points_by_corners(closed), landmarks.five_points_by_corners(opened))
    assert landmarks.five_points(closed)[0, 1] > landmarks.five_points(opened)[0, 1]


def test_pupils_come_last():
    mesh, wflw = np.random.default_rng(0).random((478, 2)), np.random.default_rng(1).random((98, 2))
    assert np.array_equal(landmarks.mesh_to_70(mesh)[:68], landmarks.mesh_to_68(mesh))
    assert np.array_equal(landmarks.mesh_to_70(mesh)[68:], mesh[[468, 473]])
    assert landmarks.wflw_to_70(wflw).shape == (70, 2) and np.array_equal(landmarks.wflw_to_70(wflw)[68:], wflw[96:])


FIVE = np.array([[80.0, 100.0], [130.0, 96.0], [108.0, 130.0], [88.0, 160.0], [128.0, 157.0]])


def test_five_points_come_back_exactly_from_the_schematic_face():
    assert np.allclose(landmarks.five_points_by_corners(landmarks.five_to_68(FIVE)), FIVE, atol=1e-3)


def test_the_schematic_face_is_its_own_mirror_image():
    face = landmarks.SCHEMATIC_FACE
    assert face.shape == (68, 2) and np.allclose(face[MIRROR] * [-1, 1], face)


@pytest.mark.parametrize("count", [68, 70, 98, 468, 478])
def test_known_landmarks_are_kept(count):
    dense = np.random.default_rng(1).random((count, 2)).astype(np.float32) * 200
    found, source = landmarks.landmarks_68(Face(np.array([60, 60, 150, 180], np.float32), 1.0, FIVE, dense))
    scheme = {68: lambda points: points, 70: lambda points: points[:68], 98: landmarks.wflw_to_68}
    expected = scheme.get(count, lambda points: points[landmarks.MESH_TO_68])(dense)
    assert source == landmarks.GIVEN and found.dtype == np.float32 and np.array_equal(found, expected)


@pytest.mark.parametrize("dense", [None, np.zeros((106, 2), np.float32)])
def test_without_known_landmarks_the_five_points_are_spread(dense):
    found, source = landmarks.landmarks_68(Face(np.array([60, 60, 150, 180], np.float32), 1.0, FIVE, dense))
    assert source == landmarks.FIVE_POINTS and np.array_equal(found, landmarks.five_to_68(FIVE))
