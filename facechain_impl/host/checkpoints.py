"""The single-file layout of SD 1.5, read from the host's networks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import comfy.clip_model
import comfy.ops
import comfy.sd1_clip
import torch
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from ..types import Layout

UNET = {"image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_heads": 8, "context_dim": 768, "legacy": False}
VAE = {
    "double_z": True, "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
PREFIXES = {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "clip": "cond_stage_model.transformer."}


def sd15_layout(multipliers: Sequence[int] = (1, 2, 4, 4), blocks: int = 2, transformers: Sequence[int] = (1, 1, 1, 0)) -> Layout:
    """Name -> (shape, float16) of UNet, VAE and CLIP-L. `multipliers` of 320 channels, residual blocks and transformers per level.

    The defaults are the published sizes. The host recognises SD 1.5 by the 320 channels and by the text width, which stay."""
    with torch.device("meta"):
        parts = {"unet": sd15_unet(multipliers, blocks, transformers), "vae": AutoencoderKL(embed_dim=4, ddconfig=VAE), "clip": _clip()}
    return {
        PREFIXES[part] + name: (tuple(tensor.shape), torch.float16)
        for part, network in parts.items()
        for name, tensor in network.state_dict().items()
        if name != "text_projection.weight"  # SD 1.5 files end at the last hidden state
    }


def sd15_unet(multipliers: Sequence[int], blocks: int, transformers: Sequence[int]) -> UNetModel:
    """The UNet of that layout, as the host builds it, its weights unset."""
    return UNetModel(
        **UNET,
        num_res_blocks=[blocks] * len(multipliers),
        channel_mult=multipliers,
        use_spatial_transformer=True,
        transformer_depth=[depth for depth in transformers for _ in range(blocks)],
        transformer_depth_output=[depth for depth in transformers for _ in range(blocks + 1)],
        transformer_depth_middle=1,
        operations=comfy.ops.disable_weight_init,
    )


def _clip() -> torch.nn.Module:
    config = json.loads((Path(comfy.sd1_clip.__file__).parent / "sd1_clip_config.json").read_text(encoding="utf-8"))
    return comfy.clip_model.CLIPTextModel(config, torch.float16, "meta", comfy.ops.disable_weight_init)
