"""AEI-Net with its dense motion, the generator of the face fusion, against upstream."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facechain_impl.networks.aei import AEINet
from facechain_impl.networks.sadtalker.dense_motion import identity_grid

FIXTURES = ("fusion_aei",)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def network(case):
    return case.network(AEINet, "fusion_aei")


@pytest.fixture(scope="module")
def inputs(case):
    size = case.shape("x")[-2:]
    x = case.random("aei.x", "x_base_shape", -1, 1)
    x = F.interpolate(x, size, mode="bicubic", align_corners=False).clamp(-1, 1)
    case.compare("x", x, max=1e-5)
    return x, *(torch.from_numpy(case.input(name)) for name in ("id", "kp_target", "kp_fused"))


def test_dense_motion(case, network, inputs):
    x, _, found, wanted = inputs
    grid = network.dense_motion_network(x, found, wanted)
    case.compare("deformation", grid, max=1e-4, rel=1e-4)
    full = network.grid(x, found, wanted)
    case.compare("flow", full - identity_grid(*x.shape[-2:], full), max=1e-4, rel=1e-4)
    case.compare("deformed", network.deform(x, found, wanted), max=1e-3, rel=1e-4)


def test_attributes(case, network, inputs):
    x, _, found, wanted = inputs
    for number, attribute in enumerate(network.encoder(network.deform(x, found, wanted)), 1):
        case.compare(f"attr{number}", attribute, max=1e-3, rel=1e-4)


def test_face(case, network, inputs):
    case.compare("out", network(*inputs), max=1e-3, rel=1e-4)
