"""Pasting a face back and enhancing it against upstream, on a photograph, with networks that turn colours into their opposite."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from facechain_impl.geometry.affine import fusion256, invert, warp
from facechain_impl.networks.bfm import JAW, FaceShape
from facechain_impl.portrait.fusion import pasting
from facechain_impl.portrait.fusion.face_fusion import FaceFusion

from .harness import Ready

FIXTURES = ("fusion_blend",)
FORMULA = re.compile(r"clip\(N-N\*hypot\(\(x-N\)/N,\(y-N\)/N\),0,1\) on NxN".replace("N", r"([\d.]+)"))


@pytest.fixture(scope="module")
def alpha(case):
    top, slope, x, rx, y, ry, width, height = (float(number) for number in FORMULA.fullmatch(case.input("mask_formula")).groups())
    rows, columns = np.mgrid[: int(height), : int(width)]
    return torch.from_numpy(np.clip(top - slope * np.hypot((columns - x) / rx, (rows - y) / ry), 0, 1).astype(np.float32))


@pytest.fixture(scope="module")
def fusion(alpha):
    """Upstream hands bytes to its generator and cuts what its enhancer answers to bytes."""
    jaw = FaceShape.from_state_dict(
        {"mean": torch.zeros(JAW, 3), "identity": torch.zeros(JAW, 3, 80), "expression": torch.zeros(JAW, 3, 64)}
    )
    opposite, enhancer = Ready(lambda x, *_: -bytes_of(x, torch.round)), Ready(lambda x: bytes_of(-x, torch.floor))
    identity, reconstruction = (Ready(lambda x, width=width: torch.zeros(len(x), width)) for width in (512, 257))
    return FaceFusion(identity, reconstruction, jaw, opposite, alpha, enhancer)


def test_mask(case, alpha):
    back = invert(fusion256(case.input("points")))
    case.compare("trans_inv", back, max=1e-4)
    case.compare("mask_warped", warp(alpha, back, case.shape("mask_warped")), max=1e-4)


def test_enhancement_mask(case):
    mask = pasting.enhancement_mask(512)
    case.compare("enhance_mask_row256", mask[256], max=1e-5)
    case.compare("enhance_mask_diag", mask.diagonal(), max=1e-5)


def test_blend(case, fusion):
    image, points = case.picture("main"), case.input("points")
    fused = fusion.fuse(image, points, image, points, enhance=False)
    case.compare("blend_bgr255", fused.flip(-1) * 255, max=1e-2, share=0.995, mean=1e-2, photo="main")


def test_enhancement(case, fusion):
    """Upstream softens small faces in bytes, this code in floats."""
    image, points = case.picture("main"), case.input("points")
    for side in sorted({int(match[1]) for name in case.names if (match := re.match(r"enhanced_face(\d+)_", name))}):
        fused = fusion.fuse(image, points, image, points, side=side)
        shown = (fused.flip(-1) * 255).round().clamp(0, 255)
        case.compare(f"enhanced_face{side}_every4", shown[::4, ::4], max=1, share=0.995, mean=0.15, photo="main")
        case.uses(f"enhanced_face{side}_stats", f"enhanced_face{side}_dtype")


def bytes_of(x: torch.Tensor, whole) -> torch.Tensor:
    """Colours in -1..1 as they are after a stop at bytes."""
    return whole((x / 2 + 0.5) * 255).clamp(0, 255) / 255 * 2 - 1
