"""FairFace against upstream: the raw network, the network's input, and the probabilities of aligned faces."""

from __future__ import annotations

import pytest

from facechain_impl.networks.fairface import FairFace

FIXTURES = ("fairface",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(FairFace, "fairface")


def test_logits(case, network):
    logits = network(case.random("fairface.x", "x_shape", *case.input("x_range")))
    case.compare("logits", logits, max=1e-5, rel=5e-6)
