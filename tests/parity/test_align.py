"""The similarity transforms of the recognition, fusion and enhancement crops, and pixels warped by them."""

from __future__ import annotations

import numpy as np

from facechain_impl.geometry import affine

FIXTURES = ("align",)


def test_recognition(case):
    points = case.input("points")
    case.compare("reference", affine.ARCFACE_112)
    case.compare("matrices", np.stack([affine.similarity_transform(one, affine.ARCFACE_112) for one in points]), max=1e-5, rel=1e-6)


def test_fusion(case):
    """Upstream works in float32, which shows in the last digit of large shifts: those are held by the relative limit alone."""
    matrices = np.stack([affine.fusion256(one) for one in case.input("points")])
    case.compare("fusion256_matrices", matrices, max=1e-4, share=0.9, rel=1e-6)
    case.compare("fusion256_inverse", np.stack([affine.invert(one) for one in matrices]), max=1e-4, rel=1e-6)


def test_enhancement(case):
    matrices = np.stack([affine.similarity_transform(one, affine.ENHANCE_1024) for one in case.input("points")])
    case.compare("enhance1024_reference", affine.ENHANCE_1024, max=1e-3, rel=1e-6)
    case.compare("enhance1024_matrices", matrices, max=1e-3, rel=1e-6)
    case.compare("enhance1024_inverse", np.stack([affine.invert(one) for one in matrices]), max=1e-3, rel=1e-6)


def test_warped_pictures(case):
    """The first photograph was aligned by the first points, the second by the second."""
    for label, points in zip(case.labels(), case.input("points")):
        picture = case.picture(label)
        face = as_bytes(affine.align112(picture, points))
        case.compare(f"{label}_aligned_bgr", face[..., ::-1], max=2, mean=0.1, photo=label)
        crop = as_bytes(affine.warp(picture, affine.fusion256(points), (256, 256)))
        case.compare(f"{label}_fusion256_rgb_every4", crop[::4, ::4], max=2, mean=0.1, photo=label)


def as_bytes(image) -> np.ndarray:
    return np.rint(image.numpy() * 255).astype(np.uint8)
