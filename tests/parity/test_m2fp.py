"""M2FP against upstream: every stage of the network, the whole photograph path, and the post-processing alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from facechain_impl.networks.m2fp.parser import M2FP
from facechain_impl.perception.parsing import CLASSES, HumanParser, Parsing, padded, resized

from .harness import Ready

FIXTURES = ("m2fp",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(M2FP, "m2fp")


def test_network(case, network):
    x = case.random("m2fp.x", "x_shape", *case.input("x_range"))
    x = padded(x, tuple(side + -side % 32 for side in x.shape[1:]))[None]
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


def test_photo(case, network):
    for label in case.labels():
        left, top, right, bottom = case.input("photo_crop")
        image = case.picture(label)[top:bottom, left:right]
        case.compare("photo_input", resized(image), max=0.2, photo=label)  # of 255
        (found,) = HumanParser(Ready(network)).parse([image])
        compare_instances(case, "photo", 4, found, label)


def test_classes(case):
    case.compare("classes", np.array(CLASSES))


def test_post_processing(case):
    """From random logits, which give every label, background and people among them."""
    padded, inner, size = (tuple(case.input(f"post_{name}_hw").tolist()) for name in ("padded", "unpadded", "output"))
    shape = case.shape("logits")
    logits = case.random("m2fp.post.logits", shape, -7, 7)
    masks = case.random("m2fp.post.masks", (*shape[:2], padded[0] // 4, padded[1] // 4), -6, 5)
    compare_instances(case, "post", 3, Parsing(logits[0], masks[0], padded, inner, size))


def compare_instances(case, name, every, parsing, photo=""):
    """The lists may come in any order: each of upstream's instances is compared with the nearest one of its label."""
    labels, scores = case.input(f"{name}_labels"), case.input(f"{name}_scores")
    found = parsing.instances
    assert len(found) == len(scores)
    cost = np.abs(scores[:, None] - np.array(parsing.scores)) + (labels[:, None] != np.array(parsing.labels))
    found = [found[index] for index in linear_sum_assignment(cost)[1]]
    case.compare(f"{name}_labels", [one.label for one in found])
    case.compare(f"{name}_scores", [one.score for one in found], max=1e-4, photo=photo)
    areas = case.input(f"{name}_areas")
    assert np.abs(areas - [one.area for one in found]).max() <= 2e-4 * areas.max()
    case.compare(f"{name}_areas", [one.area for one in found], rel=1e-4, photo=photo)
    key = f"{name}_masks_every{every}"
    masks = np.stack([parsing.mask(one)[::every, ::every].numpy() for one in found])
    case.agree(key, case.bits(key), masks, 0.999)
