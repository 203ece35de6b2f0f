"""Pictures generated and repainted by the host's samplers and models.

Pictures are [N, H, W, 3] in 0..1. Every picture of a batch has noise from its own seed, so that it does not depend on
what shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import node_helpers
import torch

from .progress import check_interrupt
from .protocols import Clip, Conditioning, ControlNet, Model, Vae

SAMPLERS = comfy.samplers.KSampler.SAMPLERS
SCHEDULERS = comfy.samplers.KSampler.SCHEDULERS
DEFAULT_SAMPLER = "uni_pc_bh2"
DEFAULT_SCHEDULER = "normal"
SEED_LIMIT = 2**64


@dataclass(frozen=True)
class Diffusion:
    """MODEL, CLIP and VAE as the host's loaders give them."""

    model: Model
    clip: Clip
    vae: Vae

    @property
    def factor(self) -> int:
        """Pixels per latent, along one side."""
        return int(self.vae.spacial_compression_encode())


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    steps: int = 40
    cfg: float = 7.0
    sampler: str = DEFAULT_SAMPLER
    scheduler: str = DEFAULT_SCHEDULER

    def kept(self, strength: float) -> int:
        """How many of the steps repainting at `strength` runs; at least one."""
        return max(int(self.steps * strength + 1e-6), 1)


@dataclass(frozen=True)
class Text:
    """Encoded prompts."""

    positive: Conditioning
    negative: Conditioning


@dataclass(frozen=True)
class Control:
    """A ControlNet of the host, its control pictures [N, H, W, 3] and its weight."""

    network: ControlNet
    images: torch.Tensor
    strength: float


@dataclass(frozen=True)
class InpaintInput:
    """What is painted over: pictures [N, H, W, 3], their latents, and masks [N, h, w] with one 0 or 1 per latent."""

    images: torch.Tensor
    latents: torch.Tensor
    masks: torch.Tensor


class SamplingProgress:
    """One progress bar over all samplings of a node, with the host's preview."""

    def __init__(self, total: int):
        self._bar = comfy.utils.ProgressBar(total)
        self._total, self._done = total, 0

    def callback(self, model: Model) -> Callable[[int, torch.Tensor, torch.Tensor, int], None]:
        """The callback for the host's next sampling, called after each step."""
        previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
        start = self._done

        def step(index: int, denoised: torch.Tensor, _noisy: torch.Tensor, _count: int) -> None:
            check_interrupt()
            self._done = start + index + 1
            preview = previewer.decode_latent_to_preview_image("JPEG", denoised) if previewer else None
            self._bar.update_absolute(self._done, self._total, preview)

        return step


class DiffusionSampler:
    """Text-to-image and inpainting with one model: its samplings share a schedule and a progress bar."""

    def __init__(self, base: Diffusion, schedule: SamplingSettings, bar: SamplingProgress):
        self.base = base
        self.schedule = schedule
        self._bar = bar

    def text(self, positive: str, negative: str, weights: bool = False) -> Text:
        """Both prompts through the host's text encoder. Without `weights`, brackets and colons are ordinary characters."""
        clip = self.base.clip
        prompts = [clip.tokenize(words, disable_weights=not weights) for words in (positive, negative)]
        return Text(*(clip.encode_from_tokens_scheduled(prompt) for prompt in prompts))

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Pictures -> latents; the VAE's mean, no noise."""
        check_interrupt()
        return self.base.vae.encode(images)

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        check_interrupt()
        images = self.base.vae.decode(latents)
        # a video VAE puts frames between batch and height
        return images.reshape(-1, *images.shape[-3:]).to("cpu", torch.float32)

    def new(self, text: Text, size: int, seeds: Sequence[int], controls: Sequence[Control]) -> torch.Tensor:
        """Latents of one square picture of `size` pixels per seed."""
        side = size // self.base.factor
        empty = torch.zeros(len(seeds), 4, side, side, device=comfy.model_management.intermediate_device())
        return self._sample(self._controlled(text, controls), empty, seeds, 0)

    def repaint(self, text: Text, start: InpaintInput, seeds: Sequence[int], strength: float, controls: Sequence[Control]) -> torch.Tensor:
        """Latents of the pictures of `start`, repainted inside its masks with the last `strength` of the steps.

        Latents outside the masks do not change.
        """
        text = self._inpaint_model(self._controlled(text, controls), start)
        skipped = self.schedule.steps - self.schedule.kept(strength)
        painted = self._sample(text, start.latents, seeds, skipped, start.masks[:, None])
        keep = start.masks.reshape(len(painted), *(1,) * (painted.ndim - 3), *start.masks.shape[-2:]).to(painted.device)
        return torch.where(keep > 0, painted, start.latents.to(painted))

    def _sample(
        self, text: Text, latents: torch.Tensor, seeds: Sequence[int], skipped: int, masks: torch.Tensor | None = None
    ) -> torch.Tensor:
        check_interrupt()
        model, schedule = self.base.model, self.schedule
        latents = comfy.sample.fix_empty_latent_channels(model, latents)
        seeds = [seed % SEED_LIMIT for seed in seeds]
        noise = torch.cat([comfy.sample.prepare_noise(latents[i : i + 1], seed) for i, seed in enumerate(seeds)])
        return comfy.sample.sample(
            model,
            noise,
            schedule.steps,
            schedule.cfg,
            schedule.sampler,
            schedule.scheduler,
            text.positive,
            text.negative,
            latents,
            start_step=skipped,
            noise_mask=masks,
            callback=self._bar.callback(model),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seeds[0],
        )

    def _controlled(self, text: Text, controls: Sequence[Control]) -> Text:
        """`text` with the ControlNets attached, each to both prompts, as the host's own node attaches them."""
        previous = None
        for control in controls:
            if control.strength > 0:
                hint = control.images.movedim(-1, 1).contiguous()
                link = control.network.copy().set_cond_hint(hint, control.strength, (0.0, 1.0), vae=self.base.vae)
                previous = link.set_previous_controlnet(previous)
        if previous is None:
            return text
        return _with_values(text, {"control": previous, "control_apply_to_uncond": False})

    def _inpaint_model(self, text: Text, start: InpaintInput) -> Text:
        """`text` with the extra channels that a checkpoint made for inpainting reads; other models read none."""
        if not self.base.model.model.concat_keys:
            return text
        hidden = start.masks.repeat_interleave(self.base.factor, 1).repeat_interleave(self.base.factor, 2)[..., None]
        hollow = self.encode(start.images * (1 - hidden) + 0.5 * hidden)
        return _with_values(text, {"concat_latent_image": hollow, "concat_mask": start.masks[:, None]})


def _with_values(text: Text, values: dict[str, Any]) -> Text:
    return Text(*(node_helpers.conditioning_set_values(prompt, values) for prompt in (text.positive, text.negative)))
