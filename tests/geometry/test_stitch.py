"""Crops put back: what changes, what must not, and where they overlap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.geometry.affine import ARCFACE_112, transform_points
from facechain_impl.geometry.stitch import Patch, cut_out, face_matrix, feathered, stitch

SIZE = 64


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(200, 300, 3, generator=torch.Generator().manual_seed(2))


def patch(box, value=None, image=None, points=None, upright=False, size=SIZE, mask=None) -> Patch:
    matrix = face_matrix(np.array(box, float), points, 0.5, size, upright)
    crop = cut_out(image, matrix, size) if value is None else torch.full((size, size, 3), float(value))
    return Patch(crop, matrix, size, mask)


def footprint(patch: Patch, shape) -> np.ndarray:
    """Where the crop lies in the picture, from its corners alone."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    places = transform_points(np.stack([columns, rows], -1).reshape(-1, 2), patch.matrix).reshape(*shape[:2], 2)
    return ((places > -1) & (places < patch.size)).all(-1)


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_only_pixels_under_the_crop_change(picture, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (ARCFACE_112 - 56) @ turn.T * 0.5 + [150, 100]
    edited = patch([130, 80, 170, 120], value=0, points=points, upright=True)
    result = stitch(picture, [edited], 0.1)
    inside = footprint(edited, picture.shape)
    assert torch.equal(result[~inside], picture[~inside])
    assert (result[100, 150] == 0).all()
    assert not torch.equal(result[inside], picture[inside])


def test_the_edge_is_soft_and_the_middle_is_the_crop(picture):
    """A white picture and a black crop show the weights themselves: none at the edge, all inside, never rising outwards."""
    result = stitch(torch.ones(200, 300, 3), [patch([130, 80, 162, 112], value=0)], 0.2)[96, 146:190, 0]
    assert result[0] == 0 and result[-1] == 1
    assert (result.diff() >= 0).all() and result.diff().max() < 0.2


def test_a_crop_that_comes_back_unchanged_changes_nothing(picture):
    boxes = [[20, 20, 60, 70], [140, 100, 150, 110], [250, 150, 320, 230]]
    assert torch.equal(stitch(picture, [patch(box, image=picture) for box in boxes], 0.15), picture)


def test_an_edited_face_leaves_its_neighbours_alone(picture):
    first, second = patch([20, 60, 60, 110], value=1), patch([200, 60, 240, 110], image=picture)
    result = stitch(picture, [first, second], 0.15)
    assert torch.equal(result[:, 150:], picture[:, 150:])
    assert torch.equal(result, stitch(picture, [first], 0.15))


def test_overlapping_crops_share_the_pixels_whatever_their_order(picture):
    """Two crops on the same place are averaged; neither hides the other."""
    black, white = patch([100, 80, 140, 120], value=0), patch([110, 80, 150, 120], value=1)
    both = stitch(picture, [black, white], 0.15)
    assert torch.allclose(both, stitch(picture, [white, black], 0.15), atol=1e-6)
    assert abs(both[100, 125].mean() - 0.5) < 0.05
    same = stitch(picture, [black, patch([100, 80, 140, 120], value=1)], 0.15)
    assert torch.allclose(same[100, 120], torch.full((3,), 0.5), atol=1e-5)


def test_a_crop_over_the_edge_of_the_picture(picture):
    edited = patch([-20, -20, 30, 30], value=0)
    result = stitch(picture, [edited], 0.1)
    assert result.shape == picture.shape and (result[2, 2] == 0).all()
    assert torch.equal(result[~footprint(edited, picture.shape)], picture[~footprint(edited, picture.shape)])


def test_a_crop_outside_the_picture_changes_nothing(picture):
    assert torch.equal(stitch(picture, [patch([500, 500, 550, 560], value=0)], 0.1), picture)


def test_a_tiny_face_comes_back_tiny(picture):
    """Four pixels wide, enlarged 8 times for editing, shrunk back with averaging."""
    edited = patch([150, 100, 154, 104], value=0)
    result = stitch(picture, [edited], 0.1)
    changed = (result != picture).any(-1)
    assert 16 < changed.sum() < 120
    assert (result[101:103, 151:153] < 0.02).all()


def test_a_crop_may_come_back_larger(picture):
    original = patch([130, 80, 170, 120], value=0.25)
    larger = Patch(torch.full((256, 256, 3), 0.25), original.matrix, SIZE)
    assert torch.allclose(stitch(picture, [original], 0.2), stitch(picture, [larger], 0.2), atol=0.06)


def test_masks_limit_the_change(picture):
    mask = torch.zeros(SIZE, SIZE)
    mask[:, : SIZE // 2] = 1
    result = stitch(picture, [patch([130, 80, 170, 120], value=0, mask=mask)], 0.1)
    assert (result[100, 145] == 0).all() and torch.equal(result[:, 152:], picture[:, 152:])
    fine = torch.nn.functional.interpolate(mask[None, None], scale_factor=4)[0, 0]
    assert torch.allclose(stitch(picture, [patch([130, 80, 170, 120], value=0, mask=fine)], 0.1), result, atol=0.2)
    assert torch.equal(stitch(picture, [patch([130, 80, 170, 120], value=0, mask=torch.zeros(8, 8))], 0.1), picture)


def test_upright_cuts_and_puts_back_the_same_picture():
    """A smooth picture survives being turned, cut and put back, although every pixel was sampled twice."""
    rows, columns = torch.meshgrid(torch.linspace(0, 3, 240), torch.linspace(0, 3, 320), indexing="ij")
    smooth = torch.stack([torch.sin(rows) ** 2, torch.cos(columns) ** 2, torch.sin(rows + columns) ** 2], -1)
    points = (ARCFACE_112 - 56) @ np.array([[0.8, -0.6], [0.6, 0.8]]).T + [160, 120]
    cropped = patch([110, 70, 210, 170], image=smooth, points=points, upright=True, size=256)
    again = Patch(cropped.crop + 1e-4, cropped.matrix, cropped.size)
    assert (stitch(smooth, [again], 0.1) - smooth).abs().max() < 2e-3


def test_the_face_sits_in_the_middle_with_its_share():
    matrix = face_matrix(np.array([50, 40, 80, 100.0]), None, 0.45, 512, False)
    corners = transform_points(np.array([[50, 40], [80, 100.0]]), matrix)
    assert np.allclose(corners.mean(0), 255.5)
    assert np.isclose(corners[1, 1] - corners[0, 1], 0.45 * 512)


def test_weights_are_symmetric_and_reach_zero():
    weights = feathered(33, 0.25)
    assert torch.equal(weights, weights.T) and torch.equal(weights, weights.flip(0))
    assert weights[0].max() == 0 and weights[16, 16] == 1
    assert feathered(33, 0.0)[1, 1] == 1


def test_a_box_without_extent_is_refused():
    with pytest.raises(BadInput, match="is empty; find the faces again"):
        face_matrix(np.array([5, 5, 5, 5.0]), None, 0.45, 64, False)
