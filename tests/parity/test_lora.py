"""LoRA files against upstream's merge: key names, alpha, and the weights that come out."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.identity.lora import formats as lora_files

lora = pytest.importorskip("facechain_impl.host.lora", reason="set COMFYUI_PATH")
from comfy.lora import load_lora  # noqa: E402

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
    """As the host puts it on a weight, and in the two matrices that a merged file holds."""
    bases = {name.removeprefix(f"{kind}_base|"): name for name in case.names if name.startswith(f"{kind}_base|")}
    bases = {module: torch.from_numpy(case.input(name)) for module, name in bases.items()}
    adapters = load_lora(lora_files.normalise(tensors(case, kind)), {layer_name(module): module for module in bases}, log_missing=False)
    assert adapters.keys() == bases.keys()
    model = SimpleNamespace(model_state_dict=lambda: bases)
    for module, base in bases.items():
        added = lora.weight_delta(model, None, module, adapters[module])
        up, down, scale = lora.factors(adapters[module])
        product = scale * (up.flatten(1) @ down.flatten(1)).reshape(base.shape)
        torch.testing.assert_close(added, product, rtol=1e-5, atol=1e-6)
        case.compare(f"{kind}_merged|{module}", base + case.input("multiplier") * product, max=1e-6, rel=1e-6)


def test_renaming(case):
    case.uses("seed")
    renamed = json.loads(str(case.input("diffusers_renaming_json")))
    ours = lora_files.normalise(dict.fromkeys(renamed, torch.zeros(1, 1)))
    assert list(ours) == list(renamed.values())
