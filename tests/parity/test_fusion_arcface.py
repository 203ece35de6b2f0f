"""IR-100, the identity of the face fusion, against upstream."""

from __future__ import annotations

import pytest
import torch.nn.functional as F

from facechain_impl.geometry.affine import fusion256, warp
from facechain_impl.networks.ir100 import IR100

FIXTURES = ("fusion_arcface",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(IR100, "fusion_arcface")


def test_random(case, network):
    x = case.random("arcface.x", "x_shape", -1, 1)
    case.compare("embedding", network(x), max=2e-6, rel=2e-5)
    case.compare("feats0", network.body(network.input_layer(x)).flatten(1), rel=2e-5)


def test_photo(case, network):
    """The crop is warped here, so that single pixels may differ by a level: the limits are those of that, not of the network."""
    crop = (warp(case.picture("main") * 255, fusion256(case.input("photo_points")), (256, 256)).round() / 255).permute(2, 0, 1)
    x = F.interpolate(crop[None] * 2 - 1, (112, 112), mode="bilinear", align_corners=True)
    case.compare("photo_embedding", network(x), max=5e-4, rel=2e-3, photo="main")
