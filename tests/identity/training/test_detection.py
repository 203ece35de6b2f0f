"""Published models as the host's loader recognises them, by names and shapes alone: nothing is stored, so their size does not matter."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
import comfy.model_detection as model_detection  # noqa: E402
import comfy.ops  # noqa: E402
from comfy.ldm.flux.model import Flux  # noqa: E402
from comfy.ldm.lumina.model import NextDiT  # noqa: E402
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel  # noqa: E402
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel  # noqa: E402

from facechain_impl.host import families, lora  # noqa: E402
from facechain_impl.identity.training.adapters import target_modules  # noqa: E402
from facechain_impl.identity.training.settings import Targets  # noqa: E402

PREFIX = "model.diffusion_model."
ON_NOTHING = {"device": torch.device("meta"), "dtype": torch.bfloat16, "operations": comfy.ops.disable_weight_init}
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "use_spatial_transformer": True, "legacy": False,
}  # fmt: skip
FLUX = {
    "in_channels": 64 // 4, "out_channels": 16, "context_in_dim": 4096, "hidden_size": 3072, "mlp_ratio": 4.0, "num_heads": 24,
    "depth": 19, "depth_single_blocks": 38, "axes_dim": [16, 56, 56], "theta": 10000, "patch_size": 2, "qkv_bias": True, "vec_in_dim": 768,
    "txt_ids_dims": [],
}  # fmt: skip
FLUX2 = {
    "image_model": "flux2", "in_channels": 128, "out_channels": 128, "mlp_ratio": 3.0, "axes_dim": [32, 32, 32, 32], "theta": 2000,
    "patch_size": 1, "qkv_bias": False, "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
    "vec_in_dim": None,
}  # fmt: skip
PUBLISHED = {
    "SD1.5": lambda: UNetModel(
        **UNET, num_res_blocks=[2, 2, 2, 2], channel_mult=(1, 2, 4, 4), transformer_depth=[1, 1, 1, 1, 1, 1, 0, 0],
        transformer_depth_output=[1] * 9 + [0] * 3, transformer_depth_middle=1, context_dim=768, num_heads=8, **ON_NOTHING,
    ),
    "SDXL": lambda: UNetModel(
        **UNET, num_res_blocks=[2, 2, 2], channel_mult=(1, 2, 4), transformer_depth=[0, 0, 2, 2, 10, 10],
        transformer_depth_output=[0, 0, 0, 2, 2, 2, 10, 10, 10], transformer_depth_middle=10, context_dim=2048, num_head_channels=64,
        use_linear_in_transformer=True, num_classes="sequential", adm_in_channels=2816, **ON_NOTHING,
    ),
    "Flux.1 dev": lambda: Flux(**FLUX, guidance_embed=True, **ON_NOTHING),
    "Flux.1 schnell": lambda: Flux(**FLUX, guidance_embed=False, **ON_NOTHING),
    "Flux.2 dev": lambda: Flux(
        **FLUX2, context_in_dim=15360, hidden_size=6144, num_heads=48, depth=8, depth_single_blocks=48, guidance_embed=True, **ON_NOTHING
    ),
    "Flux.2 klein 4B": lambda: Flux(
        **FLUX2, context_in_dim=7680, hidden_size=3072, num_heads=24, depth=5, depth_single_blocks=20, guidance_embed=False, **ON_NOTHING
    ),
    "Qwen-Image": lambda: QwenImageTransformer2DModel(**ON_NOTHING),
    "Z-Image": lambda: NextDiT(
        patch_size=2, in_channels=16, dim=3840, n_layers=30, n_refiner_layers=2, n_heads=30, n_kv_heads=30, qk_norm=True, cap_feat_dim=2560,
        axes_dims=[32, 48, 48], axes_lens=[1536, 512, 512], rope_theta=256.0, ffn_dim_multiplier=8.0 / 3.0, z_image_modulation=True,
        time_scale=1000.0, pad_tokens_multiple=32, **ON_NOTHING,
    ),
}  # fmt: skip


@pytest.fixture(params=PUBLISHED)
def published(request) -> tuple[str, SimpleNamespace]:
    """The name of a published model, and what the host's loader makes of its names and shapes."""
    tensors = {PREFIX + name: value for name, value in PUBLISHED[request.param]().state_dict().items()}
    config = model_detection.model_config_from_unet(tensors, PREFIX)
    config.set_inference_dtype(torch.bfloat16, None)
    return request.param, SimpleNamespace(model=config.get_model(tensors, PREFIX, device=torch.device("meta")), cached_patcher_init=None)


def test_the_loader_recognises_it_and_so_does_the_family_table(published):
    name, model = published
    how = families.sampling(model)
    expected = {
        "SD1.5": ("SD 1.5", 7.0, None), "SDXL": ("SDXL", 6.0, None), "Flux.1 dev": ("Flux.1", 1.0, 3.5),
        "Flux.1 schnell": ("Flux.1", 1.0, 3.5),
        "Flux.2 dev": ("Flux.2", 1.0, 4.0), "Flux.2 klein 4B": ("Flux.2", 1.0, 4.0), "Qwen-Image": ("Qwen-Image", 4.0, None),
        "Z-Image": ("Z-Image", 4.0, None),
    }  # fmt: skip
    assert (families.of(model).title, how.cfg, how.guidance) == expected[name]
    assert (how.steps == 8) == (name == "Flux.1 schnell")


ATTENTION_LAYERS = {
    "SD1.5": 16 * 8, "SDXL": 70 * 8, "Flux.1 dev": 19 * 4 + 38 * 2, "Flux.1 schnell": 19 * 4 + 38 * 2, "Flux.2 dev": 8 * 4 + 48 * 2,
    "Flux.2 klein 4B": 5 * 4 + 20 * 2, "Qwen-Image": 60 * 8, "Z-Image": 34 * 2,
}  # fmt: skip
"""Transformer blocks, times the linear layers that attend in each."""


def test_its_layers_are_found_and_have_names_in_a_file(published):
    name, model = published
    module, names = model.model.diffusion_model, lora.file_names(model)
    attention, more = (target_modules(module, targets) for targets in (Targets.ATTENTION, Targets.ATTENTION_AND_MLP))
    assert len(attention) == ATTENTION_LAYERS[name] < len(more)
    assert len({names[lora.MODEL_PREFIX + layer] for layer in more}) == len(more)
