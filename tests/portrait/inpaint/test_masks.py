"""The masks of the inpainting against slow, plain constructions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from facechain_impl.geometry import affine
from facechain_impl.perception.detection import open_detector
from facechain_impl.portrait.inpaint import masks
from facechain_impl.portrait.inpaint.geometry import Square, face_square


def block(size, rows, columns):
    mask = torch.zeros(size, size)
    mask[slice(*rows), slice(*columns)] = 1
    return mask


def extent(mask):
    rows, columns = np.nonzero(mask.numpy())
    return int(rows.min()), int(rows.max()) + 1, int(columns.min()), int(columns.max()) + 1


def ellipse(size=512, centre=(256, 240), radii=(88, 120)):
    y, x = np.mgrid[0:size, 0:size]
    return torch.from_numpy(((((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2) < 1).astype(np.float32))


@pytest.mark.parametrize("size, above, below", [(1, 0, 0), (2, 0, 1), (3, 1, 1), (6, 2, 3), (9, 4, 4)])
def test_growing_by_a_square_is_opencvs(size, above, below):
    """An even square reaches one pixel further down and right than up and left."""
    grown = masks.dilate(block(40, (10, 20), (12, 22)), size)
    assert extent(grown) == (10 - above, 20 + below, 12 - above, 22 + below)


def test_growing_by_nothing_changes_nothing():
    mask = block(40, (10, 20), (12, 22))
    assert torch.equal(masks.dilate(mask, 0), mask)


def test_the_growth_is_a_share_of_the_side_of_the_mask():
    mask = block(200, (0, 100), (0, 100))
    assert [masks.growth(mask, share) for share in (0.1, 0.06, 0.05, 0.02, 0.009)] == [10, 6, 5, 2, 0]
    assert masks.growth(torch.zeros(10, 10), 0.1) == 0


def test_repaint_mask_number_by_number():
    face = block(400, (150, 250), (150, 250))
    mask = masks.repaint(face, 0.1, first=0.06)
    # 100 x 100 grows by 6 to 105 x 105, whose tenth is 10
    assert extent(masks.dilate(face, 6)) == (148, 253, 148, 253)
    assert extent(mask) == (144, 258, 144, 258)


def test_above_the_eyes_only_the_first_growth_counts():
    face = block(400, (150, 250), (150, 250))
    mask = masks.repaint(face, 0.1, first=0.06, eyes=180)
    assert extent(mask[:180]) == (148, 180, 148, 253)
    assert extent(mask[180:]) == (0, 78, 144, 258)
    without = masks.repaint(face, 0.05, eyes=180)
    assert extent(without[:180]) == (150, 180, 150, 250) and extent(without[180:])[2:] == (148, 252)


def test_no_eye_line_grows_everywhere():
    face = block(100, (40, 60), (40, 60))
    assert torch.equal(masks.repaint(face, 0.2), masks.dilate(face, 4))


def test_the_warped_face_bounds_the_second_growth():
    face, warped = block(400, (150, 250), (150, 250)), torch.zeros(400, 400)
    warped[200:300, 250:300] = 1
    mask = masks.repaint(face, 0.1, first=0.06, warped=warped)
    start = masks.dilate(face, 6)
    wide = masks.dilate(start, 10)
    expected = ((start + warped).clamp(0, 1) * wide).bool()
    assert torch.equal(mask.bool(), expected)
    assert mask[255, 257] == 1 and mask[255, 145] == 0


def test_the_neck_is_added_as_it_is():
    face, neck = block(100, (20, 40), (20, 40)), block(100, (45, 60), (10, 50))
    mask = masks.repaint(face, 0.0, neck=neck)
    assert torch.equal(mask, face + neck)


def test_a_tiny_face_does_not_grow_and_breaks_nothing():
    face = block(50, (20, 23), (20, 23))
    assert torch.equal(masks.repaint(face, 0.1, first=0.06, eyes=21), face)
    assert torch.equal(masks.fusion_region(face), face)


def test_on_an_ellipse_every_mask_is_the_published_one():
    """The construction written out a second time, on the whole array with OpenCV alone."""
    face, eyes = ellipse(), 210
    warped = ellipse(centre=(262, 250), radii=(95, 110))
    clipped = face.numpy()
    k1 = int(np.sqrt(clipped.sum()) * 0.06)
    soft = cv2.dilate(clipped, np.ones((k1, k1)), iterations=1)
    k = int(np.sqrt(soft.sum()) * 0.1)
    wide = cv2.dilate(soft, np.ones((k, k)), iterations=1) * np.clip(soft + warped.numpy(), 0, 1)
    expected = np.concatenate([soft[:eyes], wide[eyes:]])
    assert (k1, k) == (10, 19)
    assert np.array_equal(masks.repaint(face, 0.1, 0.06, eyes, warped).numpy(), expected)


def test_people_fade_inside_their_outline_only():
    human = ellipse()
    soft = masks.soft_human(human)
    expected = cv2.GaussianBlur(human.numpy(), (21, 21), 0) * human.numpy()
    assert np.abs(soft.numpy() - expected).max() < 1e-6
    assert not soft[human == 0].any() and soft[240, 256] == pytest.approx(1)


@pytest.mark.parametrize("size, blur", [(512, 21), (1024, 43), (256, 11), (128, 5), (16, 1)])
def test_the_blur_follows_the_size_of_the_crop(size, blur):
    human = ellipse(size, (size / 2, size / 2), (size / 4, size / 3))
    assert np.abs(masks.soft_human(human).numpy() - cv2.GaussianBlur(human.numpy(), (blur, blur), 0) * human.numpy()).max() < 1e-6


def test_edges_take_the_strongest_channel_and_hide_the_face():
    image = torch.zeros(64, 64, 3)
    image[20:44, 20:44, 2] = 1.0
    grey_is_blind = image.clone()
    lines = masks.edges(grey_is_blind)
    expected = cv2.Canny((image.numpy() * 255).astype(np.uint8), 100, 200)
    assert expected.any() and np.array_equal((lines[..., 0] * 255).numpy().astype(np.uint8), expected)
    assert torch.equal(lines[..., 0], lines[..., 2])
    hidden = block(64, (0, 32), (0, 64))
    assert not masks.edges(image, hidden)[:32].any() and masks.edges(image, hidden)[32:].any()


def test_edges_of_a_photograph(photographs):
    pixels = np.asarray(Image.open(photographs / "templates/1.jpg").convert("RGB"))
    lines = masks.edges(torch.from_numpy(pixels.astype(np.float32) / 255))
    assert np.array_equal((lines[..., 1] * 255).numpy().astype(np.uint8), cv2.Canny(pixels, 100, 200))


def test_unchanged_latents_give_the_picture_back():
    picture, rebuilt, human = torch.rand(48, 48, 3), torch.rand(48, 48, 3), torch.zeros(48, 48)
    assert (masks.add_back(rebuilt, picture, rebuilt, human) - picture).abs().max() < 1 / 255


def test_inside_people_the_painting_stays():
    picture, rebuilt, painted = (torch.rand(32, 32, 3) for _ in range(3))
    human = torch.zeros(32, 32)
    human[:, 16:] = 1
    result = masks.add_back(painted, picture, rebuilt, human)
    assert torch.equal(result[:, 16:], painted[:, 16:])
    expected = (painted + picture - rebuilt).clamp(0, 1)
    assert (result[:, :16] - expected[:, :16]).abs().max() < 1e-6


def published_paste_mask(square, own, others, height, width):
    """The whole-picture construction, with the published numbers. A kernel of size 0 is skipped."""
    x0, y0, x1, y1 = square.inside(height, width)
    mask = np.zeros((height, width), np.float32)
    mask[y0:y1, x0:x1] = 1
    for box in others:
        a, b, c, d = (max(int(value), 0) for value in box)
        mask[b:d, a:c] = 0
    before = mask.copy()
    k = int(10 * square.half / 256)
    if k:
        mask = cv2.erode(mask, np.ones((2 * k, 2 * k)), iterations=1)
        size = int(1.8 * k) * 2 + 1
        mask = cv2.GaussianBlur(mask, (size, size), 0)
    a, b, c, d = (max(int(value), 0) for value in own)
    mask[b:d, a:c] = 1
    return mask * before


PASTES = [
    (Square(256, 200, 133), (196, 140, 316, 260), [], 512, 512),
    (Square(60, 40, 133), (10, -12, 110, 100), [(150, 20, 220, 100)], 400, 300),
    (Square(30, 30, 25), (20, 20, 40, 40), [], 64, 64),
    (Square(5, 60, 12), (0, 55, 10, 65), [(12, 50, 22, 60)], 64, 64),
    (Square(500, 300, 600), (300, 100, 700, 500), [(0, 0, 90, 120)], 900, 1000),
]


@pytest.mark.parametrize("square, own, others, height, width", PASTES)
def test_paste_mask_is_the_published_one(square, own, others, height, width):
    own, others = np.array(own, np.float32), [np.array(box, np.float32) for box in others]
    (x0, y0, x1, y1), mask = masks.paste_mask(square, own, others, height, width)
    expected = published_paste_mask(square, own, others, height, width)
    assert mask.shape == (y1 - y0, x1 - x0)
    assert np.abs(mask.numpy() - expected[y0:y1, x0:x1]).max() < 1e-5
    expected[y0:y1, x0:x1] = 0
    assert not expected.any()


@pytest.mark.parametrize("photo, count", [("group/two_people.jpg", 2), ("templates/2.jpg", 1), ("person_b/2.jpg", 1)])
def test_paste_and_paint_masks_of_the_faces_in_photographs(photographs, photo, count):
    pixels = torch.from_numpy(np.array(Image.open(photographs / photo).convert("RGB"), np.float32) / 255)
    faces = open_detector("Built-in").detect([pixels])[0]
    assert len(faces) == count
    for face in faces:
        others = [other.box for other in faces if other is not face]
        square = face_square(face.box)
        (x0, y0, x1, y1), mask = masks.paste_mask(square, face.box, others, *pixels.shape[:2])
        expected = published_paste_mask(square, face.box, others, *pixels.shape[:2])
        assert np.abs(mask.numpy() - expected[y0:y1, x0:x1]).max() < 1e-5
        matrix = square.to_crop(512)
        points, box = affine.transform_points(face.points, matrix), affine.transform_points(face.box.reshape(2, 2), matrix).astype(int)
        region = torch.zeros(512, 512)
        region[box[0, 1] : box[1, 1], box[0, 0] : box[1, 0]] = 1
        side = np.sqrt(float(region.sum()))
        soft = cv2.dilate(region.numpy(), np.ones((int(side * 0.06),) * 2))
        wide = cv2.dilate(soft, np.ones((int(np.sqrt(soft.sum()) * 0.1),) * 2))
        eyes = int((points[0, 1] + points[1, 1]) / 2)
        # the face takes 0.45 of the crop, give or take the whole pixels of its box
        assert abs(np.ptp(box, 0).max() - 0.45 * 512) < 4 and box[0, 1] < eyes < box[1, 1]
        assert np.array_equal(masks.repaint(region, 0.1, 0.06, eyes).numpy(), np.concatenate([soft[:eyes], wide[eyes:]]))


def test_the_smallest_crops_have_no_feather():
    assert [masks.feather(half) for half in (1, 25, 26, 51, 52, 256, 2560)] == [0, 0, 1, 1, 2, 10, 100]


def test_a_latent_follows_the_upper_left_pixel_of_its_cell():
    mask = torch.zeros(32, 32)
    mask[0, 8] = 0.5
    mask[9:16, 9:16] = 1
    mask[16, 16] = 0.49
    small = masks.latent_mask(mask, 8)
    assert small.shape == (4, 4) and small[0, 1] == 1 and small.sum() == 1
