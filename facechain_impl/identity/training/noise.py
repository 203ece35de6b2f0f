"""The noise of a training: at which times it is drawn, and its offset."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .settings import Timesteps

Times = Callable[[int, torch.Generator], torch.Tensor]
"""Draws times [N] between 0, the clean picture, and 1, pure noise."""


def _uniform(count: int, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(count, generator=generator)


def _logit_normal(count: int, generator: torch.Generator) -> torch.Tensor:
    """Esser et al. 2024: most often in the middle."""
    return torch.randn(count, generator=generator).sigmoid()


def _high(count: int, generator: torch.Generator) -> torch.Tensor:
    """Density 2t: every level is trained, high noise most."""
    return _uniform(count, generator).sqrt()


def _low(count: int, generator: torch.Generator) -> torch.Tensor:
    return 1 - _high(count, generator)


TIMES: dict[Timesteps, Times | None] = {
    Timesteps.MODEL: None,
    Timesteps.UNIFORM: _uniform,
    Timesteps.LOGIT_NORMAL: _logit_normal,
    Timesteps.HIGH: _high,
    Timesteps.LOW: _low,
}
"""None: as the model itself was trained."""


def offset(noise: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Noise [N, C, ...] with a random number of deviation `strength` added to each whole channel (Guttenberg 2023): what the model needs to
    learn very dark and very bright pictures."""
    return noise + strength * torch.randn((*noise.shape[:2], *[1] * (noise.ndim - 2)), generator=generator)
