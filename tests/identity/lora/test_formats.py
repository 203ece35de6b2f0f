"""Key formats in and out, and files that are none."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from facechain_impl.errors import BadInput, FaceChainError, WeightsError
from facechain_impl.identity.lora import formats as lora_files

SITE = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
UP, DOWN = torch.arange(8.0).reshape(4, 2), torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("up", "down"),
    [
        (f"{SITE}.processor.to_q_lora.up.weight", f"{SITE}.processor.to_q_lora.down.weight"),
        (f"unet.{SITE}.processor.to_q_lora.up.weight", f"unet.{SITE}.processor.to_q_lora.down.weight"),
        (f"unet.{SITE}.to_q.lora_B.weight", f"unet.{SITE}.to_q.lora_A.weight"),
        (f"unet.{SITE}.to_q.lora.up.weight", f"unet.{SITE}.to_q.lora.down.weight"),
        (f"base_model.model.{SITE}.to_q.lora_B.default.weight", f"base_model.model.{SITE}.to_q.lora_A.default.weight"),
        (f"{KOHYA}.lora_up.weight", f"{KOHYA}.lora_down.weight"),
    ],
)
def test_every_unet_format_becomes_kohya(up, down):
    layers = lora_files.layers(lora_files.normalise({up: UP, down: DOWN}))
    assert list(layers) == [KOHYA]
    assert torch.equal(layers[KOHYA].up, UP) and torch.equal(layers[KOHYA].down, DOWN)


def test_output_projection_gets_its_number():
    key = f"{SITE}.processor.to_out_lora.up.weight"
    assert list(lora_files.normalise({key: UP})) == [KOHYA.replace("to_q", "to_out_0") + ".lora_up.weight"]


@pytest.mark.parametrize(("both", "first"), [(False, "lora_te_"), (True, "lora_te1_")])
def test_text_encoders(both, first):
    name = "text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight"
    tensors = {f"text_encoder.{name}": DOWN} | ({f"text_encoder_2.{name}": DOWN} if both else {})
    keys = set(lora_files.normalise(tensors))
    assert f"{first}text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight" in keys
    assert len(keys) == (2 if both else 1)


def test_keys_of_other_kinds_stay():
    keys = ["diffusion_model.layers.0.attention.qkv.lora_A.weight", "transformer.single.0.lora_B.weight", f"{KOHYA}.hada_w1_a"]
    assert list(lora_files.normalise(dict.fromkeys(keys, UP))) == [
        "diffusion_model.layers.0.attention.qkv.lora_A.weight", "transformer.single.0.lora_B.weight", f"{KOHYA}.hada_w1_a",
    ]  # fmt: skip


def test_alpha_scales_and_none_means_rank():
    tensors = {f"{KOHYA}.lora_up.weight": UP, f"{KOHYA}.lora_down.weight": DOWN}
    assert lora_files.layers(tensors)[KOHYA].scale == 1.0
    assert lora_files.layers(tensors | {f"{KOHYA}.alpha": torch.tensor(0.5)})[KOHYA].scale == 0.25


def test_alpha_from_the_header_of_diffusers():
    metadata = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 8, "unet.r": 2})}
    tensors = {f"unet.{SITE}.to_q.lora_A.weight": DOWN, f"unet.{SITE}.to_q.lora_B.weight": UP}
    assert lora_files.layers(lora_files.normalise(tensors, metadata))[KOHYA].scale == 4.0


def test_half_a_layer_is_named():
    with pytest.raises(BadInput, match=f"{KOHYA} has only one"):
        lora_files.layers({f"{KOHYA}.lora_up.weight": UP})


@pytest.mark.parametrize(("width", "name"), [(768, "SD1.5"), (2048, "SDXL"), (64, "a UNet with text width 64")])
def test_description(width, name):
    tensors = {"lora_unet_down_blocks_0_attn2_to_k.lora_down.weight": torch.zeros(4, width)}
    tensors["lora_unet_down_blocks_0_attn2_to_k.lora_up.weight"] = torch.zeros(8, 4)
    assert lora_files.describe(tensors) == f"kohya, {name}"


def test_written_and_read(tmp_path):
    path = tmp_path / "folder" / "a.safetensors"
    lora_files.write(path, {"a": UP.T}, {"who": "me"})
    found = lora_files.read(path)
    assert torch.equal(found.tensors["a"], UP.T) and found.metadata == {"who": "me"}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.safetensors"]


def test_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    lora_files.write(path, {"a": UP}, {})

    def full(tensors, file, metadata):
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lora_files.safetensors.torch, "save_file", full)
    with pytest.raises(FaceChainError, match="disk is full.*Free some space"):
        lora_files.write(path, {"a": DOWN}, {})
    assert torch.equal(lora_files.read(path).tensors["a"], UP)
    assert len(list(tmp_path.iterdir())) == 1


def test_pickles_are_read_without_running_code(tmp_path):
    good, bad, other = tmp_path / "good.bin", tmp_path / "bad.bin", tmp_path / "other.pt"
    torch.save({"a": UP}, good)
    assert torch.equal(lora_files.read(good).tensors["a"], UP)

    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "owned"), "w")

    bad.write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(WeightsError, match="bad.bin"):
        lora_files.read(bad)
    assert not (tmp_path / "owned").exists()
    torch.save([1, 2], other)
    with pytest.raises(WeightsError, match="is not a table of tensors"):
        lora_files.read(other)


@pytest.mark.parametrize("name", ["cut.safetensors", "empty.safetensors", "cut.bin"])
def test_truncated_files(tmp_path, name):
    path = tmp_path / name
    if name.endswith("bin"):
        torch.save({"a": UP}, path)
    else:
        lora_files.write(path, {"a": UP}, {})
    path.write_bytes(b"" if name.startswith("empty") else path.read_bytes()[:40])
    with pytest.raises(WeightsError, match=name):
        lora_files.read(path)


def test_another_kind_of_file(tmp_path):
    with pytest.raises(WeightsError, match="is not a LoRA file"):
        lora_files.read(tmp_path / "notes.txt")
