"""The pocket model: the file that ships, and the checkpoint that is made of it."""

from __future__ import annotations

import shutil

import pytest
import torch

pytest.importorskip("folder_paths", reason="set COMFYUI_PATH to the folder of ComfyUI")

from facechain_impl.errors import WeightsError  # noqa: E402
from facechain_impl.host import checkpoints  # noqa: E402
from facechain_impl.provenance import Origin  # noqa: E402
from facechain_impl.weights import files, handed, headers, pocket  # noqa: E402

MOST_BYTES = 60_000_000


def test_the_text_encoder_is_that_of_the_formula():
    """`text_encoder` checks its hash; what it gives are numbers like those of a trained one, all exact in half precision."""
    tensors = pocket.text_encoder()
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    tokens = next(tensor for name, tensor in tensors.items() if "token_embedding" in name).float()
    assert tokens.shape == (49408, 768) and tokens.std().item() == pytest.approx(148 / 2**pocket.TOKENS, rel=0.01)
    assert (tokens * 2**pocket.TOKENS % 1 == 0).all()


def test_other_numbers_of_the_text_encoder_are_refused(monkeypatch):
    monkeypatch.setattr(pocket, "GOLDEN", pocket.GOLDEN + 2)
    with pytest.raises(WeightsError, match="came out wrong"):
        pocket.text_encoder()


def test_a_number_depends_on_its_place_alone():
    whole = pocket._bell(7, 0, 1000)
    assert (whole[300:400] == pocket._bell(7, 300, 100)).all()
    assert abs(whole).max() <= 510 and len(set(whole)) > 200


def test_the_shipped_file_holds_unet_and_autoencoder_in_half_precision():
    header = headers.read(pocket.MODEL)
    assert pocket.MODEL.stat().st_size <= MOST_BYTES
    unet, vae = checkpoints.PREFIXES["unet"], checkpoints.PREFIXES["vae"]
    wanted = {name: shape for name, (shape, _) in checkpoints.sd15_layout(**pocket.UNET).items() if name.startswith(unet)}
    assert {name: tuple(shape) for name, (shape, _) in header.layout.items() if name.startswith(unet)} == wanted
    others = [name for name in header.layout if not name.startswith(unet)]
    assert all(name.startswith((f"{vae}taesd_encoder.", f"{vae}taesd_decoder.", f"{vae}vae_s")) for name in others)
    assert f"{vae}taesd_decoder.1.weight" in others, "by which the host knows TAESD"
    assert {dtype for _, dtype in header.layout.values()} == {torch.float16}


def test_the_shipped_file_says_that_it_is_a_toy():
    assert headers.read(pocket.MODEL).metadata[files.MARK] == files.POCKET
    assert handed.MARKED[files.POCKET] is Origin.POCKET


def test_the_checkpoint_keeps_the_mark_and_holds_all_three_parts(tmp_path):
    path = pocket.assemble(tmp_path / pocket.FILE_NAME)
    header = headers.read(path)
    assert header.metadata == headers.read(pocket.MODEL).metadata
    assert {part: any(name.startswith(prefix) for name in header.layout) for part, prefix in checkpoints.PREFIXES.items()} == {
        "unet": True, "vae": True, "clip": True
    }  # fmt: skip
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_copy_of_the_pack_without_the_model_says_where_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(pocket, "MODEL", tmp_path / "pocket-model.safetensors")
    with pytest.raises(WeightsError, match=r"is not in this copy of the pack.*git clone"):
        pocket.assemble(tmp_path / "made.safetensors")
    assert pocket.main([str(tmp_path / "made.safetensors")]) == 1
    assert "git clone" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_the_command_writes_it(monkeypatch, tmp_path):
    small = tmp_path / "small.safetensors"
    shutil.copy(pocket.MODEL, small)
    monkeypatch.setattr(pocket, "text_encoder", dict)
    monkeypatch.setattr(pocket, "MODEL", small)
    assert pocket.main([str(tmp_path / "made.safetensors")]) == 0
    assert headers.read(tmp_path / "made.safetensors").layout == headers.read(small).layout
