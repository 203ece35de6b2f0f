"""LoRA files against upstream's merge: key names, alpha, and the weights that come out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from facechain_impl.identity.lora import formats as lora_files

FIXTURES = ("lora",)


def tensors(case, kind: str) -> dict[str, torch.Tensor]:
    names = [name for name in case.names if name.startswith(f"{kind}|")]
    return {name.removeprefix(f"{kind}|"): torch.from_numpy(np.array(case.input(name))) for name in names}


def layer_name(module: str) -> str:
    """Upstream's module path of a weight as the name of its LoRA layer."""
    name = module.removesuffix(".weight").replace(".", "_")
    return name.replace("unet_", "lora_unet_", 1).replace("text_encoder_", "lora_te_", 1)


@pytest.mark.parametrize("kind", ["kohya", "diffusers"])
def test_merged_weights(case, kind):
    layers = lora_files.layers(lora_files.normalise(tensors(case, kind)))
    modules = [name.removeprefix(f"{kind}_base|") for name in case.names if name.startswith(f"{kind}_base|")]
    assert len(modules) == len(layers)
    for module in modules:
        base = torch.from_numpy(case.input(f"{kind}_base|{module}"))
        merged = base + case.input("multiplier") * layers[layer_name(module)].delta()
        case.compare(f"{kind}_merged|{module}", merged, max=1e-6, rel=1e-6)


def test_renaming(case):
    case.uses("seed")
    renamed = json.loads(str(case.input("diffusers_renaming_json")))
    ours = lora_files.normalise(dict.fromkeys(renamed, torch.zeros(1, 1)))
    assert list(ours) == list(renamed.values())
