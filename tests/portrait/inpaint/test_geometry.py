"""Crops, growing boxes, territories and warping, number by number."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from facechain_impl.geometry import affine
from facechain_impl.portrait.inpaint import geometry
from facechain_impl.portrait.inpaint.geometry import Square

# box -> middle and half side, worked out by hand: longer side / 0.45 / 2, everything cut to whole pixels
SQUARES = [
    ((100.9, 50.2, 190.7, 170.99), (145, 110, 133)),
    ((0.0, 0.0, 9.9, 9.9), (4, 4, 10)),
    ((-20.6, 10.0, 69.4, 55.0), (24, 32, 98)),
    ((300.0, 200.0, 301.0, 201.0), (300, 200, 1)),
]


@pytest.mark.parametrize("box, expected", SQUARES)
def test_the_square_is_the_published_one(box, expected):
    square = geometry.face_square(np.array(box, np.float32))
    assert (square.x, square.y, square.half) == expected


def test_a_square_of_a_face_without_size_is_still_a_square():
    assert geometry.face_square(np.array([5.0, 5.0, 5.0, 5.0])).half == 1


def test_cutting_pads_with_black_on_every_side():
    image = torch.rand(20, 30, 3)
    pixels = geometry.cut(image, Square(28, 3, 6))
    assert pixels.shape == (12, 12, 3)
    assert torch.equal(pixels[3:, :8], image[0:9, 22:30])
    assert not pixels[:3].any() and not pixels[:, 8:].any()


def test_cutting_beyond_the_picture_is_black():
    assert not geometry.cut(torch.ones(10, 10), Square(-50, -50, 4)).any()


def test_resizing_is_what_opencv_does():
    image = torch.rand(33, 47, 3)
    expected = cv2.resize(image.numpy(), (128, 96))
    assert np.abs(geometry.resize(image, 96, 128).numpy() - expected).max() < 1e-5
    assert geometry.resize(image[..., 0], 96, 128).shape == (96, 128)


def test_points_move_with_the_pixels_of_the_crop():
    image = torch.zeros(200, 200)
    image[80:83, 120:123] = 1.0
    square = Square(110, 90, 40)
    crop = geometry.crop(image, square, 160)
    rows, columns = np.nonzero(crop.numpy() > 0.99)
    x, y = affine.transform_points(np.array([[121.0, 81.0]]), square.to_crop(160))[0]
    assert abs(columns.mean() - x) < 0.01 and abs(rows.mean() - y) < 0.01


def test_the_eye_line_is_the_whole_row_between_the_eyes():
    assert geometry.eye_line(np.array([[10.0, 100.9], [50.0, 103.0], [30.0, 130.0]])) == 101


def test_a_lone_face_owns_its_whole_crop():
    assert geometry.territory(np.array([10, 10, 20, 20]), [], (0, 0, 40, 40)).eq(1).all()


def test_the_boxes_of_other_faces_are_not_ours():
    mine = geometry.territory(np.array([10, 10, 20, 20]), [np.array([30.9, 5.0, 50.0, 15.0])], (0, 0, 40, 40))
    assert not mine[5:15, 30:40].any()
    assert mine.sum() == 40 * 40 - 10 * 10


def test_overlapping_faces_share_every_pixel_between_them_once():
    first, second = np.array([10, 10, 30, 30]), np.array([20, 12, 40, 32])
    window = (0, 0, 50, 50)
    mine, yours = geometry.territory(first, [second], window), geometry.territory(second, [first], window)
    overlap = (slice(12, 30), slice(20, 30))
    assert torch.equal(mine[overlap] + yours[overlap], torch.ones(18, 10))
    assert mine[20, 21] == 1 and mine[20, 29] == 0
    assert not mine[12:32, 30:40].any() and not yours[10:30, 10:20].any()


def test_two_boxes_on_one_spot_go_to_the_first():
    box = np.array([10, 10, 20, 20])
    wider = np.array([9, 9, 21, 21])
    assert (
        geometry.territory(box, [wider], (0, 0, 30, 30))[10:20, 10:20].sum()
        + geometry.territory(wider, [box], (0, 0, 30, 30))[10:20, 10:20].sum()
        == 100
    )


def test_territory_looks_the_same_from_outside_the_picture():
    whole = geometry.territory(np.array([5, 5, 15, 15]), [np.array([14, 0, 30, 9])], (-10, -10, 30, 30))
    inside = geometry.territory(np.array([5, 5, 15, 15]), [np.array([14, 0, 30, 9])], (0, 0, 30, 30))
    assert torch.equal(whole[10:, 10:], inside)


def test_the_warped_face_lands_on_the_points_of_the_picture():
    generated = np.array([[60.0, 70.0], [100.0, 66.0], [82.0, 92.0], [66.0, 110.0], [100.0, 107.0]])
    turn = np.array([[0.0, -1.2], [1.2, 0.0]])
    target = generated @ turn.T + [300.0, 40.0]
    matrix = affine.similarity_transform(generated, target)
    assert np.abs(affine.transform_points(generated, matrix) - target).max() < 1e-6
    mask = torch.zeros(160, 160)
    mask[60:120, 55:105] = 1
    warped = geometry.warp_mask(mask, matrix, 300)
    corners = affine.transform_points(np.array([[55.0, 60.0], [104.0, 119.0]]), matrix)
    rows, columns = np.nonzero(warped.numpy())
    low, high = corners.min(0), corners.max(0)
    # one pixel more on every side: any trace of the face counts
    assert abs(columns.min() - low[0]) <= 1.5 and abs(columns.max() - high[0]) <= 1.5
    assert abs(rows.min() - low[1]) <= 1.5 and abs(rows.max() - high[1]) <= 1.5
    assert set(np.unique(warped)) == {0.0, 1.0}


def test_of_the_generated_mask_only_the_face_stays():
    mask = geometry.face_only(torch.ones(100, 100), np.array([40.0, 40.0, 60.0, 60.0]))
    assert mask.sum() == 30 * 30 and mask[35:65, 35:65].all()


@pytest.mark.parametrize("name, box", [("templates/3.jpg", (300, 200, 470, 420)), ("group/two_people.jpg", (700, 100, 900, 380))])
def test_crops_of_photographs_equal_opencv(photographs, name, box):
    pixels = np.asarray(Image.open(photographs / name).convert("RGB"), np.float32) / 255
    height, width = pixels.shape[:2]
    x, y = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
    half = int(max(box[2] - box[0], box[3] - box[1]) / 0.45 / 2)
    padded = np.zeros((height + 4 * half, width + 4 * half, 3), np.float32)
    padded[2 * half : 2 * half + height, 2 * half : 2 * half + width] = pixels
    cut = padded[y - half + 2 * half : y + half + 2 * half, x - half + 2 * half : x + half + 2 * half]
    crop = geometry.crop(torch.from_numpy(pixels), geometry.face_square(np.array(box, np.float32)), 512)
    assert np.abs(crop.numpy() - cv2.resize(cut, (512, 512))).max() < 1e-4
