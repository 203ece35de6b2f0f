"""Similarity transforms and warping, against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.geometry import affine


@pytest.mark.parametrize("angle", [-3.0, -0.4, 0.0, 1.5, 3.1])
@pytest.mark.parametrize("scale", [0.05, 1.0, 40.0])
def test_similarity_finds_the_transform_that_made_the_points(angle, scale):
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = affine.transform_points(affine.ARCFACE_112, affine.invert(np.column_stack([turn, [30.0, -70.0]])))
    found = affine.similarity_transform(points, affine.ARCFACE_112)
    assert np.allclose(found, np.column_stack([turn, [30.0, -70.0]]), atol=1e-9)


def test_similarity_reflects_only_when_asked():
    mirrored = affine.ARCFACE_112 * [-1, 1]
    assert np.linalg.det(affine.similarity_transform(mirrored, affine.ARCFACE_112)[:, :2]) > 0
    reflected = affine.similarity_transform(mirrored, affine.ARCFACE_112, mirrored=True)
    assert np.allclose(affine.transform_points(mirrored, reflected), affine.ARCFACE_112)


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), 7.0)])
def test_similarity_refuses_points_without_extent(points):
    with pytest.raises(BadInput, match="five distinct points"):
        affine.similarity_transform(points, affine.ARCFACE_112)


def test_warp_samples_a_ramp_exactly():
    """Bilinear sampling of x + 2y gives x + 2y at any place, so the matrix and its convention show in every pixel."""
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(80.0), indexing="ij")
    ramp = (columns + 2 * rows)[..., None]
    matrix = np.array([[0.8, 0.3, -9.5], [-0.3, 0.8, 11.25]])
    places = affine.transform_points(np.stack(np.meshgrid(np.arange(40), np.arange(30)), -1).reshape(-1, 2), affine.invert(matrix))
    expected = (places[:, 0] + 2 * places[:, 1]).reshape(30, 40)
    inside = ((places >= 0) & (places <= [79, 59])).all(1).reshape(30, 40)
    assert inside.mean() > 0.5
    for warp in (affine.warp, affine.warp_smooth):
        assert np.allclose(warp(ramp, matrix, (30, 40))[..., 0].numpy()[inside], expected[inside], atol=2e-3)


def test_outside_the_picture_lies_the_border_alone():
    image = torch.full((10, 12, 3), 0.25)
    moved = affine.warp(image, np.array([[1.0, 0, 4], [0, 1, 5]]), (20, 20), affine.WHITE)
    assert (moved[5:15, 4:16] - 0.25).abs().max() < 1e-5
    outside = torch.ones(20, 20, dtype=torch.bool)
    outside[5:15, 4:16] = False
    assert (moved[outside] - 1).abs().max() < 1e-5


@pytest.mark.parametrize("scale", [1.0, 1 / 3.3])
def test_without_a_border_the_edge_is_repeated(scale):
    ramp = torch.arange(40.0).expand(30, 40)
    moved = affine.warp_smooth(ramp, affine.scale_matrix(scale) @ affine.shift(20, 0), (20, 100), None)
    left, right = int(20 * scale) - 2, int(60 * scale) + 2
    assert (moved[:, :left] - moved[0, 0]).abs().max() < 1e-3 and moved[0, 0] < 2
    assert (moved[:, right:] - moved[0, -1]).abs().max() < 1e-3 and moved[0, -1] > 37


def test_a_picture_out_of_sight_is_all_border():
    far = np.array([[1.0, 0, 1e6], [0, 1, 0]])
    assert (affine.warp(torch.zeros(4, 4, 3), far, (3, 5), 0.5) == 0.5).all()
    assert (affine.warp_smooth(torch.zeros(9, 9, 3), far * 0.1, (3, 5), 0.5) == 0.5).all()


def test_a_single_pixel_keeps_its_place():
    moved = affine.warp(torch.full((1, 1, 3), 0.5), np.array([[1.0, 0, 2], [0, 1, 1]]), (4, 4), affine.WHITE)
    expected = torch.ones(4, 4)
    expected[1, 2] = 0.5
    assert torch.allclose(moved, expected[..., None].expand(4, 4, 3), atol=1e-6)


def test_shrinking_smoothly_does_not_alias():
    """A board of single black and white pixels is grey from afar; sampled without averaging it is not."""
    rows, columns = torch.meshgrid(torch.arange(400), torch.arange(400), indexing="ij")
    board = ((rows + columns) % 2).float()[..., None].expand(-1, -1, 3)
    matrix = affine.scale_matrix(1 / 8.3)[:2]
    smooth, plain = affine.warp_smooth(board, matrix, (48, 48)), affine.warp(board, matrix, (48, 48))
    assert (smooth[1:-1, 1:-1] - 0.5).abs().max() < 0.06
    assert (plain[1:-1, 1:-1] - 0.5).abs().max() > 0.3


def test_averaging_does_not_shift_the_picture():
    """The centre of brightness of a blob is where the matrix puts it, at whole and at broken factors, and at odd offsets."""
    rows, columns = torch.meshgrid(torch.arange(300.0), torch.arange(300.0), indexing="ij")
    blob = torch.exp(-((columns - 151) ** 2 + (rows - 140) ** 2) / (2 * 20.0**2))
    for factor in (2, 3.7, 7, 11.2):
        matrix = np.array([[1 / factor, 0, 2.3], [0, 1 / factor, -1.6]])
        small = affine.warp_smooth(blob, matrix, (150, 150)).double()
        places = torch.arange(150.0).double()
        centre = [(small.sum(0) * places).sum() / small.sum(), (small.sum(1) * places).sum() / small.sum()]
        assert np.allclose(centre, affine.transform_points([[151, 140]], matrix)[0], atol=0.02)


def test_align112_puts_the_points_on_the_template():
    """White dots at the five points of a tilted face land on the template's places."""
    turn = 3.5 * np.array([[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]])
    points = np.round(affine.transform_points(affine.ARCFACE_112, np.column_stack([turn, [120, 40]])))
    image = torch.zeros(600, 600, 3)
    for x, y in points.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 1
    face = affine.align112(image, points)[..., 0].numpy()
    for x, y in affine.ARCFACE_112:
        window = face[int(y) - 3 : int(y) + 5, int(x) - 3 : int(x) + 5]
        rows, columns = np.mgrid[int(y) - 3 : int(y) + 5, int(x) - 3 : int(x) + 5]
        assert abs((columns * window).sum() / window.sum() - x) < 0.3
        assert abs((rows * window).sum() / window.sum() - y) < 0.3
