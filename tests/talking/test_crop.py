"""Cutting and putting back: whole pictures, edges, large faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.talking.align3d import flipped
from facechain_impl.talking.crop import Mode, cut
from facechain_impl.talking.paste import PoissonPaste, sine_transform

from ..parity import upstream_mistakes
from .conftest import portrait_of


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("width", "height"), [(480, 600), (600, 480), (1000, 1400), (250, 900)])
def test_boxes_lie_in_the_picture(mode, width, height):
    portrait = portrait_of(width, height)
    place = cut(portrait.landmarks, portrait.size, mode)
    left, top, right, bottom = place.box
    assert 0 <= left < right <= width and 0 <= top < bottom <= height
    assert place.square(portrait.pixels, 256).shape == (256, 256, 3)
    assert place.aspect == (portrait.size if mode is Mode.RESIZE else (right - left, bottom - top))


def test_a_portrait_keeps_its_chin():
    """Upstream limits the lower edge by the width of the picture."""
    portrait = portrait_of(250, 900, 0.28)
    ours, theirs = (way(portrait.landmarks, portrait.size, Mode.CROP) for way in (cut, upstream_mistakes.cut))
    chin = portrait.landmarks[8, 1]
    assert ours.outer == theirs.outer and theirs.box[3] < chin < ours.box[3]


def test_a_large_face_is_cut_where_it_is():
    """Upstream shrinks the picture and forgets to scale the boxes back."""
    portrait = portrait_of(3000, 2600, 0.09)
    ours, theirs = (way(portrait.landmarks, portrait.size, Mode.FULL) for way in (cut, upstream_mistakes.cut))
    assert ours.size == (1500, 1300) and np.allclose(ours.box, np.array(theirs.box) * 2, atol=1)
    eyes = portrait.landmarks[36:48].mean(0)
    assert ours.box[0] < eyes[0] < ours.box[2] and ours.box[1] < eyes[1] < ours.box[3]


def test_extended_crops_have_their_own_aspect():
    portrait = portrait_of(300, 800, 0.2)
    place = cut(portrait.landmarks, portrait.size, Mode.EXTCROP)
    left, top, right, bottom = place.outer
    assert place.aspect == (right - left, bottom - top)


def test_landmarks_follow_into_the_square():
    portrait = portrait_of(400, 500)
    place = cut(portrait.landmarks, portrait.size, Mode.CROP)
    left, top, right, bottom = place.box
    corners = place.to_square(np.array([[left - 0.5, top - 0.5], [right - 0.5, bottom - 0.5]]), 256)
    assert np.allclose(corners, [[-0.5, -0.5], [255.5, 255.5]])


def test_flipping():
    assert np.array_equal(flipped(np.array([[3.0, 0.0]]), 10), [[3.0, 9.0]])


def test_paste_of_the_same_pixels_changes_nothing():
    plate = portrait_of(200, 220).pixels
    box = (40, 50, 150, 170)
    pasted = PoissonPaste(plate, box)(plate[None, 50:170, 40:150])
    assert np.abs(pasted[0].astype(int) - plate).max() <= 1


def test_paste_takes_the_colour_of_the_surroundings():
    plate = np.full((120, 140, 3), 90, np.uint8)
    pasted = PoissonPaste(plate, (20, 20, 100, 100))(np.full((2, 64, 64, 3), 200, np.uint8))
    assert pasted.shape == (2, 120, 140, 3) and np.abs(pasted.astype(int) - 90).max() <= 1


def test_the_whole_picture_can_be_pasted():
    plate = portrait_of(90, 110).pixels
    assert PoissonPaste(plate, (0, 0, 90, 110))(plate[None]).shape == (1, 110, 90, 3)


def test_tiny_faces_are_refused():
    with pytest.raises(BadInput, match="8x30"):
        PoissonPaste(np.zeros((50, 50, 3), np.uint8), (10, 10, 18, 40))


def test_sine_transform_is_its_own_inverse():
    planes = torch.rand(1, 3, 17, 24, dtype=torch.float64)
    assert torch.allclose(sine_transform(sine_transform(planes)), planes)
