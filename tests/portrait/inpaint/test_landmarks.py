"""Landmarks mapped to the 70 points of the pose ControlNets, and the control pictures drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.host import pose_drawing
from facechain_impl.portrait.inpaint import landmarks
from facechain_impl.types import Face

# x to the right and y up of MediaPipe's canonical face (mediapipe, canonical_face_model.obj, Apache-2.0)
CANONICAL = {
    0: (0.00, -3.41), 1: (0.00, -1.13), 2: (0.00, -2.09), 5: (0.00, 0.37), 13: (0.00, -3.99), 14: (0.00, -4.54), 17: (0.00,
    -5.37), 33: (-4.45, 2.66), 37: (-0.71, -3.33), 39: (-1.43, -3.50), 58: (-6.72, -4.79), 61: (-2.46, -4.34), 63: (-4.99, 4.80),
    66: (-2.76, 5.10), 70: (-5.72, 4.25), 78: (-2.15, -4.28), 81: (-1.02, -3.99), 84: (-0.70, -5.29), 93: (-7.54, -1.05), 97:
    (-0.60, -2.01), 98: (-1.41, -1.71), 105: (-3.99, 5.11), 107: (-1.40, 5.01), 127: (-7.74, 2.36), 132: (-7.27, -2.89), 133:
    (-1.86, 2.59), 136: (-5.09, -7.18), 144: (-3.67, 2.36), 149: (-3.21, -8.53), 152: (0.00, -9.40), 153: (-2.72, 2.32), 158:
    (-2.72, 2.96), 160: (-3.67, 2.93), 168: (0.00, 3.27), 176: (-2.31, -8.97), 178: (-1.10, -4.46), 181: (-1.33, -5.11), 197:
    (0.00, 1.73), 234: (-7.66, 0.67), 263: (4.45, 2.66), 267: (0.71, -3.33), 269: (1.43, -3.50), 288: (6.72, -4.79), 291: (2.46,
    -4.34), 293: (4.99, 4.80), 296: (2.76, 5.10), 300: (5.72, 4.25), 308: (2.15, -4.28), 311: (1.02, -3.99), 314: (0.70, -5.29),
    323: (7.54, -1.05), 326: (0.60, -2.01), 327: (1.41, -1.71), 334: (3.99, 5.11), 336: (1.40, 5.01), 356: (7.74, 2.36), 361:
    (7.27, -2.89), 362: (1.86, 2.59), 365: (5.09, -7.18), 373: (3.67, 2.36), 378: (3.21, -8.53), 380: (2.72, 2.32), 385: (2.72,
    2.96), 387: (3.67, 2.93), 400: (2.31, -8.97), 402: (1.10, -4.46), 405: (1.33, -5.11), 454: (7.66, 0.67),
}  # fmt: skip
MIRROR = [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
          54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]  # fmt: skip


def canonical68():
    return np.array([CANONICAL[vertex] for vertex in landmarks.MEDIAPIPE[:68]]) * [1, -1]


def mesh(scale=10.0, centre=(256.0, 256.0)):
    """478 points of which those that matter are the canonical face, pupils included."""
    points = np.zeros((478, 2))
    for vertex, (x, y) in CANONICAL.items():
        points[vertex] = (x * scale + centre[0], -y * scale + centre[1])
    points[468], points[473] = points[[33, 133]].mean(0), points[[362, 263]].mean(0)
    return points


def test_the_mapped_face_is_its_own_mirror_image():
    points = canonical68()
    assert np.abs(points[MIRROR] * [-1, 1] - points).max() < 0.02


def test_every_part_of_the_mapped_face_is_where_the_68_points_have_it():
    p = canonical68()
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


def test_five_points_of_the_landmarks():
    five = landmarks.five_of(landmarks.with_pupils(canonical68()))
    assert five.shape == (5, 2)
    assert five[0, 0] < 0 < five[1, 0] and five[3, 0] < 0 < five[4, 0] and five[:2, 1].max() < five[2, 1] < five[3:, 1].min()


def test_pupils_without_a_source_are_the_middle_of_the_eyes():
    points = landmarks.with_pupils(canonical68())
    assert points.shape == (70, 2)
    assert np.allclose(points[68], points[36:42].mean(0)) and np.allclose(points[69], points[42:48].mean(0))


class Recorder:
    def __init__(self, meshes):
        self.meshes, self.seen = meshes, []

    def detect_batch(self, images, num_faces, score_thresh, variant):
        self.seen += images
        return self.meshes


def test_mediapipe_takes_the_mesh_that_lies_on_the_face():
    here, there = mesh(centre=(100.0, 100.0)), mesh(centre=(300.0, 100.0))
    meshes = [{"bbox_xyxy": np.array([230.0, 20, 370, 200]), "landmarks_xy": there}]
    meshes.append({"bbox_xyxy": np.array([30.0, 20, 170, 200]), "landmarks_xy": here})
    model = Recorder([meshes])
    found = landmarks.MediaPipe(model).find([torch.full((256, 400, 3), 0.5)], [Face(np.array([40.0, 30, 160, 190]), 0.9)])
    assert np.array_equal(found[0], here[landmarks.MEDIAPIPE])
    assert model.seen[0].dtype == np.uint8 and (model.seen[0] == 128).all()


def test_mediapipe_sees_nothing_where_no_mesh_meets_the_face():
    model = Recorder([[{"bbox_xyxy": np.array([200.0, 0, 300, 90]), "landmarks_xy": mesh()}], []])
    faces = [Face(np.array([0.0, 0, 50, 50]), 0.9)] * 2
    assert landmarks.MediaPipe(model).find([torch.zeros(300, 300, 3)] * 2, faces) == [None, None]


def test_a_face_is_white_dots_of_seven_pixels():
    points = landmarks.with_pupils(canonical68() * 14 + 256)
    control = landmarks.face_control(points, landmarks.five_of(points), 512)
    assert set(np.unique(control)) == {0.0, 1.0} and control.shape == (512, 512, 3)
    x, y = points[8].astype(int)
    column = control[y - 6 : y + 7, x, 0]
    assert column.sum() == 7 and column[3:10].all()
    for x, y in points.astype(int):
        assert control[y, x].eq(1).all()


def test_without_landmarks_the_head_is_drawn_from_five_points():
    five = np.array([[200.0, 220.0], [300.0, 220.0], [250.0, 270.0], [210.0, 320.0], [290.0, 320.0]])
    control = landmarks.face_control(None, five, 512)
    joints = pose_drawing.KeypointDraw().colors
    for point, joint in ((five[0], 14), (five[1], 15), (five[2], 0)):
        assert (control[int(point[1]), int(point[0])] * 255).round().int().tolist() == joints[joint]
    middle = control[245, 225] * 255
    assert middle.max() > 0 and middle.max() <= 153


def test_limbs_are_darker_than_joints_as_in_the_training_pictures():
    body = np.zeros((18, 3))
    body[1], body[2] = (256, 100, 1), (156, 100, 1)
    canvas = pose_drawing.draw(512, body)
    assert canvas[100, 200].tolist() == [153, 0, 0]
    assert canvas[100, 256].tolist() == [255, 85, 0] and canvas[100, 156].tolist() == [255, 170, 0]
    assert canvas[104, 256].any() and not canvas[106, 256].any()


def test_hands_are_drawn_and_unsure_points_are_not():
    hands = np.zeros((2, 21, 3))
    hands[1, 4] = (50, 60, 0.9)
    hands[1, 8] = (90, 60, 0.2)
    canvas = pose_drawing.draw(512, None, hands)
    assert canvas[60, 50].tolist() == [0, 0, 255] and not canvas[60, 90].any()


def person(nose, score=0.9):
    joints = np.zeros((18, 3))
    joints[0] = (*nose, score)
    joints[1] = (nose[0], nose[1] + 60, score)
    return {"pose_keypoints_2d": joints.ravel().tolist(), "face_keypoints_2d": [0.0] * 210, "hand_left_keypoints_2d": [0.0] * 63}


def test_the_body_of_a_face_is_the_person_whose_head_is_there():
    frame = {"canvas_width": 400, "canvas_height": 300, "people": [person((300, 80)), person((100, 90))]}
    matrix = np.array([[2.0, 0, -50], [0, 2.0, -20], [0, 0, 1]])
    body = landmarks.body_of(frame, Face(np.array([60.0, 50, 140, 130]), 0.9), matrix)
    assert body.joints[0].tolist() == [150.0, 160.0, 0.9] and body.joints[1].tolist() == [150.0, 280.0, 0.9]
    assert body.hands.shape == (2, 21, 3)


@pytest.mark.parametrize("people", [[], [person((390, 290))], [person((100, 90), score=0.1)]])
def test_a_pose_without_the_persons_head_is_refused(people):
    with pytest.raises(BadInput, match="nobody's head"):
        landmarks.body_of({"people": people}, Face(np.array([60.0, 50, 140, 130]), 0.9), np.eye(3))


def test_a_pose_of_another_format_is_refused():
    with pytest.raises(BadInput, match="25 points in pose_keypoints_2d"):
        landmarks.body_of({"people": [{"pose_keypoints_2d": [0.0] * 75}]}, Face(np.array([0.0, 0, 9, 9]), 0.9), np.eye(3))


def test_an_empty_control_picture_is_an_error():
    points = landmarks.with_pupils(canonical68() * 10 + 5000)
    with pytest.raises(BadInput, match="would be empty"):
        landmarks.face_control(points, landmarks.five_of(points), 512)


def test_controls_of_other_sizes_are_the_same_drawing_resized():
    points = landmarks.with_pupils(canonical68() * 14 + 256)
    large = landmarks.face_control(points, landmarks.five_of(points), 512)
    small = landmarks.face_control(points / 4, landmarks.five_of(points) / 4, 128)
    assert small.shape == (128, 128, 3)
    pooled = torch.nn.functional.avg_pool2d(large.permute(2, 0, 1)[None], 4)[0].permute(1, 2, 0)
    assert (small - pooled).abs().mean() < 0.02
