"""FLCM against upstream: the raw network and the photograph path."""

from __future__ import annotations

import pytest

from facechain_impl.networks.flcm import FLCM

FIXTURES = ("flcm",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(FLCM, "flcm")


def test_outputs(case, network):
    found = network(case.random("flcm.x", "x_shape", *case.input("x_range")))
    case.compare("cls", found.unreliability, max=1e-4, rel=1e-5)
    case.compare("landmarks", found.landmarks, max=1e-4, rel=1e-5)
    case.compare("rp", found.mask, max=1e-4, rel=1e-5)
    case.compare("nose", found.nose, max=1e-4, rel=1e-5)
