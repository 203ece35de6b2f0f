"""The pocket model's autoencoder, in TAESD's layout as ComfyUI reads it: 8 times smaller, 4 channels."""

from __future__ import annotations

from pathlib import Path

import torch
from comfy.taesd.taesd import TAESD

from .training import Plan, train

SD_SCALE = 0.18215
"""By which ComfyUI multiplies latents of SD 1.5."""
NOISE = 0.04


def build(device: torch.device) -> TAESD:
    """With random weights, small in the last convolution of each block."""
    model = TAESD()
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if name.endswith("conv.4"):
                module.weight.data *= 0.1
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for one in (model.vae_scale, model.vae_shift):
        one.requires_grad_(False)
    return model.to(device)


def teach(pictures: torch.Tensor, plan: Plan, crop: int, state: Path) -> TAESD:
    """pictures: (N, 3, H, W) uint8. crop: the side of what is seen at once. Afterwards its latents have mean 0 and spread 1 in the host."""
    torch.manual_seed(plan.seed)
    device = pictures.device
    model = build(device)

    def loss(generator: torch.Generator, batch: int) -> torch.Tensor:
        seen = _seen(pictures, generator, batch, crop)
        noise = torch.randn((batch, 4, crop // 8, crop // 8), generator=generator).to(device)
        latents = model.taesd_encoder(seen)
        again = model.taesd_decoder(latents + noise * NOISE * latents.detach().std())
        # The decoder squeezes what lies beyond 3.
        return _difference(again, seen) + 1e-3 * latents.pow(2).mean()

    train(model, loss, plan, state, "Autoencoder")
    return _normalised(model, pictures)


def _seen(pictures: torch.Tensor, generator: torch.Generator, batch: int, crop: int) -> torch.Tensor:
    chosen = torch.randint(len(pictures), (batch,), generator=generator).to(pictures.device)
    top, left = (int(torch.randint(pictures.shape[-1] - crop + 1, (1,), generator=generator)) for _ in range(2))
    return pictures[chosen, :, top : top + crop, left : left + crop].float() / 255


def _difference(again: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """L1 and L2 of colours, L1 of edges, which keeps eyes and mouths sharp."""
    edges = sum((again.diff(dim=axis) - seen.diff(dim=axis)).abs().mean() for axis in (-1, -2))
    return (again - seen).abs().mean() + (again - seen).pow(2).mean() + edges


@torch.no_grad()
def _normalised(model: TAESD, pictures: torch.Tensor) -> TAESD:
    latents = torch.cat([model.taesd_encoder(part.float() / 255) for part in pictures[:: max(1, len(pictures) // 512)].split(32)])
    model.vae_scale.fill_(SD_SCALE * latents.std())
    model.vae_shift.fill_(-latents.mean() / model.vae_scale)
    return model


@torch.no_grad()
def encode(model: TAESD, pictures: torch.Tensor) -> torch.Tensor:
    """Latents as the UNet sees them, (N, 4, h, w)."""
    return torch.cat([model.encode(part.float() / 127.5 - 1) * SD_SCALE for part in pictures.split(64)])


@torch.no_grad()
def decibels(model: TAESD, pictures: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of pictures that went through it."""
    parts = [part.float() / 127.5 - 1 for part in pictures.split(64)]
    errors = torch.stack([((model.decode(model.encode(part)) - part) / 2).pow(2).mean() for part in parts])
    return float(-10 * torch.log10(errors.mean()))
