"""Small random models built through the host's own classes, with text encoders and VAEs of the right shapes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

CLIP_L = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 49408}
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1], "channel_mult": (1, 2),
    "use_spatial_transformer": True, "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
    "legacy": False, "dtype": torch.float32, "use_temporal_attention": False,
}  # fmt: skip


def comfy(name: str) -> ModuleType:
    return import_module(f"comfy.{name}")


def randomise(module: torch.nn.Module, seed: int, spread: float = 0.05) -> None:
    """Host modules start empty: weights of a fixed seed, norms at one, biases at zero."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, value in module.state_dict().items():
        if value.ndim < 2:
            state[key] = torch.ones_like(value) if key.endswith("weight") else torch.zeros_like(value)
        else:
            state[key] = torch.randn(value.shape, generator=generator) * spread
    module.load_state_dict(state)


def patcher(model):
    return comfy("model_patcher").ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def random_model(kind: str, config: str, unet: dict[str, Any], seed: int, **given: Any):
    """A MODEL of the host's class `kind` on the CPU, with the host's configuration `config` of this network."""
    supported = getattr(comfy("supported_models"), config)(unet)
    model = getattr(comfy("model_base"), kind)(supported, device=torch.device("cpu"), **given)
    randomise(model.diffusion_model, seed)
    return patcher(model)


def sd15_model(seed: int = 1, model_type: str = "EPS"):
    """A MODEL of SD1.5's structure: two levels, width 32, text of width 64."""
    unet = {**UNET, "context_dim": 64, "num_heads": 8, "use_linear_in_transformer": False, "adm_in_channels": None}
    return random_model("BaseModel", "SD15", unet, seed, model_type=comfy("model_base").ModelType[model_type])


def sdxl_model(seed: int = 2):
    """A MODEL of SDXL's structure: linear projections, heads of 64 channels, pooled text of 48 and six sizes."""
    unet = {**UNET, "model_channels": 64, "context_dim": 112, "use_linear_in_transformer": True, "adm_in_channels": 48 + 6 * 256}
    return random_model("SDXL", "SDXL", {**unet, "num_classes": "sequential"}, seed)


def flux_model(seed: int = 5, **changes: Any):
    """A MODEL of Flux's structure: one double and two single blocks of width 64, latents of 16 channels, rectified flow."""
    unet = {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 48, "context_in_dim": 64, "hidden_size": 64,
        "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 10000, "patch_size": 2,
        "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": [], "dtype": torch.float32, **changes,
    }  # fmt: skip
    return random_model("Flux", "Flux", unet, seed)


def flux2_model(seed: int = 6):
    """A MODEL of Flux.2's structure: shared modulation, gated feed-forward, latents of 128 channels at a sixteenth of the size."""
    unet = {
        "image_model": "flux2", "in_channels": 128, "out_channels": 128, "vec_in_dim": None, "context_in_dim": 64, "hidden_size": 64,
        "mlp_ratio": 3.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 2, "axes_dim": [8, 8, 8, 8], "theta": 2000, "patch_size": 1,
        "qkv_bias": False, "guidance_embed": True, "txt_ids_dims": [3], "global_modulation": True, "mlp_silu_act": True, "ops_bias": False,
        "default_ref_method": "index", "ref_index_scale": 10.0, "dtype": torch.float32,
    }  # fmt: skip
    return random_model("Flux2", "Flux2", unet, seed)


def qwen_image_model(seed: int = 7):
    """A MODEL of Qwen-Image's structure: two blocks with streams for text and picture, latents of 16 channels with a time axis."""
    unet = {
        "image_model": "qwen_image", "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 32,
        "num_attention_heads": 2, "joint_attention_dim": 64, "axes_dims_rope": (8, 12, 12), "dtype": torch.float32,
    }  # fmt: skip
    return random_model("QwenImage", "QwenImage", unet, seed)


def z_image_model(seed: int = 8):
    """A MODEL of Z-Image's structure: one stream, refiners before it, text padded to multiples of 32."""
    unet = {
        "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 256, "cap_feat_dim": 64, "n_layers": 2, "n_refiner_layers": 1,
        "qk_norm": True, "n_heads": 8, "n_kv_heads": 8, "axes_dims": [8, 12, 12], "axes_lens": [1536, 512, 512], "rope_theta": 256.0,
        "ffn_dim_multiplier": 8.0 / 3.0, "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
        "dtype": torch.float32,
    }  # fmt: skip
    return random_model("Lumina2", "ZImage", unet, seed)


def lumina2_model(seed: int = 12):
    """A MODEL of Lumina 2's structure: as Z-Image, but two heads of keys and values and text that is not padded."""
    unet = {
        "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 128, "cap_feat_dim": 64, "n_layers": 2, "n_refiner_layers": 1,
        "qk_norm": True, "n_heads": 4, "n_kv_heads": 2, "axes_dims": [8, 12, 12], "axes_lens": [300, 512, 512], "rope_theta": 10000.0,
        "ffn_dim_multiplier": 4.0, "dtype": torch.float32,
    }  # fmt: skip
    return random_model("Lumina2", "Lumina2", unet, seed)


def auraflow_model(seed: int = 13):
    """A MODEL of AuraFlow's structure: a block with streams for text and picture and a single one, latents of four channels."""
    unet = {
        "in_channels": 4, "out_channels": 4, "dim": 64, "n_layers": 2, "n_double_layers": 1, "n_heads": 2, "global_conddim": 64,
        "cond_seq_dim": 64, "max_seq": 16 * 16, "dtype": torch.float32,
    }  # fmt: skip
    return random_model("AuraFlow", "AuraFlow", unet, seed)


def ernie_image_model(seed: int = 9):
    """A MODEL of Ernie-Image's structure: one stream of two blocks, latents of 128 channels at a sixteenth of the size."""
    unet = {
        "image_model": "ernie", "hidden_size": 64, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 128, "in_channels": 128,
        "out_channels": 128, "text_in_dim": 48, "rope_axes_dim": (8, 12, 12), "dtype": torch.float32,
    }  # fmt: skip
    return random_model("ErnieImage", "ErnieImage", unet, seed)


def cosmos_predict2_model(seed: int = 10):
    """A MODEL of Cosmos Predict2's structure: two blocks of width 64, latents of 16 channels with a time axis."""
    unet = {
        "image_model": "cosmos_predict2", "max_img_h": 240, "max_img_w": 240, "max_frames": 128, "in_channels": 16, "out_channels": 16,
        "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "num_blocks": 2, "num_heads": 2, "crossattn_emb_channels": 64,
        "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 16, "dtype": torch.float32,
    }  # fmt: skip
    return random_model("CosmosPredict2", "CosmosT2IPredict2", unet, seed)


def ltxv_model(seed: int = 11):
    """A MODEL of LTX-Video's structure: two blocks of width 64, latents of 128 channels at a thirty-second of the size with a time axis."""
    unet = {
        "image_model": "ltxv", "in_channels": 128, "cross_attention_dim": 64, "attention_head_dim": 32, "num_attention_heads": 2,
        "caption_channels": 64, "num_layers": 2, "dtype": torch.float32,
    }  # fmt: skip
    return random_model("LTXV", "LTXV", unet, seed)


class FixedClip:
    """Stands in for text encoders that are large: a caption decides a random text of `width` channels, and a pooled one. mask: it also
    says which places hold text."""

    def __init__(self, width: int = 64, pooled: int | None = 48, mask: bool = False):
        self.patcher = patcher(torch.nn.Linear(1, 1))
        self.cond_stage_model = self.patcher.model
        self._width, self._pooled, self._mask = width, pooled, mask

    def tokenize(self, text: str, disable_weights: bool = False) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str, show_pbar: bool = True, add_dict: dict[str, Any] | None = None) -> list:
        generator = torch.Generator().manual_seed(sum(tokens.encode()))
        text = torch.randn(1, 12, self._width, generator=generator)
        pooled = {"pooled_output": torch.randn(1, self._pooled, generator=generator)} if self._pooled else {}
        mask = {"attention_mask": torch.ones(1, 12, dtype=torch.long)} if self._mask else {}
        return [[text, {**pooled, **mask, **(add_dict or {})}]]


class SmallClip:
    """CLIP of the host whose text encoders are small. Cached by pytest, never changed."""

    @staticmethod
    def sd15(seed: int = 3):
        sd1_clip = comfy("sd1_clip")
        return SmallClip._clip(sd1_clip.SD1ClipModel, sd1_clip.SD1Tokenizer, {"clip_l_model_config": dict(CLIP_L)}, seed)

    @staticmethod
    def sdxl(seed: int = 4):
        sdxl_clip = comfy("sdxl_clip")
        wide = dict(CLIP_L, hidden_size=48, projection_dim=48)
        options = {"clip_l_model_config": dict(CLIP_L), "clip_g_model_config": wide}
        return SmallClip._clip(sdxl_clip.SDXLClipModel, sdxl_clip.SDXLTokenizer, options, seed)

    @staticmethod
    def _clip(model, tokenizer, options, seed):
        target = SimpleNamespace(params={}, clip=model, tokenizer=tokenizer)
        clip = comfy("sd").CLIP(target, model_options={**options, "dtype": torch.float32}, tokenizer_data={})
        randomise(clip.cond_stage_model, seed, 0.1)
        return clip


class SmallVae:
    """Stands in for the host's VAE where its arithmetic does not matter: averages of `scale` x `scale` pixels, repeated over the channels.

    frames: latents have a time axis, as those of video models do."""

    def __init__(self, channels: int = 4, scale: int = 8, frames: bool = False):
        self.channels, self.scale, self.frames = channels, scale, frames
        self.patcher = patcher(torch.nn.Linear(1, 1))
        self.encodings = 0

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.encodings += len(pixels)
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), self.scale) * 4 - 2
        latents = torch.cat([small, small.mean(1, keepdim=True)], 1).repeat(1, self.channels // 4, 1, 1)
        return latents[:, :, None] if self.frames else latents

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        flat = latents[:, :, 0] if self.frames else latents
        return torch.nn.functional.interpolate((flat[:, :3] + 2) / 4, scale_factor=self.scale).movedim(1, -1).clamp(0, 1)


@dataclass(frozen=True)
class Small:
    """MODEL, CLIP and VAE of one family."""

    model: Any
    clip: Any
    vae: Any


FAMILIES: dict[str, Callable[[], Small]] = {
    "SD1.5": lambda: Small(sd15_model(), SmallClip.sd15(), SmallVae()),
    "SDXL": lambda: Small(sdxl_model(), SmallClip.sdxl(), SmallVae()),
    "Flux": lambda: Small(flux_model(), FixedClip(), SmallVae(16)),
    "Flux.2": lambda: Small(flux2_model(), FixedClip(pooled=None), SmallVae(128, 16)),
    "Qwen-Image": lambda: Small(qwen_image_model(), FixedClip(pooled=None), SmallVae(16, frames=True)),
    "Z-Image": lambda: Small(z_image_model(), FixedClip(pooled=None), SmallVae(16)),
}
OTHERS: dict[str, Callable[[], Small]] = {
    "AuraFlow": lambda: Small(auraflow_model(), FixedClip(pooled=None), SmallVae()),
    "Lumina 2": lambda: Small(lumina2_model(), FixedClip(pooled=None), SmallVae(16)),
    "Ernie-Image": lambda: Small(ernie_image_model(), FixedClip(48, pooled=None), SmallVae(128, 16)),
    "Cosmos Predict2": lambda: Small(cosmos_predict2_model(), FixedClip(pooled=None), SmallVae(16, frames=True)),
    "LTX-Video": lambda: Small(ltxv_model(), FixedClip(pooled=None, mask=True), SmallVae(128, 32, frames=True)),
}
"""Of families that are trained for a few steps, and no more."""
