"""Sample portraits while a training runs, always from the same text and seed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ...host import families, models
from ...host.models import Sampling
from ...host.protocols import Clip, Vae


@dataclass(frozen=True)
class Preview:
    """every: steps between samples. text: what is shown. seed: of the noise. sampling: how, None as the model's family is sampled."""

    every: int
    text: str
    seed: int
    size: int
    sampling: Sampling | None = None

    def is_due(self, step: int) -> bool:
        return step % self.every == 0

    def portrait(self, model: models.TrainingModel, clip: Clip, vae: Vae) -> torch.Tensor:
        """One portrait [H, W, 3] with the adapters as they are now."""
        with torch.no_grad():
            positive, negative = models.encode_text(clip, self.text), models.encode_text(clip, "")
            how = self.sampling or families.sampling(model.patcher)
            latents = model.sample(positive, negative, self.size, self.seed, how)
            picture = vae.decode(latents)[0]
        model.load()
        return picture.reshape(-1, *picture.shape[-3:])[0]  # video models put a frame axis before [H,W,3]
