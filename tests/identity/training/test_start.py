"""Starting from the published face LoRA: under full names, numbered as a container of diffusers, and on other models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

train_start = pytest.importorskip("facechain_impl.identity.training.start", reason="set COMFYUI_PATH")
from facechain_impl import provenance  # noqa: E402
from facechain_impl.errors import BadInput, MissingWeights  # noqa: E402
from facechain_impl.host import lora  # noqa: E402
from facechain_impl.identity import persons  # noqa: E402
from facechain_impl.identity.training import presets, train  # noqa: E402
from facechain_impl.identity.training.adapters import Adapters, target_modules  # noqa: E402
from facechain_impl.identity.training.settings import Start, Targets  # noqa: E402
from facechain_impl.provenance import Origin, Used  # noqa: E402

from ...small_models import sd15_model  # noqa: E402
from ..conftest import added  # noqa: E402
from .test_train import order  # noqa: E402

SITES = [
    f"{block}.attentions.{index}"
    for block, count in (("down_blocks.0", 1), ("down_blocks.1", 1), ("up_blocks.0", 2), ("up_blocks.1", 2), ("mid_block", 1))
    for index in range(count)
]
PROCESSORS = [f"{site}.transformer_blocks.0.{attention}" for site in SITES for attention in ("attn1", "attn2")]
"""Attention layers of the small model in diffusers' order: down, up, middle."""


def published(model, numbered: bool) -> dict[str, torch.Tensor]:
    """A file in the published layout for the small model; every layer holds its own number."""
    names = {theirs: ours for ours, theirs in lora.file_names(model).items()}
    state, tensors = model.model.state_dict(), {}
    for number, processor in enumerate(PROCESSORS):
        for projection in ("to_q", "to_k", "to_v", "to_out"):
            layer = f"{processor}.{projection}".replace(".", "_") + ("_0" if projection == "to_out" else "")
            rows, columns = state[names[f"lora_unet_{layer}"] + ".weight"].shape
            stem = f"{number}.{projection}_lora" if numbered else f"{processor}.processor.{projection}_lora"
            tensors[f"{stem}.up.weight"] = torch.full((rows, 4), float(number))
            tensors[f"{stem}.down.weight"] = torch.full((4, columns), float(number))
    return tensors


@pytest.fixture
def file(monkeypatch):
    """Puts tensors in the place of the published file."""

    def put(tensors, origin=Origin.PUBLISHED):
        def find(name):
            if name != Start.FACE_COMMON.value:
                raise MissingWeights(f"{name} is not here")
            provenance.register(Used("network", name, origin))
            return SimpleNamespace(name=name, origin=origin, sha256="1" * 64)

        monkeypatch.setattr(train_start.weights, "find", find)
        monkeypatch.setattr(train_start.weights, "tensors", lambda found: tensors)

    return put


@pytest.mark.parametrize("numbered", [False, True])
def test_every_layer_finds_its_place(file, numbered):
    model = sd15_model()
    file(published(model, numbered))
    layers = train_start.face_common(lora.file_names(model), lora.MODEL_PREFIX)
    assert set(layers) == set(target_modules(model.model.diffusion_model, Targets.ATTENTION))
    assert layers["input_blocks.1.1.transformer_blocks.0.attn2.to_k"].up[0, 0] == 1
    assert layers["output_blocks.3.1.transformer_blocks.0.attn1.to_out.0"].up[0, 0] == 10
    assert layers["middle_block.1.transformer_blocks.0.attn2.to_q"].up[0, 0] == 13


def test_adapters_start_there_whatever_their_alpha(file):
    model = sd15_model()
    file(published(model, True))
    layers = train_start.face_common(lora.file_names(model), lora.MODEL_PREFIX)
    with torch.inference_mode(False):
        adapters = Adapters(model.model.diffusion_model, sorted(layers), 4, 8.0, 0.0, 1)
        adapters.load(layers)
    for name, layer in adapters.layers().items():
        torch.testing.assert_close(added(layer), added(layers[name]))


def test_a_stand_in_is_named_in_the_report(home, sd15, photos, file):
    file(published(sd15.model, False), Origin.STAND_IN)
    with provenance.recording():
        result = train.train_face_lora(order(sd15, photos, start=Start.FACE_COMMON))
    assert "face_frombase_c4" in result.report.record.stand_ins
    assert [one.name for one in persons.load(result.person.name).used] == ["face_frombase_c4"]


def described(context_dim: int = 768, multipliers: tuple = (1, 2, 4, 4)) -> SimpleNamespace:
    """A MODEL with the host's description of its UNet."""
    made = sd15_model().model
    made.model_config.unet_config |= {"context_dim": context_dim, "channel_mult": multipliers}
    return SimpleNamespace(model=made)


def test_the_start_is_for_the_whole_sd15_alone():
    assert train_start.belongs_to(described())
    assert not any(train_start.belongs_to(one) for one in (described(1024), described(multipliers=(1,)), sd15_model()))


def test_what_the_recipe_loses_is_said_with_the_remedy(sdxl):
    def said(model, photos=2, steps=0, **changes):
        settings = presets.from_preset("FaceChain", photos, {"steps": steps or None} | changes)
        return train_start.remark(model, settings, presets.PRESETS["FaceChain"], bool(steps))

    missing = said(described())
    assert "is not here: expect less likeness. It trained 300 steps a photo instead of 200." in missing
    assert missing.endswith("python run.py models get face_frombase_c4")
    assert "steps a photo" not in said(described(), steps=100)
    assert "exists for SD1.5 only" in said(sdxl.model)
    assert "has rank 4; this training has rank 16" in said(described(), rank=16)
    with_it = presets.from_preset("FaceChain", 2, {}, has_common_start=True)
    assert train_start.remark(described(), with_it, presets.PRESETS["FaceChain"], False) == ""
    style = presets.from_preset("FaceChain style", 2, {})
    assert train_start.remark(described(), style, presets.PRESETS["FaceChain style"], False) == ""


def test_another_model_is_refused(file, sdxl):
    file(published(sd15_model(), False))
    with pytest.raises(BadInput, match="belongs to SD1.5"):
        train_start.face_common(lora.file_names(sdxl.model), lora.MODEL_PREFIX)
