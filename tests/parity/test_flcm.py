"""FLCM against upstream: the raw network and the photograph path."""

from __future__ import annotations

import numpy as np
import pytest

from facechain_impl.networks.flcm import FLCM
from facechain_impl.perception.landmark_confidence import LandmarkConfidence

from .harness import Ready

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


def test_photo(case, network):
    for label in case.labels():
        boxes = case.input("photo_boxes")
        found = LandmarkConfidence(Ready(network)).judge([case.picture(label)] * len(boxes), boxes)
        scores = np.array([clarity.score for clarity in found])
        case.compare("photo_score", scores, max=1e-4, photo=label)
        case.compare("photo_cls", 1 - scores, max=1e-4, photo=label)
        case.compare("photo_landmarks", np.stack([clarity.landmarks for clarity in found]), max=2e-2, photo=label)
