"""Stand-ins: published layouts, sane numbers, and always recognisable."""

from __future__ import annotations

import json

import pytest
import torch

from facechain_impl.networks.base import layout_of
from facechain_impl.types import Origin
from facechain_impl.weights import catalogue, headers, load
from facechain_impl.weights.stand_ins import networks as stand_ins

SMALL = ("damofd", "flcm", "fairface", "skin_detection", "parsenet")


@pytest.fixture
def folder(models):
    return models / "facechain_stand_ins"


@pytest.mark.parametrize("name", SMALL)
def test_layouts_and_marks(folder, name):
    path = stand_ins.write_stand_in(name, folder)
    header = headers.read(path)
    assert header.layout == catalogue.get(name).layout()
    assert header.metadata["facechain"] == "stand-in"
    assert load.find(name).origin is Origin.STAND_IN
    assert isinstance(load.network(load.find(name)), catalogue.get(name).network)


@pytest.mark.parametrize("name", stand_ins.OTHER_FILES)
def test_files_without_tensors(folder, name):
    stand_ins.write_stand_in(name, folder)
    assert load.find(name).origin is Origin.STAND_IN


def test_numbers_depend_on_the_seed_alone():
    layout = catalogue.get("flcm").layout()
    first, again, other = stand_ins.make(layout, 1), stand_ins.make(dict(reversed(layout.items())), 1), stand_ins.make(layout, 2)
    assert all(torch.equal(first[name], again[name]) for name in layout)
    weight = "rp_net.binary_cls.weight"
    assert not torch.equal(first[weight], other[weight])


def test_spectral_norm_divides_by_one():
    shapes = {"c.weight_bar": ((8, 4, 3, 3), torch.float32), "c.weight_u": ((8,), torch.float32), "c.weight_v": ((36,), torch.float32)}
    tensors = stand_ins.make(shapes, 1)
    sigma = tensors["c.weight_u"] @ tensors["c.weight_bar"].flatten(1) @ tensors["c.weight_v"]
    assert sigma == pytest.approx(1, abs=1e-4)


def test_lora_layout_is_that_of_the_attention_processors(folder):
    layout = layout_of(load.tensors(load.find("face_frombase_c4"))) if stand_ins.write_stand_in("face_frombase_c4", folder) else {}
    assert len(layout) == 256
    stem = "up_blocks.3.attentions.2.transformer_blocks.0.attn2.processor.to_k_lora"
    assert layout[f"{stem}.down.weight"][0] == (4, 768)
    assert layout[f"{stem}.up.weight"][0] == (320, 4)


def test_the_tagger_carries_names(folder, monkeypatch):
    monkeypatch.setattr(stand_ins, "layout", lambda entry: {"n_Conv_0.weight": ((2, 2), torch.float32)})
    path = stand_ins.write_stand_in("deepdanbooru", folder)
    assert len(json.loads(headers.read(path).metadata["tags"])) == stand_ins.TAGS


INPUTS = {"damofd": (1, 3, 320, 320), "flcm": (2, 3, 120, 120), "fairface": (2, 3, 224, 224), "skin_detection": (1, 3, 128, 128)}


@pytest.mark.parametrize("name", INPUTS)
def test_outputs_are_ordinary_numbers(name):
    network = catalogue.get(name).network.from_state_dict(stand_ins.make(catalogue.get(name).layout(), 1))
    scale = 255 if name == "flcm" else 1
    outputs = network(torch.rand(INPUTS[name], generator=torch.Generator().manual_seed(1)) * scale)
    for tensor in flat(outputs):
        assert torch.isfinite(tensor).all()
        assert 1e-4 < tensor.abs().max() < 1e3


def flat(outputs) -> list[torch.Tensor]:
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for part in outputs for tensor in flat(part)]
