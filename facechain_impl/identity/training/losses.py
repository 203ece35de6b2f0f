"""What the trainer minimises: the distance between prediction and target, and how much each noise level counts."""

from __future__ import annotations

import torch

from ...host.objective import Objective
from .settings import Loss, TrainSettings, Weighting


def distance(difference: torch.Tensor, noise_to_signal: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """The loss of each element of prediction - target [B, C, ...]. noise_to_signal: [B].

    Huber is the pseudo-Huber loss 2c (sqrt(d^2 + c^2) - c) of kohya's sd-scripts: its gradient is at most 2c."""
    if settings.loss is Loss.MSE:
        return difference.square()
    c = threshold(noise_to_signal, settings).view(-1, *[1] * (difference.ndim - 1))
    return 2 * c * difference.square() / ((difference.square() + c**2).sqrt() + c)


def threshold(noise_to_signal: torch.Tensor, settings: TrainSettings) -> torch.Tensor:
    """c of the Huber loss [B]: constant, or near 1 without noise and `huber_c` in pure noise (the "snr" schedule of sd-scripts)."""
    c = settings.huber_c
    if settings.loss is Loss.HUBER:
        return torch.full_like(noise_to_signal, c)
    return (1 - c) / (1 + noise_to_signal) ** 2 + c


def level_weights(objective: Objective, sigmas: torch.Tensor, settings: TrainSettings) -> torch.Tensor | None:
    """Weight of each sample [B], None where all weigh the same. Raises BadInput for models where that is not defined."""
    if settings.min_snr_gamma:
        return objective.min_snr_weights(sigmas, settings.min_snr_gamma)
    return objective.debiased_weights(sigmas) if settings.weighting is Weighting.DEBIASED else None
