"""RTS against upstream: features, embedding and uncertainty of random input and of an aligned face."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from facechain_impl.networks.rts import RTS
from facechain_impl.perception.recognition import FaceRecognition
from facechain_impl.types import Origin

FIXTURES = ("rts",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(RTS, "rts")


@pytest.fixture(scope="module")
def inputs(case):
    """Random input [1, 3, 112, 112], and behind it the aligned face where the fixture has one."""
    rows = [case.random("rts.x", "x_shape", *case.input("x_range"))]
    if case.has("x_aligned_bgr"):
        case.uses("photo_main_name", "photo_main_shape", "photo_main_crc32")
        face = torch.from_numpy(case.input("x_aligned_bgr").copy()).flip(-1).permute(2, 0, 1)[None]
        rows.append((face / 255 - 0.5) / 0.5)
    return torch.cat(rows)


def test_outputs(case, network, inputs):
    found = network(inputs)
    case.compare("features", network.features(inputs), max=7e-4, rel=2e-5)
    case.compare("out0", found.vector, max=7e-4, rel=2e-5)
    case.compare("out1", found.log_variance, max=7e-4, rel=2e-5)
    case.compare("embedding", found.vector, max=7e-4, rel=2e-5)


def test_embedding_of_pictures(case, network, inputs):
    recognition = FaceRecognition(SimpleNamespace(load=lambda: network, device=torch.device("cpu"), origin=Origin.STAND_IN))
    found = recognition.embed([((face + 1) / 2).permute(1, 2, 0) for face in inputs])
    case.compare("embedding_normalised", torch.tensor([embedding.vector.tolist() for embedding in found]), max=2e-5, rel=2e-5)
    assert all(abs((embedding.vector**2).sum() - 1) < 1e-5 for embedding in found)
