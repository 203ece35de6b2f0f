"""FairFace against upstream: the raw network, the network's input, and the probabilities of aligned faces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.networks.fairface import FairFace
from facechain_impl.perception.attributes import FaceAttributes, prepared

from .harness import Ready

FIXTURES = ("fairface",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(FairFace, "fairface")


def test_logits(case, network):
    logits = network(case.random("fairface.x", "x_shape", *case.input("x_range")))
    case.compare("logits", logits, max=1e-5, rel=5e-6)


def test_aligned_faces(case, network):
    """From the stored 112 px crops, so no decoder or warp is in between."""
    names = case.labels()
    case.uses(*(name for name in case.names if name.startswith("photo_")))
    faces = [torch.from_numpy(case.input(f"{name}_aligned_bgr")[:, :, ::-1] / np.float32(255)) for name in names]
    for name, face, found in zip(names, faces, FaceAttributes(Ready(network)).predict(faces)):
        case.compare(f"{name}_input", prepared(face), max=1e-5)
        case.compare(f"{name}_logits", network(prepared(face)[None])[0], max=1e-5, rel=5e-6)
        case.compare(f"{name}_gender", found["gender"], max=1e-5, rel=5e-6)
        case.compare(f"{name}_age", found["age"], max=1e-5, rel=5e-6)
