"""Floats to bytes, in the one place where that is done."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from facechain_impl.geometry.pixels import to_bytes
from launcher.places import ROOT


def test_bytes_survive_the_way_through_floats():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).expand(16, 16, 3)
    assert (to_bytes(pixels.float() / 255) == pixels.numpy()).all()


def test_values_outside_are_clamped_and_what_is_no_number_is_black():
    values = torch.tensor([[[-1.0, 0.5, 2.0], [float("nan"), float("inf"), float("-inf")]]])
    assert to_bytes(values).tolist() == [[[0, 128, 255], [0, 255, 0]]]


def test_halves_go_to_the_even_number():
    assert to_bytes(torch.tensor([0.5, 1.5, 2.5, 3.5]) / 255).tolist() == [0, 2, 2, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_precision_is_float32_whatever_arrives(dtype):
    values = torch.rand(40, 50, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    assert (to_bytes(values) == to_bytes(values.float())).all()


def test_the_picture_is_left_alone_and_layouts_are_kept():
    picture = torch.rand(3, 5, 7, requires_grad=True)
    before = picture.detach().clone()
    turned = to_bytes(picture.movedim(0, -1))
    assert turned.shape == (5, 7, 3) and turned.dtype == np.uint8 and torch.equal(picture.detach(), before)


def test_nothing_else_in_the_pack_rounds_pixels():
    rounding = re.compile(r"\* ?255\)*\.(round|clamp|to\(torch\.uint8|byte)")
    files = {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in (ROOT / "facechain_impl").rglob("*.py")}
    found = {name for name, source in files.items() if rounding.search(source)}
    assert found == {"facechain_impl/weights/stand_ins/networks.py"}  # a mask of 0 and 1
