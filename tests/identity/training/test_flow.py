"""Training of a flow-matching transformer, on a small random Flux."""

from __future__ import annotations

import pytest
import torch

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
import comfy.sd  # noqa: E402

from facechain_impl.host import lora  # noqa: E402
from facechain_impl.host.models import Sampling  # noqa: E402
from facechain_impl.host.objective import Objective  # noqa: E402
from facechain_impl.identity.training import train  # noqa: E402
from facechain_impl.identity.training.adapters import target_modules  # noqa: E402
from facechain_impl.identity.training.previews import Preview  # noqa: E402
from facechain_impl.identity.training.settings import Targets  # noqa: E402

from .test_train import order, weights  # noqa: E402


def test_objective_is_the_velocity_at_the_models_own_noise_levels(flux):
    objective = Objective(flux.model.get_model_object("model_sampling"))
    sigmas = objective.sample_sigmas(4000, torch.Generator().manual_seed(1))
    assert objective.name == "flow" and objective.num_timesteps is None
    assert sigmas.min() > 0 and sigmas.max() < 1
    # logit-normal time has its median at 1/2, which Flux' shift of 1.15 moves to e^1.15 / (e^1.15 + 1)
    assert sigmas.median().item() == pytest.approx(0.7595, abs=0.02)
    latents, noise, level = torch.ones(1, 16, 4, 4), torch.full((1, 16, 4, 4), 3.0), torch.tensor([0.25])
    torch.testing.assert_close(objective.add_noise(latents, noise, level), 0.25 * noise + 0.75 * latents)
    torch.testing.assert_close(objective.target(latents, noise, level), noise - latents)


def test_prediction_is_the_networks_own_output(flux):
    with models.training_model(flux.model, torch.float32) as opened, torch.no_grad():
        opened.load()
        latents = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(2))
        encoded = [flux.clip.encode_from_tokens_scheduled(text) for text in ("a", "b")]
        conditions = [models.stored(opened.conditions(one, latents[:1])) for one in encoded]
        sigmas = torch.tensor([0.3, 0.8])
        ours = opened.predict(latents, sigmas, conditions)
        context, pooled = (
            torch.cat([part(one) for one in encoded]) for part in (lambda one: one[0][0], lambda one: one[0][1]["pooled_output"])
        )
        direct = opened.module(latents, sigmas, context, pooled, torch.full((2,), 3.5))
    torch.testing.assert_close(ours, direct, rtol=1e-4, atol=1e-5)


def test_targets(flux):
    names = target_modules(flux.model.model.diffusion_model, Targets.ATTENTION)
    assert set(names) == {
        "double_blocks.0.img_attn.qkv", "double_blocks.0.img_attn.proj", "double_blocks.0.txt_attn.qkv", "double_blocks.0.txt_attn.proj",
        *(f"single_blocks.{block}.linear{layer}" for block in (0, 1) for layer in (1, 2)),
    }  # fmt: skip
    more = target_modules(flux.model.model.diffusion_model, Targets.ATTENTION_AND_MLP)
    assert "double_blocks.0.img_mlp.0" in more


def test_trained_and_loaded_by_the_host(home, flux, photos, caplog):
    result = train.train_face_lora(order(flux, photos, steps=6, gradient_checkpointing=True))
    keys = set(weights(result))
    assert "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight" in keys and len(keys) == 3 * 8
    assert not lora.match(flux.model, None, weights(result)).unknown
    comfy.sd.load_lora_for_models(flux.model, None, weights(result), 1.0, 0)
    assert "not loaded" not in caplog.text.lower()
    assert all(value.abs().max() > 0 for key, value in weights(result).items() if "lora_up" in key)


def test_overfits_one_picture(home, flux, photos):
    """On one picture and one crop the loss must come down, whatever the noise."""
    result = train.train_face_lora(order(flux, photos[:1], steps=60, variants=1, batch_size=4, learning_rate=2e-2, schedule="constant"))
    first, last = (sum(part) / len(part) for part in (result.losses[:15], result.losses[-15:]))
    assert last < 0.9 * first


def test_preview(home, flux, photos):
    flux.vae.decode = lambda latents: torch.sigmoid(latents[:, :3].movedim(1, -1))
    with models.training_model(flux.model, torch.float32) as opened:
        opened.load()
        picture = Preview(1, "a", 3, 64, Sampling(2, 1.0)).portrait(opened, flux.clip, flux.vae)
    assert picture.shape == (8, 8, 3) and torch.isfinite(picture).all()
