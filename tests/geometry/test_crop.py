"""Crops against crops made another way: by cutting arrays, turning them by quarters, averaging blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.geometry import crop
from facechain_impl.geometry.affine import ARCFACE_112, transform_points


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(300, 400, 3, generator=torch.Generator().manual_seed(1))


def cut_out(picture: np.ndarray, left: int, top: int, side: int) -> np.ndarray:
    """A square out of a picture that was put on a large white ground."""
    ground = np.ones((picture.shape[0] + 4 * side, picture.shape[1] + 4 * side, 3), np.float32)
    ground[2 * side : 2 * side + picture.shape[0], 2 * side : 2 * side + picture.shape[1]] = picture
    return ground[top + 2 * side : top + 3 * side, left + 2 * side : left + 3 * side]


@pytest.mark.parametrize("left, top", [(30, 20), (-200, -100), (350, 250), (-512, 0)])
def test_a_window_of_the_crops_size_is_cut_pixel_by_pixel(picture, left, top):
    window = crop.Window(left, top, 512)
    assert np.abs(crop.cut(picture, window.matrix()).numpy() - cut_out(picture.numpy(), left, top, 512)).max() < 1e-4


def test_a_window_twice_as_large_is_averaged_in_blocks(picture):
    expected = cut_out(picture.numpy(), -300, -400, 1024).reshape(512, 2, 512, 2, 3).mean((1, 3))
    assert np.abs(crop.cut(picture, crop.Window(-300, -400, 1024).matrix()).numpy() - expected).max() < 1e-4


def test_the_face_has_its_published_proportion_and_place():
    left, top, side = crop.window_of([100.0, 50.0, 150.0, 120.0])
    assert side == int(70 / (0.35 / 1.15)) == 229
    assert left == int(125 - 114.5) and top == int(85 - 0.5 / 1.15 * 229)
    x0, y0, x1, y1 = transform_points(np.array([[100, 50], [150, 120]]), crop.Window(left, top, side).matrix()).ravel()
    assert abs((y1 - y0) - 156) < 1
    assert abs((y0 + y1) / 2 - 0.435 * 512) < 2.5 and abs((x0 + x1) / 2 - 256) < 2.5


@pytest.mark.parametrize("quarters", range(4))
def test_upright_turns_by_quarters_like_an_array(picture, quarters):
    """A picture that lies on its side comes out as np.rot90 turns it, in the middle of its white square."""
    angle = quarters * np.pi / 2
    square = crop.upright((300, 400), angle)
    assert square.side == 600
    turned = crop.cut(picture, square.matrix, 600).numpy()
    ground = np.ones((601, 601, 3), np.float32)
    ground[150:450, 100:500] = picture.numpy()
    # the centre of the turn is pixel 300, which is the middle of 601 pixels
    expected = np.rot90(ground, -quarters)[:600, :600]
    assert np.abs(turned - expected).max() < 1e-3


@pytest.mark.parametrize("degrees", [-170, -91, -30, 0, 30, 89, 135, 179])
def test_the_angle_is_the_one_that_brings_the_face_upright(degrees):
    """True for any angle, also beyond 90 degrees where upstream's formula fails."""
    radians = np.radians(degrees)
    turn = np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    points = ARCFACE_112 @ turn.T * 3 + [500, 300]
    angle = crop.angle_of(points)
    upright = transform_points(points, crop.upright((600, 1000), angle).matrix)
    level = upright[1] - upright[0]
    assert abs(np.arctan2(level[1], level[0])) < np.radians(3)
    assert upright[3:, 1].min() > upright[2, 1] > upright[:2, 1].max()


def test_contain_shows_the_whole_picture(picture):
    shown = crop.cut(picture, crop.contain((300, 400))).numpy()
    assert (shown[:63] == 1).all() and (shown[-63:] == 1).all()
    assert (shown[66:-66].reshape(-1, 3) < 1).any(1).mean() > 0.99


def test_one_pixel_can_be_contained_and_turned():
    grey = torch.full((1, 1, 3), 0.5)
    assert crop.upright((1, 1), 0.3).side == 1
    shown = crop.cut(grey, crop.contain((1, 1)))
    assert shown.shape == (512, 512, 3) and abs(shown[256, 256, 0] - 0.5) < 0.01


@pytest.mark.parametrize("box", [[5.0, 5.0, 5.0, 5.0], [10.0, 10.0, 10.4, 10.2]])
def test_a_box_without_extent_still_gives_a_window(box):
    assert crop.window_of(box).side == 1


def test_a_box_grows_about_its_middle_and_stops_at_the_last_pixel():
    assert crop.grown(np.array([40.7, 60.2, 81.9, 100.0]), 1.5, (200, 200)).tolist() == [29, 50, 91, 109]
    assert crop.grown(np.array([40.0, 60.0, 80.0, 100.0]), 1.1, (200, 200)).tolist() == [38, 58, 82, 102]
    assert crop.grown(np.array([2.0, 3.0, 42.0, 43.0]), 1.5, (45, 44)).tolist() == [0, 0, 43, 44]
    assert crop.grown(np.array([250.0, 150.0, 319.0, 239.0]), 1.5, (240, 320)).tolist() == [232, 127, 319, 239]
