"""The control pictures drawn from landmarks, five points and OpenPose joints."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.host import pose_drawing
from facechain_impl.perception.landmarks import SCHEMATIC_FACE, eye_centres, five_points
from facechain_impl.portrait.inpaint import control_pictures
from facechain_impl.types import Face


def control68():
    """68 points of a face around the origin, about 15 wide."""
    return SCHEMATIC_FACE * 3.5


def with_pupils(points):
    """68 points and the middles of the eyes."""
    return np.concatenate([points, eye_centres(points)])


def test_a_face_is_white_dots_of_seven_pixels():
    points = with_pupils(control68() * 14 + 256)
    control = control_pictures.face_control(points, five_points(points), 512)
    assert set(np.unique(control)) == {0.0, 1.0} and control.shape == (512, 512, 3)
    x, y = points[8].astype(int)
    column = control[y - 6 : y + 7, x, 0]
    assert column.sum() == 7 and column[3:10].all()
    for x, y in points.astype(int):
        assert control[y, x].eq(1).all()


def test_without_landmarks_the_head_is_drawn_from_five_points():
    five = np.array([[200.0, 220.0], [300.0, 220.0], [250.0, 270.0], [210.0, 320.0], [290.0, 320.0]])
    control = control_pictures.face_control(None, five, 512)
    joints = pose_drawing.drawer().colors
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
    body = control_pictures.body_of(frame, Face(np.array([60.0, 50, 140, 130]), 0.9), matrix)
    assert body.joints[0].tolist() == [150.0, 160.0, 0.9] and body.joints[1].tolist() == [150.0, 280.0, 0.9]
    assert body.hands.shape == (2, 21, 3)


@pytest.mark.parametrize("people", [[], [person((390, 290))], [person((100, 90), score=0.1)]])
def test_a_pose_without_the_persons_head_is_refused(people):
    with pytest.raises(BadInput, match="no head is on the face"):
        control_pictures.body_of({"people": people}, Face(np.array([60.0, 50, 140, 130]), 0.9), np.eye(3))


def test_a_pose_of_another_format_is_refused():
    with pytest.raises(BadInput, match="25 points in pose_keypoints_2d"):
        control_pictures.body_of({"people": [{"pose_keypoints_2d": [0.0] * 75}]}, Face(np.array([0.0, 0, 9, 9]), 0.9), np.eye(3))


def test_an_empty_control_picture_is_an_error():
    points = with_pupils(control68() * 10 + 5000)
    with pytest.raises(BadInput, match="would be empty"):
        control_pictures.face_control(points, five_points(points), 512)


def test_controls_of_other_sizes_are_the_same_drawing_resized():
    points = with_pupils(control68() * 14 + 256)
    large = control_pictures.face_control(points, five_points(points), 512)
    small = control_pictures.face_control(points / 4, five_points(points) / 4, 128)
    assert small.shape == (128, 128, 3)
    pooled = torch.nn.functional.avg_pool2d(large.permute(2, 0, 1)[None], 4)[0].permute(1, 2, 0)
    assert (small - pooled).abs().mean() < 0.02
