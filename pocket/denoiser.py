"""The pocket model's UNet: SD 1.5 with one level of 320 channels, trained to predict the noise from nothing but this project's pictures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from comfy import sd1_clip
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

from facechain_impl.host import checkpoints
from facechain_impl.weights import pocket

from .captions import choose
from .training import Plan, train

STEPS = 1000
BETAS = 0.00085, 0.012
LAST = ("out.2.weight", ".out_layers.3.weight", ".proj_out.weight")
"""Layers that begin at zero, so that blocks begin as nothing."""


def build(device: torch.device) -> UNetModel:
    """With random weights."""
    with torch.device(device):
        model = checkpoints.sd15_unet(**pocket.UNET)
    for name, parameter in model.named_parameters():
        if name.endswith(LAST):
            torch.nn.init.zeros_(parameter)
        elif parameter.ndim > 1:
            torch.nn.init.kaiming_uniform_(parameter, a=5**0.5)
        else:
            (torch.nn.init.ones_ if name.endswith("weight") else torch.nn.init.zeros_)(parameter)
    return model


def alphas() -> torch.Tensor:
    """How much of the picture is left at each step, as a share of its variance."""
    return torch.cumprod(1 - torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, STEPS, dtype=torch.float64) ** 2, 0).float()


@torch.no_grad()
def conditioning(texts: Sequence[str], device: torch.device) -> torch.Tensor:
    """(N, 77, 768): the texts as the host's CLIP-L with the pocket model's numbers gives them, fp32."""
    encoder = sd1_clip.SDClipModel(device=device, dtype=torch.float32)
    prefix = checkpoints.PREFIXES["clip"]
    encoder.transformer.load_state_dict({name.removeprefix(prefix): one for name, one in pocket.text_encoder().items()}, strict=False)
    encoder.to(device)
    tokenizer = sd1_clip.SDTokenizer()
    return torch.cat([encoder.encode_token_weights(tokenizer.tokenize_with_weights(text))[0].to(device) for text in texts])


def teach(latents: torch.Tensor, said: Sequence[Sequence[str]], plan: Plan, state: Path) -> UNetModel:
    """latents: (N, 4, h, w). said: the captions of each."""
    torch.manual_seed(plan.seed)
    device = latents.device
    texts = sorted({"", *(text for some in said for text in some)})
    numbers, told, kept = {text: number for number, text in enumerate(texts)}, conditioning(texts, device), alphas().to(device)
    model = build(device)

    def loss(generator: torch.Generator, batch: int) -> torch.Tensor:
        chosen = torch.randint(len(latents), (batch,), generator=generator)
        rng = np.random.default_rng(generator.initial_seed())
        words = torch.tensor([numbers[choose(said[number], rng)] for number in chosen.tolist()])
        steps = torch.randint(STEPS, (batch,), generator=generator).to(device)
        noise = torch.randn((batch, *latents.shape[1:]), generator=generator).to(device)
        share = kept[steps].view(-1, 1, 1, 1)
        noisy = share.sqrt() * latents[chosen.to(device)] + (1 - share).sqrt() * noise
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            predicted = model(noisy, steps, context=told[words.to(device)])
        return (predicted.float() - noise).pow(2).mean()

    return train(model, loss, plan, state, "UNet")


@torch.no_grad()
def sample(model: UNetModel, told: torch.Tensor, noise: torch.Tensor, steps: int = 20) -> torch.Tensor:
    """Latents drawn by DDIM from `noise` (N, 4, h, w) with the conditioning `told` (N, 77, 768), to look at while it is made."""
    kept = alphas().to(noise.device)
    times = torch.linspace(STEPS - 1, 0, steps + 1).long().tolist()
    latents = noise
    for now, after in itertools.pairwise(times):
        predicted = model(latents, torch.full((len(latents),), now, device=noise.device), context=told).float()
        clean = (latents - (1 - kept[now]).sqrt() * predicted) / kept[now].sqrt()
        latents = kept[after].sqrt() * clean + (1 - kept[after]).sqrt() * predicted
    return latents
