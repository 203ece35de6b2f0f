"""The 3-D reconstruction of the face fusion and its jaw points against upstream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from facechain_impl.geometry.affine import fusion256, warp
from facechain_impl.networks import bfm
from facechain_impl.networks.recon import FaceReconstruction
from facechain_impl.weights import basel

FIXTURES = ("fusion_recon",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(FaceReconstruction, "fusion_recon")


def test_random(case, network):
    case.compare("coefficients", network(case.random("recon.x", "x_shape", 0, 1)), max=2e-5, rel=1e-5)
    case.compare("split", np.array([*bfm.SPLIT[:-1], 2, 1]))


def test_photo(case, network):
    """The crop is warped here: see test_fusion_arcface."""
    crop = (warp(case.picture("main") * 255, fusion256(case.input("photo_points")), (256, 256)).round() / 255).permute(2, 0, 1)
    x = F.interpolate(crop[None], (bfm.SIZE, bfm.SIZE), mode="bilinear", align_corners=False)
    case.compare("photo_coefficients", network(x), max=2e-4, rel=1e-4, photo="main")


def test_landmarks(case):
    """With a made-up face model, from which all 68 landmarks are read."""
    count, keypoints = int(case.input("bfm_vertices")), case.input("bfm_keypoints_1based")
    mean = case.random("bfm.meanshape", (1, 3 * count), -1, 1).numpy()
    bases = [case.random(f"bfm.{name}", (3 * count, width), -0.02, 0.02).numpy() for name, width in (("idBase", 80), ("exBase", 64))]
    shape = bfm.FaceShape.from_state_dict(basel.select(mean, *bases, keypoints, keypoints.size))
    jaw = bfm.FaceShape.from_state_dict(basel.select(mean, *bases, keypoints, bfm.JAW))
    source, target = (torch.from_numpy(case.input(f"bfm_{name}_coefficients")) for name in ("source", "target"))
    fused = bfm.fuse(source, target)
    case.compare("bfm_fused_coefficients", fused, max=1e-6)
    for name, coefficients in (("source", source), ("target", target), ("fused", fused)):
        case.compare(f"bfm_{name}_landmarks224", shape.pixels(coefficients), max=1e-3, rel=1e-5)
        case.compare(f"bfm_{name}_kp", jaw(coefficients), max=1e-5, rel=1e-5)
