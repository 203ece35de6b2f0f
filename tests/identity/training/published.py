"""Published diffusion models by names and shapes alone: nothing is stored, so their size does not matter."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.model_detection
import comfy.ops
import torch
from comfy.ldm.chroma.model import Chroma
from comfy.ldm.flux.model import Flux
from comfy.ldm.hidream.model import HiDreamImageTransformer2DModel
from comfy.ldm.lumina.model import NextDiT
from comfy.ldm.modules.diffusionmodules.mmdit import MMDiT
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.ldm.qwen_image.model import QwenImageTransformer2DModel
from comfy.ldm.wan.model import WanModel

PREFIX = "model.diffusion_model."
ON_NOTHING = {"device": torch.device("meta"), "dtype": torch.bfloat16, "operations": comfy.ops.disable_weight_init}
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "use_spatial_transformer": True, "legacy": False,
}  # fmt: skip
FLUX = {
    "out_channels": 16, "context_in_dim": 4096, "hidden_size": 3072, "mlp_ratio": 4.0, "num_heads": 24, "depth": 19,
    "depth_single_blocks": 38, "axes_dim": [16, 56, 56], "theta": 10000, "qkv_bias": True, "txt_ids_dims": [],
}  # fmt: skip
FLUX1 = {**FLUX, "in_channels": 16, "patch_size": 2, "vec_in_dim": 768}
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
    "SD 3.5 medium": lambda: MMDiT(
        input_size=None, in_channels=16, depth=24, adm_in_channels=2048, pos_embed_max_size=384, num_patches=147456, qk_norm="rms",
        x_block_self_attn_layers=list(range(13)), context_embedder_config={
            "target": "torch.nn.Linear", "params": {"in_features": 4096, "out_features": 1536},
        }, **ON_NOTHING,
    ),
    "Flux.1 dev": lambda: Flux(**FLUX1, guidance_embed=True, **ON_NOTHING),
    "Flux.1 schnell": lambda: Flux(**FLUX1, guidance_embed=False, **ON_NOTHING),
    "Chroma": lambda: Chroma(
        **{**FLUX, "out_channels": 64}, in_channels=64, patch_size=2, in_dim=64, out_dim=3072, hidden_dim=5120, n_layers=5, vec_in_dim=None,
        **ON_NOTHING,
    ),
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
    "HiDream": lambda: HiDreamImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=16, caption_channels=[4096, 4096], axes_dims_rope=(64, 32, 32),
        llama_layers=[*range(32), *[31] * 16], **ON_NOTHING,
    ),
    "Wan 2.1 14B": lambda: WanModel(dim=5120, ffn_dim=13824, num_heads=40, num_layers=40, **ON_NOTHING),
}  # fmt: skip


def recognised(name: str) -> SimpleNamespace:
    """What the host's loader makes of the names and shapes of a published model, as a MODEL."""
    tensors = {PREFIX + key: value for key, value in PUBLISHED[name]().state_dict().items()}
    config = comfy.model_detection.model_config_from_unet(tensors, PREFIX)
    config.set_inference_dtype(torch.bfloat16, None)
    return SimpleNamespace(model=config.get_model(tensors, PREFIX, device=torch.device("meta")), cached_patcher_init=None)
