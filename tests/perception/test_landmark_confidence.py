"""Landmark confidence: the square crop, and the score of each picture."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.networks.flcm import Findings
from facechain_impl.perception.landmark_confidence import BATCH, LandmarkConfidence, crop_face


class Brightness:
    """Stands for the network: the crop's brightness as unreliability."""

    def __call__(self, x):
        return Findings(x.mean((1, 2, 3))[:, None] / 255, None, None, None)


def confidence():
    return LandmarkConfidence(SimpleNamespace(load=Brightness, device="cpu"))


def test_score_is_one_minus_the_output():
    images = [torch.zeros(50, 50, 3), torch.ones(50, 50, 3)]
    assert confidence().score(images, [np.array([0, 0, 50, 50])] * 2) == pytest.approx([1, 0])


def test_many_faces_keep_their_order():
    images = [torch.full((20, 20, 3), index / 255) for index in range(BATCH + 5)]
    scores = confidence().score(images, [np.array([0, 0, 20, 20])] * len(images))
    assert scores == pytest.approx([1 - index / 255 for index in range(len(images))], abs=1e-5)
    assert confidence().score([], []) == []


def test_crop_is_bgr_with_black_beside_it():
    image = torch.zeros(100, 100, 3)
    image[..., 0] = 1
    crop = crop_face(image, np.array([-30.0, 10, 20, 50]))
    assert crop.shape == (120, 120, 3) and crop[60, 60].tolist() == [0, 0, 255]
    assert not crop[60, :25].any() and not crop[60, -25:].any()


@pytest.mark.parametrize("box", [[110, 10, 140, 40], [10, 10, 10.5, 60], [-50, -50, -10, -10]])
def test_a_box_outside_the_picture_is_refused(box):
    with pytest.raises(BadInput, match="outside the 100x80 picture"):
        confidence().score([torch.zeros(80, 100, 3)], [np.array(box)])
