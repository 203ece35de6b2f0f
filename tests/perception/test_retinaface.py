"""RetinaFace: anchors, decoding, large pictures and colour order."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.networks.retinaface import Raw, anchors
from facechain_impl.perception.retinaface import RetinaFace
from facechain_impl.types import Origin


class OneAnchor:
    """Stands for the network: sure of `count` anchors, each face exactly where its anchor is."""

    def __init__(self, places: list[int]):
        self.places, self.inputs = places, []

    def __call__(self, x):
        self.inputs.append(x)
        number = len(anchors(*x.shape[2:]))
        scores = torch.zeros(len(x), number, 2)
        for rank, place in enumerate(self.places):
            scores[:, place, 1] = 0.99 - 0.01 * rank
        points = torch.zeros(len(x), number, 10)
        points[..., 0] = 1  # the left eye lies a tenth of the side to the right
        return Raw(torch.zeros(len(x), number, 4), scores, points)


def detector(network, **options):
    managed = SimpleNamespace(load=lambda: network, device="cpu", origin=Origin.STAND_IN)
    return RetinaFace(managed, **options)


def test_anchors_of_an_odd_size():
    height, width = 37, 70
    expected = []
    for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512))):
        for row, column, side in itertools.product(range(math.ceil(height / stride)), range(math.ceil(width / stride)), sides):
            expected.append([(column + 0.5) * stride / width, (row + 0.5) * stride / height, side / width, side / height])
    assert np.abs(anchors(height, width).numpy() - expected).max() < 1e-6


def test_boxes_and_points_in_pixels():
    (face,) = detector(OneAnchor([2 * (3 * 16 + 5)])).detect([torch.rand(64, 128, 3)])[0]
    assert face.box == pytest.approx([36, 20, 52, 36], abs=1e-4)  # 16 px around column 5, row 3 of stride 8
    assert face.points == pytest.approx(np.array([[45.6, 28]] + [[44, 28]] * 4), abs=1e-4)
    assert face.score == pytest.approx(0.99)


def test_best_first_and_neighbours_once():
    small, wide, far = 2 * (3 * 16 + 5), 2 * (3 * 16 + 6) + 1, 2 * (1 * 16 + 13)
    found = detector(OneAnchor([far, wide, small, wide - 2])).detect([torch.rand(64, 128, 3)])[0]
    # of two 32 px squares 8 px apart the better one stays; the 16 px square shares too little with it
    assert [face.score for face in found] == pytest.approx([0.99, 0.98, 0.97])


def test_large_pictures_are_reduced_and_boxes_are_not():
    network = OneAnchor([2 * (10 * 125 + 20)])
    (face,) = detector(network).detect([torch.rand(1200, 2000, 3)])[0]
    assert tuple(network.inputs[0].shape[2:]) == (600, 1000)
    assert face.box == pytest.approx([312, 152, 344, 184], abs=1e-3)
    assert face.score == pytest.approx(0.99)


def test_colours():
    red = torch.zeros(32, 32, 3)
    red[..., 0] = 1
    rgb, bgr = OneAnchor([]), OneAnchor([])
    assert detector(rgb).detect([red]) == [[]] and detector(bgr, bgr=True).detect([red]) == [[]]
    assert rgb.inputs[0][0, :, 0, 0].tolist() == pytest.approx([151, -117, -123])
    assert bgr.inputs[0][0, :, 0, 0].tolist() == pytest.approx([-104, -117, 132])


def test_pictures_of_one_size_go_through_together():
    network = OneAnchor([0])
    found = detector(network).detect([torch.rand(40, 40, 3), torch.rand(64, 40, 3), torch.rand(40, 40, 3)])
    assert sorted(len(x) for x in network.inputs) == [1, 2] and [len(faces) for faces in found] == [1, 1, 1]
