"""Variants are read from the state dict, and files of something else are refused by name."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import KeyMismatch
from facechain_impl.networks.base import layout_of
from facechain_impl.networks.fairface import FairFace
from facechain_impl.networks.flcm import FLCM
from facechain_impl.networks.m2fp.parser import M2FP
from facechain_impl.networks.retinaface import RetinaFace

from ..parity.harness import KEYS
from ..parity.recipe import read_keys

VARIANTS = [
    (FairFace, {"counts": (1, 2, 1, 1), "bottleneck": False, "width": 16, "outputs": 5}),
    (FairFace, {"counts": (1, 1, 1, 1), "bottleneck": True, "width": 8, "outputs": 18}),
    (RetinaFace, {"counts": (1, 1, 2, 1), "bottleneck": True, "width": 16}),
    (M2FP, {"counts": (1, 1, 2, 1), "encoder_layers": 2, "decoder_layers": 4, "queries": 7, "classes": 9}),
]
PUBLISHED = {FairFace: 218, FLCM: 106, M2FP: 928, RetinaFace: 456}


@pytest.mark.parametrize(("network", "sizes"), VARIANTS)
def test_sizes_come_from_the_tensors(network, sizes):
    tensors = network(**sizes).state_dict()
    assert network.sizes(tensors) == sizes
    loaded = network.from_state_dict(tensors)
    assert layout_of(loaded.state_dict()) == layout_of(tensors)
    assert not loaded.training and not any(value.requires_grad for value in loaded.parameters())


@pytest.mark.parametrize(("network", "count"), PUBLISHED.items())
def test_published_number_of_tensors(network, count):
    assert len(network.layout()) == count


@pytest.mark.parametrize("network", PUBLISHED)
def test_published_names_and_shapes(network):
    rows = read_keys(KEYS / f"{network.__name__.lower()}.tsv")
    assert network.layout() == {name: (shape, getattr(torch, dtype)) for name, shape, dtype in rows}


def test_half_precision_on_disk_runs_in_full():
    halves = {name: value.half() if value.is_floating_point() else value for name, value in FLCM().state_dict().items()}
    network = FLCM.from_state_dict(halves)
    assert {value.dtype for value in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("network", PUBLISHED)
def test_another_file_is_refused_by_name(network):
    with pytest.raises(KeyMismatch, match=f"{network.__name__}.*unrelated.weight"):
        network.from_state_dict({"unrelated.weight": torch.zeros(3)})


def test_missing_unexpected_and_misshaped_tensors_are_listed():
    tensors = FLCM().state_dict()
    tensors["rp_net.extra"] = tensors.pop("cls_net.fc2.bias")
    tensors["cls_net.fc2.weight"] = torch.zeros(2, 54)
    with pytest.raises(KeyMismatch) as refused:
        FLCM.from_state_dict(tensors)
    for part in ("1 missing: cls_net.fc2.bias", "1 unexpected: rp_net.extra", "cls_net.fc2.weight [2, 54] instead of [1, 54]"):
        assert part in str(refused.value)
