"""Published models as the host's loader recognises them, and LoRA files for them as diffusers reads them."""

from __future__ import annotations

import diffusers
import pytest
import torch

pytest.importorskip("comfy.model_detection", reason="set COMFYUI_PATH")
from facechain_impl.host import families, lora  # noqa: E402
from facechain_impl.identity.lora import parts  # noqa: E402
from facechain_impl.identity.lora.formats import Layer  # noqa: E402
from facechain_impl.identity.training.adapters import target_modules, tensors_for_file  # noqa: E402
from facechain_impl.identity.training.settings import Targets  # noqa: E402

from .published import PUBLISHED, recognised  # noqa: E402


@pytest.mark.parametrize(
    ("name", "title", "cfg", "guidance"),
    [
        ("SD1.5", "SD 1.5", 7.0, None),
        ("SDXL", "SDXL", 6.0, None),
        ("SD 3.5 medium", "SD 3", 4.5, None),
        ("Flux.1 dev", "Flux.1", 1.0, 3.5),
        ("Flux.1 schnell", "Flux.1", 1.0, 3.5),
        ("Chroma", "Chroma", 4.0, None),
        ("Flux.2 dev", "Flux.2", 1.0, 4.0),
        ("Flux.2 klein 4B", "Flux.2", 1.0, 4.0),
        ("Qwen-Image", "Qwen-Image", 4.0, None),
        ("Z-Image", "Z-Image", 4.0, None),
        ("HiDream", "HiDream", 5.0, None),
        ("Wan 2.1 14B", "Wan", 5.0, None),
    ],
)
def test_the_loader_and_the_family_table_know_it(name, title, cfg, guidance):
    model = recognised(name)
    how = families.sampling(model)
    assert (families.of(model).title, how.cfg, how.guidance) == (title, cfg, guidance)
    assert (how.steps == 8) == (name == "Flux.1 schnell")


ATTENTION_LAYERS = {
    "SD1.5": 16 * 8, "SDXL": 70 * 8, "SD 3.5 medium": 24 * 4 - 1 + 13 * 2, "Flux.1 dev": 19 * 4 + 38 * 2, "Chroma": 19 * 4 + 38 * 2,
    "Flux.2 dev": 8 * 4 + 48 * 2, "Flux.2 klein 4B": 5 * 4 + 20 * 2, "Qwen-Image": 60 * 8, "Z-Image": 34 * 2, "HiDream": 16 * 8 + 32 * 4,
    "Wan 2.1 14B": 40 * 8,
}  # fmt: skip
"""Transformer blocks, times the linear layers that attend in each. The last block of SD 3 has no output for the text."""
IN_DIFFUSERS = {
    "SD 3.5 medium": (diffusers.StableDiffusion3Pipeline, diffusers.SD3Transformer2DModel, {
        "num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 384, "qk_norm": "rms_norm",
        "dual_attention_layers": tuple(range(13)),
    }),
    "Flux.1 dev": (diffusers.FluxPipeline, diffusers.FluxTransformer2DModel, {"guidance_embeds": True}),
    "Chroma": (diffusers.ChromaPipeline, diffusers.ChromaTransformer2DModel, {}),
    "Flux.2 dev": (diffusers.Flux2Pipeline, diffusers.Flux2Transformer2DModel, {}),
    "Flux.2 klein 4B": (diffusers.Flux2Pipeline, diffusers.Flux2Transformer2DModel, {
        "num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680,
    }),
    "Qwen-Image": (diffusers.QwenImagePipeline, diffusers.QwenImageTransformer2DModel, {}),
    "Z-Image": (diffusers.ZImagePipeline, diffusers.ZImageTransformer2DModel, {}),
    "HiDream": (diffusers.HiDreamImagePipeline, diffusers.HiDreamImageTransformer2DModel, {
        "patch_size": 2, "in_channels": 16, "caption_channels": [4096, 4096], "axes_dims_rope": (64, 32, 32),
        "llama_layers": [*range(32), *[31] * 16],
    }),
    "Wan 2.1 14B": (diffusers.WanPipeline, diffusers.WanTransformer3DModel, {}),
}  # fmt: skip


def file_for(model, targets: Targets) -> dict[str, torch.Tensor]:
    """A LoRA file of rank 1 for every layer that is trained."""
    module, layers = model.model.diffusion_model, {}
    for name in target_modules(module, targets):
        rows, columns = module.get_submodule(name).weight.shape
        layers[name] = Layer(torch.rand(rows, 1), torch.rand(1, columns), 1.0)
    return tensors_for_file(layers, lora.file_names(model), lora.MODEL_PREFIX)


@pytest.mark.parametrize("name", ATTENTION_LAYERS)
def test_its_layers_are_found(name):
    module = recognised(name).model.diffusion_model
    attention, more = (target_modules(module, targets) for targets in (Targets.ATTENTION, Targets.ATTENTION_AND_MLP))
    assert len(attention) == ATTENTION_LAYERS[name] < len(more)


@pytest.mark.parametrize("name", IN_DIFFUSERS)
def test_diffusers_uses_every_key_of_a_file(name):
    model = recognised(name)
    ours, known_parts = file_for(model, Targets.ATTENTION_AND_MLP), lora.parts(model)
    written = parts.split(ours, known_parts)
    pipeline, network, config = IN_DIFFUSERS[name]
    read = pipeline.lora_state_dict(written)
    read = read[0] if isinstance(read, tuple) else read
    with torch.device("meta"):
        layers = dict(network(**config).named_modules())
    for key, value in read.items():
        layer = layers[key.removeprefix("transformer.").rsplit(".lora_", 1)[0]]
        assert value.shape == ((1, layer.in_features) if ".lora_A." in key else (layer.out_features, 1)), key
    assert sum(value.numel() for value in read.values()) >= sum(value.numel() for value in written.values() if value.ndim == 2)


@pytest.mark.parametrize("name", ["SD 3.5 medium", "Z-Image"])
def test_parts_are_put_together_again(name):
    model = recognised(name)
    ours, known_parts = file_for(model, Targets.ATTENTION_AND_MLP), lora.parts(model)
    assert any(len(some) == 3 for some in known_parts.values())
    again = parts.joined(parts.split(ours, known_parts), known_parts)
    assert again.keys() == ours.keys() and all(torch.equal(again[key], ours[key]) for key in ours)


def test_every_published_model_is_in_some_table():
    assert PUBLISHED.keys() - {"Flux.1 schnell"} == ATTENTION_LAYERS.keys() and IN_DIFFUSERS.keys() < ATTENTION_LAYERS.keys()
