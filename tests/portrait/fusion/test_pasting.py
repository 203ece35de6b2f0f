"""Masks, softening and pasting of the face fusion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_impl.errors import WeightsError
from facechain_impl.geometry.affine import fusion256
from facechain_impl.portrait.fusion import pasting
from facechain_impl.portrait.fusion.pasting import paste, soft_edge, soften, within

FACE = np.array([[60.0, 70.0], [100.0, 72.0], [80.0, 95.0], [64.0, 115.0], [97.0, 117.0]])


def picture(height=200, width=160, seed=0):
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_pixels_outside_the_mask_keep_their_bits():
    image, mask = picture(), torch.zeros(256, 256)
    mask[100:150, 90:170] = 1
    pasted = image.clone()
    paste(pasted, torch.ones(256, 256, 3), mask, fusion256(FACE))
    touched = (pasted != image).any(-1)
    assert 100 < touched.sum() < 0.2 * touched.numel()
    assert torch.equal(pasted[~touched], image[~touched])
    assert (pasted[touched] >= image[touched]).all()


def test_a_face_at_the_edge_is_pasted_as_far_as_it_is_seen():
    image = picture()
    whole = torch.zeros(400, 360, 3)
    whole[100:300, 100:260] = image
    for shift in ([-100.0, -40.0], [90.0, 60.0]):
        pasted, reference = image.clone(), whole.clone()
        mask, crop = torch.full((256, 256), 0.7), torch.ones(256, 256, 3)
        paste(pasted, crop, mask, fusion256(FACE + shift))
        paste(reference, crop, mask, fusion256(FACE + shift + 100))
        assert torch.allclose(pasted, reference[100:300, 100:260], atol=2e-4)
        assert not torch.equal(pasted, image)


def test_a_face_outside_changes_nothing():
    image = picture()
    pasted = image.clone()
    paste(pasted, torch.ones(256, 256, 3), torch.ones(256, 256), fusion256(FACE + 5000))
    assert torch.equal(pasted, image)


def test_the_soft_edge_grows_inwards_only():
    mask = torch.zeros(40, 60)
    mask[10:30, 5:50] = 1
    soft = soft_edge(mask, 4)
    assert not soft[mask == 0].any()
    assert soft[20, 5:11].tolist() == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert torch.equal(soft_edge(mask, 0), mask)
    assert torch.equal(soft_edge(torch.ones(8, 8), 4), torch.ones(8, 8)), "the picture's border is no edge of the mask"
    assert torch.equal(soft_edge(mask * 0.5, 4), soft * 0.5)


def test_within_a_mask():
    first, second, mask = picture(seed=1), picture(seed=2), torch.zeros(200, 160)
    mask[50:100] = 1
    mask[100:] = 0.25
    mixed = within(mask, first, second)
    assert torch.equal(mixed[:50], second[:50]) and torch.equal(mixed[50:100], first[50:100])
    assert torch.allclose(mixed[100:], 0.25 * first[100:] + 0.75 * second[100:])


def test_the_smaller_the_face_the_softer():
    face = picture(1024, 1024)
    assert torch.equal(soften(face, 100), face)
    detail = [(soften(face, side)[1:] - soften(face, side)[:-1]).abs().mean() for side in (100, 99, 79, 59, 39)]
    assert detail == sorted(detail, reverse=True) and detail[-1] < 0.1 * detail[0]


def test_the_alpha_picture_may_have_any_size(tmp_path):
    Image.fromarray(np.full((100, 120, 3), 128, np.uint8)).save(tmp_path / "alpha.png")
    alpha = pasting.read_alpha(tmp_path / "alpha.png")
    assert alpha.shape == (256, 256) and torch.allclose(alpha, torch.tensor(128 / 255))


def test_an_alpha_that_is_no_picture_is_named(tmp_path):
    path = tmp_path / "alpha.jpg"
    path.write_bytes(b"\xff\xd8 nothing of a picture \xff\xd9")
    with pytest.raises(WeightsError, match=r"alpha\.jpg should be the blending mask, but cannot be read as a picture"):
        pasting.read_alpha(path)
