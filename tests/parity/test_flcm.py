"""FLCM against upstream: the raw network and the photograph path."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.networks.flcm import FLCM
from facechain_impl.perception.landmark_confidence import LandmarkConfidence, as_batch, crop_face

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
        scores = np.array(LandmarkConfidence(Ready(network)).score([case.picture(label)] * len(boxes), boxes))
        case.compare("photo_score", scores, max=1e-4, photo=label)
        case.compare("photo_cls", 1 - scores, max=1e-4, photo=label)
        case.compare("photo_landmarks", landmarks(network, case.picture(label), boxes), max=2e-2, photo=label)


def landmarks(network: FLCM, image: torch.Tensor, boxes: np.ndarray) -> np.ndarray:
    """[N, 5, 2] in pixels of the picture, as the network puts them into our crops. No node asks for them."""
    corners = np.clip(boxes.astype(int), 0, [*image.shape[1::-1]] * 2).astype(np.float32)
    sizes = corners[:, 2:] - corners[:, :2]
    sides = sizes.max(1, keepdims=True)
    origins = corners[:, :2] - (sides - sizes) // 2
    places = network(as_batch([crop_face(image, box) for box in boxes])).landmarks.unflatten(1, (2, 5)).mT.numpy()
    return places * sides[:, None] + origins[:, None]
