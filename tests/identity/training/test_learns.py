"""The LoRA learns the pictures it was given: held against where it started and against a LoRA trained on the same pixels shuffled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
from facechain_impl.identity.training import crops as train_crops  # noqa: E402
from facechain_impl.identity.training import presets  # noqa: E402
from facechain_impl.identity.training.adapters import Adapters, target_modules  # noqa: E402
from facechain_impl.identity.training.dataset import Batch, TrainingSet  # noqa: E402
from facechain_impl.identity.training.settings import Augmentation, Targets  # noqa: E402
from facechain_impl.identity.training.trainer import Trainer  # noqa: E402

from ...small_models import SmallVae, sd15_model  # noqa: E402

BASE_STEPS, LORA_STEPS, VARIANTS, PAIRS, SIDE = 300, 150, 16, 64, 64


def latents_of(folder) -> torch.Tensor:
    """Latents [photo, variant, 4, 8, 8] of the recipe's face crops of one person."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([SmallVae().encode(variants(path, generator)) for path in sorted(folder.glob("*.jpg"))])


def variants(path, generator) -> torch.Tensor:
    with Image.open(path) as picture:
        side = min(picture.size)
        left = (picture.width - side) // 2
        square = picture.convert("RGB").crop((left, 0, left + side, side)).resize((256, 256), Image.BICUBIC)
    return train_crops.variants(torch.from_numpy(np.asarray(square, np.float32) / 255), VARIANTS, Augmentation.FACE_CROP, SIDE, generator)


def shuffled(latents: torch.Tensor, seed: int) -> torch.Tensor:
    order = torch.randperm(latents.shape[-1] * latents.shape[-2], generator=torch.Generator().manual_seed(seed))
    return latents.flatten(-2)[..., order].reshape(latents.shape)


def training_set(opened, latents: torch.Tensor) -> TrainingSet:
    texts = torch.randn(len(latents) + 1, 1, 77, 64, generator=torch.Generator().manual_seed(3))
    return TrainingSet(latents, [models.stored(opened.conditions([[text, {}]], latents[:1, 0])) for text in texts])


def train_base(model, latents: torch.Tensor) -> None:
    """Teach the whole random network what pictures of the first person are like."""
    settings = presets.from_preset("FaceChain", 1, {"steps": BASE_STEPS, "batch_size": 8})
    with models.training_model(model, torch.float32) as opened:
        opened.load()
        opened.module.requires_grad_(True)
        data, parameters = training_set(opened, latents), list(opened.module.parameters())
        optimiser = torch.optim.AdamW(parameters, lr=2e-3)
        for number in range(BASE_STEPS):
            batch = data.batch(number, settings, opened.objective.sample_sigmas)
            noisy = opened.objective.add_noise(batch.latents, batch.noise, batch.sigmas)
            (opened.predict(noisy, batch.sigmas, data.conditioning_for(batch)) - batch.noise).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            optimiser.zero_grad()
        opened.module.requires_grad_(False)


def fixed_pairs(opened, latents: torch.Tensor, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(1000 + seed)
    photos, variant = (torch.randint(0, size, (PAIRS,), generator=generator) for size in latents.shape[:2])
    chosen = latents[photos, variant]
    noise = torch.randn(chosen.shape, generator=generator)
    return Batch(chosen, noise, opened.objective.sample_sigmas(PAIRS, generator), photos.tolist(), [False] * PAIRS)


def losses_around_training(model, trained_on: torch.Tensor, judged_on: torch.Tensor, seed: int) -> tuple[float, float]:
    """Loss on the fixed pairs before and after a LoRA was trained."""
    settings = presets.from_preset("FaceChain", 1, {"steps": LORA_STEPS, "batch_size": 4, "learning_rate": 2e-3, "seed": seed})
    with models.training_model(model, torch.float32) as opened:
        data = training_set(opened, trained_on)
        adapters = Adapters(opened.module, target_modules(opened.module, Targets.ATTENTION), settings.rank, settings.alpha, 0.0, seed)
        opened.load()
        trainer, pairs = Trainer(opened, [adapters], data, settings, torch.float32), fixed_pairs(opened, judged_on, seed)
        with torch.no_grad():
            before = trainer.loss(pairs, data.conditioning_for(pairs)).item()
        for _ in range(LORA_STEPS):
            trainer.step()
        with torch.no_grad():
            after = trainer.loss(pairs, data.conditioning_for(pairs)).item()
        adapters.remove()
    return before, after


@pytest.fixture(scope="module")
def learnt(photographs):
    """A small UNet that knows person_a, and the latents of person_b."""
    with torch.inference_mode():
        model = sd15_model()
        train_base(model, latents_of(photographs / "person_a"))
        return model, latents_of(photographs / "person_b")


@pytest.mark.matrix
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.matrix) for seed in (1, 2))])
def test_learns_a_second_person(learnt, seed):
    model, latents = learnt
    before, after = losses_around_training(model, latents, latents, seed)
    _, of_shuffled = losses_around_training(model, shuffled(latents, seed), latents, seed)
    assert after <= 0.90 * before
    assert after <= 0.95 * of_shuffled
