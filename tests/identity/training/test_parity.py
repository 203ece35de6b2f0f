"""Loss, gradients and weights against a plain loop of diffusers and peft on the same weights."""

from __future__ import annotations

import math
from types import SimpleNamespace

import peft
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler

pytest.importorskip("comfy.utils", reason="set COMFYUI_PATH")
import comfy.utils  # noqa: E402

from facechain_impl.host import models  # noqa: E402
from facechain_impl.identity.training import presets
from facechain_impl.identity.training.adapters import Adapters, target_modules  # noqa: E402
from facechain_impl.identity.training.dataset import TrainingSet  # noqa: E402
from facechain_impl.identity.training.settings import Targets  # noqa: E402
from facechain_impl.identity.training.trainer import Trainer  # noqa: E402

from ...small_models import sd15_model, sdxl_model  # noqa: E402

LIMIT = 1e-4
PROJECTIONS = ["to_q", "to_k", "to_v", "to_out.0"]
SIZE = 64
SHARED = {
    "sample_size": 8, "layers_per_block": 1, "down_block_types": ("CrossAttnDownBlock2D",) * 2,
    "up_block_types": ("CrossAttnUpBlock2D",) * 2, "mid_block_type": "UNetMidBlock2DCrossAttn",
}  # fmt: skip


def reference_sd15() -> UNet2DConditionModel:
    return UNet2DConditionModel(block_out_channels=(32, 64), cross_attention_dim=64, attention_head_dim=8, **SHARED)


def reference_sdxl() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(64, 128), cross_attention_dim=112, attention_head_dim=(1, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=256, projection_class_embeddings_input_dim=48 + 6 * 256, **SHARED
    )  # fmt: skip


def names_of(model) -> dict[str, str]:
    """diffusers' name of every weight -> the host's."""
    extra = {f"add_embedding.linear_{i}.{end}": f"label_emb.0.{2 * i - 2}.{end}" for i in (1, 2) for end in ("weight", "bias")}
    return comfy.utils.unet_to_diffusers(model.model.model_config.unet_config) | extra


def copy_weights(reference: UNet2DConditionModel, model) -> None:
    names, ours = names_of(model), model.model.diffusion_model.state_dict()
    wanted = reference.state_dict()
    reference.load_state_dict({key: ours[names[key]].clone().reshape(value.shape) for key, value in wanted.items()})


class Plain:
    """The loop as diffusers' training scripts write it."""

    def __init__(self, reference, model, settings, adapters: Adapters, prediction: str):
        reference.requires_grad_(False)
        config = peft.LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=PROJECTIONS)
        peft.inject_adapter_in_model(config, reference)
        self.unet = reference
        self.pairs = self._pairs(model, adapters)
        for theirs, ours in self.pairs:
            theirs.data.copy_(ours.detach())
        self.parameters = [theirs for theirs, _ in self.pairs]
        self.scheduler = DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000, prediction_type=prediction
        )
        self.optimiser = torch.optim.AdamW(self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.schedule = get_scheduler("cosine", self.optimiser, num_warmup_steps=0, num_training_steps=settings.steps)

    def _pairs(self, model, adapters):
        names = {theirs.removesuffix(".weight"): ours.removesuffix(".weight") for theirs, ours in names_of(model).items()}
        mine = adapters.named_parameters()
        found = []
        for key, value in self.unet.named_parameters():
            if ".lora_" in key:
                module, half = key.split(".lora_")
                found.append((value, mine[f"{names[module]}.lora_{half[0]}"]))
        assert len(found) == len(mine)
        return found

    def loss(self, batch, timesteps, text, added) -> torch.Tensor:
        noisy = self.scheduler.add_noise(batch.latents, batch.noise, timesteps)
        predicted = self.unet(noisy, timesteps, text, added_cond_kwargs=added).sample
        wanted = batch.noise
        if self.scheduler.config.prediction_type == "v_prediction":
            wanted = self.scheduler.get_velocity(batch.latents, batch.noise, timesteps)
        return torch.nn.functional.mse_loss(predicted.float(), wanted.float())

    def step(self, *given) -> float:
        loss = self.loss(*given)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        return loss.item()


@pytest.fixture(params=["epsilon", "v_prediction", "sdxl"])
def pair(request):
    """Our trainer and the plain loop on the same weights, adapters and data."""
    settings = presets.from_preset("FaceChain", 3, {"steps": 20, "learning_rate": 1e-3, "batch_size": 2})
    xl = request.param == "sdxl"
    model = sdxl_model() if xl else sd15_model(model_type="EPS" if request.param == "epsilon" else "V_PREDICTION")
    with torch.inference_mode(False):
        reference = reference_sdxl() if xl else reference_sd15()
        copy_weights(reference, model)
    with models.training_model(model, torch.float32) as opened:
        generator = torch.Generator().manual_seed(5)
        latents = torch.randn(3, 2, 4, SIZE // 8, SIZE // 8, generator=generator)
        texts = torch.randn(4, 1, 77, 112 if xl else 64, generator=generator)
        pooled = torch.randn(4, 1, 48, generator=generator)
        encoded = [[[text, {"pooled_output": pool}]] for text, pool in zip(texts, pooled)]
        data = TrainingSet(latents, [models.stored(opened.conditions(one, latents[:1, 0])) for one in encoded])
        adapters = Adapters(opened.module, target_modules(opened.module, Targets.ATTENTION), 4, 4.0, 0.0, 9)
        with torch.no_grad():  # an up matrix of zeros would leave half of the gradients zero
            for parameter in adapters.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
        plain = Plain(reference, model, settings, adapters, "v_prediction" if request.param == "v_prediction" else "epsilon")
        opened.load()
        trainer = Trainer(opened, [adapters], data, settings, torch.float32)
        yield SimpleNamespace(trainer=trainer, plain=plain, data=data, settings=settings, texts=texts, pooled=pooled, xl=xl, opened=opened)
        adapters.remove()


def plain_batch(pair, number: int):
    batch = pair.data.batch(number, pair.settings, pair.opened.objective.sample_sigmas)
    timesteps = pair.opened.patcher.model.model_sampling.timestep(batch.sigmas)
    text = torch.cat([pair.texts[photo] for photo in batch.photos])
    sizes = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]] * len(batch.photos), dtype=torch.float32)
    added = {"text_embeds": torch.cat([pair.pooled[photo] for photo in batch.photos]), "time_ids": sizes} if pair.xl else None
    return batch, timesteps, text, added


def relative(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).norm() / second.norm())


def test_loss_and_gradients_equal_diffusers(pair):
    batch, *given = plain_batch(pair, 0)
    ours = pair.trainer.loss(batch, pair.data.conditioning_for(batch))
    theirs = pair.plain.loss(batch, *given)
    assert math.isclose(ours.item(), theirs.item(), rel_tol=1e-5)
    ours.backward()
    theirs.backward()
    differences = [relative(mine.grad, plain.grad) for plain, mine in pair.plain.pairs]
    assert len(differences) == 112 and max(differences) < LIMIT
    whole = [torch.cat([one.grad.flatten() for one in side]) for side in zip(*pair.plain.pairs)]
    assert relative(whole[1], whole[0]) < LIMIT


def test_weights_agree_after_20_steps(pair):
    start = torch.cat([mine.detach().flatten().clone() for _, mine in pair.plain.pairs])
    for number in range(20):
        theirs = pair.plain.step(*plain_batch(pair, number))
        assert math.isclose(pair.trainer.step(), theirs, rel_tol=1e-4)
    plain, ours = (torch.cat([one.detach().flatten() for one in side]) for side in zip(*pair.plain.pairs))
    assert relative(ours - start, plain - start) < 1e-3
    assert relative(ours, plain) < LIMIT
