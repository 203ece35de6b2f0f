"""DeepDanbooru against upstream: the network, and the letterbox of a photograph."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch

from facechain_impl.networks.deepdanbooru import DeepDanbooru
from facechain_impl.perception.tagging import letterbox

FIXTURES = ("deepdanbooru",)


@pytest.mark.slow
def test_network(case):
    logits = case.network(DeepDanbooru, "deepdanbooru")(case.random("deepdanbooru.x", "x_shape", 0, 1))
    case.compare("logits", logits, max=5e-4, rel=2e-5)
    case.compare("probabilities", torch.sigmoid(logits), max=1e-4, rel=2e-5)


def test_letterbox(case):
    boxed = (letterbox(case.picture("portrait")) * 255).round().to(torch.uint8).numpy()
    case.compare("letterbox_rgb_every4", boxed[::4, ::4], photo="portrait")
    case.compare("letterbox_crc32", np.array(zlib.crc32(np.ascontiguousarray(boxed).tobytes())), photo="portrait")
