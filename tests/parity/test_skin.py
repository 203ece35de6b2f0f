"""The skin retouch against upstream: its three networks, and every stage of it on a photograph."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from facechain_impl.networks.skin import DetectionUNet, RetouchingNet, SkinUNet
from facechain_impl.perception import retouch
from facechain_impl.perception.retouch import BlemishRemoval, Settings, SkinRetouch

from .harness import Ready

FIXTURES = ("skin",)


@pytest.fixture(scope="module")
def generator(case):
    return case.network(SkinUNet, "skin_unet")


@pytest.fixture(scope="module")
def blemishes(case):
    return BlemishRemoval(Ready(case.network(DetectionUNet, "skin_det")), Ready(case.network(RetouchingNet, "skin_inpaint")))


@pytest.fixture(scope="module")
def region(case):
    """The face on the photograph, [h, w, 3] in 0..1."""
    x0, y0, x1, y1 = case.input("roi_box_xyxy")
    case.uses("roi_rgb_crc32")
    return case.picture("main")[y0:y1, x0:x1]


def test_generator(case, generator):
    x = case.random("skin_unet.x", "unet_x_shape", -1, 1)
    case.compare("unet_out", generator(x), max=2e-5, rel=1e-5)


def test_blemish_networks(case, blemishes):
    x = case.random("skin_det.x", "det_x_shape", -1, 1)
    case.compare("det_logits", blemishes.detection.load()(x), max=2e-5, rel=1e-5)
    x = case.random("skin_inpaint.x", "inpaint_x_shape", -1, 1)
    keep = case.random("skin_inpaint.mask", (x.shape[0], 1, *x.shape[2:]), 0, 1)
    case.compare("inpaint_out", blemishes.inpainting.load()(x, keep), max=2e-5, rel=1e-5)


def test_geometry(case):
    boxes = case.input("square_boxes_in")
    case.compare("square_boxes_out", np.array([retouch.square_box(box) for box in boxes]))
    mask = retouch.border_mask()
    case.compare("border_mask_row250", mask[250], max=1e-6)
    case.compare("border_mask_corner", mask[:25, :25], max=1e-6)
    case.compare("border_mask_end", mask[-25:, -25:], max=1e-6)


def test_smoothing(case, generator, region):
    for degree in matches(case, r"degree([\d.]+)_mg"):
        (layer,) = SkinRetouch(Ready(generator), settings=Settings(degree=float(degree))).blend_layers([region])
        case.compare(f"degree{degree}_mg", layer, max=1e-4, photo="main")
        case.compare(f"degree{degree}_rgb_every2", levels(retouch.soft_light(region, layer))[::2, ::2], max=1, photo="main")


@pytest.mark.slow
def test_blemish_removal(case, blemishes, region):
    found = blemishes.remove(region).permute(2, 0, 1)[None] * 2 - 1
    case.compare("local_out", found, max=1e-4, photo="main")
    keep = blemishes.keep(region.permute(2, 0, 1)[None] * 2 - 1)
    fraction = np.array([(keep < 1).double().mean(), (keep == 0).double().mean()])
    case.compare("local_mask_fraction_over_035_05", fraction, max=1e-3)


def test_skin_mask_input(case):
    case.compare("skin_mask_input", retouch.mask_input(case.picture("main")), max=1, photo="main")


@pytest.mark.parametrize(("name", "large"), [("small", False), ("big", True)])
def test_whitening(case, name, large):
    """Upstream's half precision and its cut to bytes cost it up to one level."""
    image = case.picture("main")
    for degree in matches(case, rf"whiten_{name}_([\d.]+)_every4"):
        whitened = retouch.whiten(image, made_up_mask(case, image), float(degree), large)
        case.compare(f"whiten_{name}_{degree}_every4", levels(whitened)[::4, ::4], max=1, mean=0.1, photo="main")
        case.uses(f"whiten_{name}_{degree}_stats")


def matches(case, pattern: str) -> list[str]:
    """What `pattern` catches in the names of the arrays, which the file must have."""
    found = sorted({match[1] for name in case.names if (match := re.fullmatch(pattern, name))})
    assert found or case.committed
    return found


def made_up_mask(case, image) -> np.ndarray:
    x, y, rx, ry = case.input("whiten_mask_centre_radii")
    height, width = retouch.mask_input(image).shape[:2]
    rows, columns = np.mgrid[:height, :width]
    return (255 * np.clip(1.3 - np.hypot((columns - x) / rx, (rows - y) / ry), 0, 1)).astype(np.float32)


def levels(picture: torch.Tensor) -> torch.Tensor:
    """Cut to bytes as upstream does."""
    return (picture * 255 + 1e-4).floor().clamp(0, 255)
