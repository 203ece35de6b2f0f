"""Small random models built through the host's own classes, and a place of their own for people and states."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch

CLIP_L = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 3, "vocab_size": 49408}
UNET = {
    "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 32, "num_res_blocks": [1, 1], "channel_mult": (1, 2),
    "use_spatial_transformer": True, "transformer_depth": [1, 1], "transformer_depth_output": [1, 1, 1, 1], "transformer_depth_middle": 1,
    "legacy": False, "dtype": torch.float32, "use_temporal_attention": False,
}  # fmt: skip


def comfy(name: str):
    return pytest.importorskip(f"comfy.{name}", reason="set COMFYUI_PATH to the folder of ComfyUI")


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


def sd15_model(seed: int = 1, model_type: str = "EPS"):
    """A MODEL of SD1.5's structure: two levels, width 32, text of width 64."""
    base, supported = comfy("model_base"), comfy("supported_models")
    config = supported.SD15({**UNET, "context_dim": 64, "num_heads": 8, "use_linear_in_transformer": False, "adm_in_channels": None})
    model = base.BaseModel(config, model_type=base.ModelType[model_type], device=torch.device("cpu"))
    randomise(model.diffusion_model, seed)
    return patcher(model)


def sdxl_model(seed: int = 2):
    """A MODEL of SDXL's structure: linear projections, heads of 64 channels, pooled text of 48 and six sizes."""
    base, supported = comfy("model_base"), comfy("supported_models")
    unet = {**UNET, "model_channels": 64, "context_dim": 112, "use_linear_in_transformer": True, "adm_in_channels": 48 + 6 * 256}
    model = base.SDXL(supported.SDXL({**unet, "num_classes": "sequential"}), device=torch.device("cpu"))
    randomise(model.diffusion_model, seed)
    return patcher(model)


def flux_model(seed: int = 5, **changes):
    """A MODEL of Flux's structure: one double and two single blocks of width 64, latents of 16 channels, rectified flow."""
    base, supported = comfy("model_base"), comfy("supported_models")
    unet = {
        "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 48, "context_in_dim": 64, "hidden_size": 64,
        "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 2, "axes_dim": [8, 12, 12], "theta": 10000, "patch_size": 2,
        "qkv_bias": True, "guidance_embed": True, "txt_ids_dims": [], "dtype": torch.float32, **changes,
    }  # fmt: skip
    model = base.Flux(supported.Flux(unet), device=torch.device("cpu"))
    randomise(model.diffusion_model, seed)
    return patcher(model)


class FixedClip:
    """Stands in for text encoders that are large: a caption decides a random text of width 64 and a pooled one of 48."""

    def __init__(self):
        self.patcher = patcher(torch.nn.Linear(1, 1))
        self.cond_stage_model = self.patcher.model

    def tokenize(self, text: str, disable_weights: bool = False) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str, show_pbar=True) -> list:
        generator = torch.Generator().manual_seed(sum(tokens.encode()))
        return [[torch.randn(1, 12, 64, generator=generator), {"pooled_output": torch.randn(1, 48, generator=generator)}]]


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
    """Stands in for the host's VAE where its arithmetic does not matter: eight-fold averages, repeated over the channels."""

    def __init__(self, channels: int = 4):
        self.channels = channels
        self.patcher = patcher(torch.nn.Linear(1, 1))
        self.encodings = 0

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.encodings += len(pixels)
        small = torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8) * 4 - 2
        return torch.cat([small, small.mean(1, keepdim=True)], 1).repeat(1, self.channels // 4, 1, 1)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate((latents[:, :3] + 2) / 4, scale_factor=8).movedim(1, -1).clamp(0, 1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Folders of the host inside a temporary directory."""
    folder_paths = importlib.import_module("folder_paths")
    models = tmp_path / "models"
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    extensions = folder_paths.folder_names_and_paths["loras"][1]
    loras = [str(models / "loras"), str(models / "facechain" / "persons")]
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    importlib.import_module("facechain_impl.host.folders").register()
    folder_paths.folder_names_and_paths["loras"] = (loras, extensions)
    return tmp_path


@pytest.fixture
def sd15():
    return SimpleNamespace(model=sd15_model(), clip=SmallClip.sd15(), vae=SmallVae())


@pytest.fixture
def sdxl():
    return SimpleNamespace(model=sdxl_model(), clip=SmallClip.sdxl(), vae=SmallVae())


@pytest.fixture
def flux():
    return SimpleNamespace(model=flux_model(), clip=FixedClip(), vae=SmallVae(16))


@pytest.fixture
def photos() -> list[torch.Tensor]:
    """Three smooth random pictures [64, 64, 3]."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(3, 3, 8, 8, generator=generator)
    return list(torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1).movedim(1, -1))
