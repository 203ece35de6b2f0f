"""The enhancer: GFPGAN as spandrel loads it, the alignment of faces, and the paste at twice the size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.talking import enhance

from . import recipe
from .recipe_sadtalker import maker
from .sadtalker_parts import Held, pixels

FIXTURES = ("sadtalker/gfpgan", "sadtalker/enhancer")


@pytest.fixture(scope="module")
def restorer(parity):
    spandrel = pytest.importorskip("spandrel", reason="the host's optional spandrel is not installed")
    case = parity("sadtalker/gfpgan")
    arrays = maker("gfpgan")(recipe.read_keys(case.key_list("gfpgan")), case.seed)
    descriptor = spandrel.ModelLoader().load_from_state_dict({"params_ema": {name: torch.from_numpy(a) for name, a in arrays.items()}})
    return enhance.FaceRestorer(Held(descriptor.model.eval()), None, lambda pixels: [])


def test_gfpgan(parity, restorer):
    case = parity("sadtalker/gfpgan")
    case.uses("out_clipped_fraction")
    face = case.input("in_rgb")
    image, sides = restorer.model.load()(pixels(face) * 2 - 1, return_rgb=True, randomize_noise=False)
    case.compare("out_image", image, max=2e-5)
    for index, side in enumerate(sides):
        case.compare(f"out_rgb{index}", side, max=2e-5)
    case.compare("out_uint8", restorer.restore(face), max=1)
    assert np.array_equal(restorer.restore(face), restorer.restore(face))


def test_alignment_and_paste(parity):
    case = parity("sadtalker/enhancer")
    case.uses("seed")
    picture, label, restored = case.input("in_rgb"), case.input("in_label"), case.input("in_restored_rgb")
    for index in range(sum(name.startswith("in_landmarks5_") for name in case.names)):
        case.uses(f"out_least_squares_affine{index}")
        expected = case.input(f"out_affine{index}")
        matrix = enhance.affine(case.input(f"in_landmarks5_{index}"))
        if index < 3:  # with an outlier the robust estimate depends on the build of OpenCV
            case.compare(f"out_affine{index}", matrix, max=1e-3 * np.abs(expected).max())
        case.compare(f"out_aligned_rgb{index}", enhance.aligned(picture, expected), max=255, mean=0.5)
        if case.has(f"out_inverse_affine{index}"):
            back = enhance.inverse(matrix)
            case.compare(f"out_inverse_affine{index}", back, max=1e-3 * np.abs(back).max())
            found = enhance.pasted(enhance.enlarged(picture), restored, enhance.soft_mask(label), back)
            case.compare(f"out_pasted_rgb{index}", found, max=255, mean=0.5)
