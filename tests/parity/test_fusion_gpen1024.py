"""GPEN-1024, the enhancement of the face fusion, against upstream."""

from __future__ import annotations

import pytest

from facechain_impl.networks.gpen import GPEN

FIXTURES = ("fusion_gpen1024",)
CROP = "out_crop_rows480_544_cols480_544"
pytestmark = pytest.mark.slow


def test_enhancement(case):
    network = case.network(GPEN, "fusion_gpen1024")
    repeat = int(case.input("x_repeat"))
    x = case.random("gpen.x", "x_base_shape", -1, 1).repeat_interleave(repeat, 2).repeat_interleave(repeat, 3)
    found = network(x)
    case.compare("out", found, max=1e-4, rel=1e-5)
    case.compare(CROP, found[0, :, 480:544, 480:544], max=1e-4, rel=1e-5)
