"""Stand-in ControlNets: the published names, and a host that takes them for what they are."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from facechain_impl.weights import headers
from facechain_impl.weights.stand_ins.controlnet import layout, write_controlnet

controlnet = pytest.importorskip("comfy.controlnet", reason="set COMFYUI_PATH to the folder of ComfyUI")


def test_the_full_size_has_the_parameters_of_the_published_file():
    """control_v11p_sd15 has 361 279 120 parameters in 340 tensors."""
    full = layout((1, 2, 4, 4), 2, transformers=(1, 1, 1, 0))
    assert sum(torch.Size(shape).numel() for shape, _ in full.values()) == 361_279_120 and len(full) == 340


def test_the_host_loads_it_without_a_missing_key(tmp_path, caplog):
    path = write_controlnet(tmp_path / "pose.safetensors")
    with caplog.at_level(logging.DEBUG):
        loaded = controlnet.load_controlnet(str(path))
    assert isinstance(loaded, controlnet.ControlNet)
    assert not [record for record in caplog.records if "controlnet keys" in record.getMessage()]
    assert {name: tuple(tensor.shape) for name, tensor in loaded.control_model.state_dict().items()} == {
        name: shape for name, (shape, _) in layout().items()
    }


def test_it_is_marked_and_depends_on_its_seed_alone(tmp_path):
    first, again, other = (write_controlnet(tmp_path / f"{i}.safetensors", seed) for i, seed in enumerate((1, 1, 2)))
    assert content(first) == content(again)
    assert content(first)[1] != content(other)[1]
    assert headers.read(first).metadata["facechain"] == "stand-in"


def content(path: Path) -> tuple[headers.Header, bytes]:
    """What the header says, whose order is not fixed, and the bytes behind it."""
    data = path.read_bytes()
    return headers.read(path), data[8 + int.from_bytes(data[:8], "little") :]
