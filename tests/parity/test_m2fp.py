"""M2FP against upstream: every stage of the network, the whole photograph path, and the post-processing alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facechain_impl.networks.m2fp import M2FP

FIXTURES = ("m2fp",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(M2FP, "m2fp")


def test_network(case, network):
    mean, deviation = torch.tensor([123.675, 116.28, 103.53])[:, None, None], torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    x = (case.random("m2fp.x", "x_shape", *case.input("x_range")) - mean) / deviation
    x = F.pad(x, (0, -x.shape[2] % 32, 0, -x.shape[1] % 32))[None]
    features = network.backbone(x)
    for index, feature in enumerate(features):
        case.compare(f"res{index + 2}", feature, rel=1e-5)
    mask_features, scales = network.sem_seg_head.pixel_decoder(features)
    case.compare("pixel_decoder_mask_features", mask_features, rel=1e-4)
    for index, scale in enumerate(scales):
        case.compare(f"pixel_decoder_scale{index}", scale, rel=1e-4)
    queries = network(x)
    case.compare("logits", queries.logits, max=1e-3, rel=1e-4)
    case.compare("masks", queries.masks, max=1e-2, rel=1e-4)
