"""How photographs are turned, cut and masked before training, and how boxes grow before inpainting."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from facechain_impl.geometry import affine, crop
from facechain_impl.geometry.masks import head_mask

FIXTURES = ("geometry",)


@pytest.fixture(scope="module")
def angles(case):
    return np.array([crop.angle_of(points) for points in case.input("angle_points")])


def test_angles(case, angles):
    """Where upstream's formula divides by a shift, the true angle of its own matrix counts instead."""
    regular, matrices = case.input("angle_regular_branch"), case.input("angle_transform")
    true = np.arctan2(matrices[:, 1, 0], matrices[:, 1, 1])
    assert np.abs(angles - true).max() < 1e-6
    case.compare("angle_radians", np.where(regular, angles, case.input("angle_radians")), max=1e-6, rel=1e-6)


def test_turned_pictures(case, angles):
    """Upstream's border is black by accident; the pack's is white, so that black is asked for here."""
    for label in case.labels():
        picture = case.picture(label)
        height, width = picture.shape[:2]
        square = crop.upright((height, width), angles[int(case.input(f"{label}_rotated_points_index"))])
        case.compare(f"{label}_rotated_side", square.side)
        centred = affine.shift(-((square.side - width) // 2), -((square.side - height) // 2))
        case.compare(f"{label}_rotation_matrix", (square.matrix @ centred)[:2], max=1e-5, rel=1e-6)
        case.uses(f"{label}_rotated_crc32")
        turned = affine.warp(picture, square.matrix, (square.side, square.side), affine.BLACK)
        size = case.input(f"{label}_rotated_bgr_small").shape[1::-1]
        small = cv2.resize(as_bytes(turned)[..., ::-1], size, interpolation=cv2.INTER_AREA)
        case.compare(f"{label}_rotated_bgr_small", small, max=2, mean=0.1, photo=label)


def test_crop_geometry(case):
    height, width = case.input("photo_main_shape")[:2]
    rows = [crop.window_of(box) for box in case.input("crop_boxes")]
    mine = [[side, *overlap(left, top, side, width, height)] for left, top, side in rows]
    case.uses("crop_geometry_names")
    case.compare("crop_geometry", np.array(mine))
    assert case.input("crop_ok").all()


def test_crops(case):
    """The outermost pixels differ where a crop is enlarged: upstream repeats the window's edge, the pack sees the picture beyond."""
    picture = case.picture("main")
    crops = [affine.warp(picture, crop.window_of(box).matrix(), (512, 512), affine.WHITE) for box in case.input("crop_boxes")]
    mine = np.stack([as_bytes(one)[::8, ::8, ::-1] for one in crops])
    stored = case.input("crop_bgr_every8")
    inside = np.abs(mine[:, 1:, 1:].astype(int) - stored[:, 1:, 1:])
    assert inside.max() <= 2 and inside.mean() <= 0.1
    case.compare("crop_bgr_every8", mine, max=2, share=0.95, mean=0.2, photo="main")


def test_grown_boxes(case):
    height, width = case.input("photo_main_shape")[:2]
    ratios = case.input("facecrop_ratios")
    mine = [[crop.grown(box, ratio, (height, width)) for ratio in ratios] for box in case.input("crop_boxes")]
    case.compare("facecrop_boxes", np.array(mine))


def test_head_mask(case):
    bits = case.input("head_mask_bits")
    rows, columns = np.mgrid[: int(np.sqrt(bits.size * 8)), : int(np.sqrt(bits.size * 8))]
    largest: dict[str, np.ndarray] = {}
    for (x, y, rx, ry), label, score in zip(*(case.input(f"head_{name}") for name in ("ellipses", "labels", "scores"))):
        mask = ((columns - x) / rx) ** 2 + ((rows - y) / ry) ** 2 < 1
        if score > 0.8 and mask.sum() > largest.get(str(label), np.zeros(1)).sum():
            largest[str(label)] = mask
    head = head_mask(largest["Face"], largest.get("Hair"), largest.get("Human"))
    case.compare("head_mask_bits", np.packbits(head.astype(bool)))
    case.compare("head_mask_sum", head.sum())
    case.compare("head_mask_unique", np.unique(head))


def overlap(left: int, top: int, side: int, width: int, height: int) -> list[int]:
    """The part of the picture that a window covers, and where that part lies in the window."""
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    return [x0, y0, x1, y1, x0 - left, y0 - top, x1 - left, y1 - top]


def as_bytes(image) -> np.ndarray:
    return np.rint(image.numpy() * 255).astype(np.uint8)
