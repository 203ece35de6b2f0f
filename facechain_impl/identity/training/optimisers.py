"""Optimisers and learning-rate schedules, all from libraries."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

from ...errors import BadInput
from .settings import Optimiser, TrainSettings

USUAL_OF_PRODIGY = 0.1
"""A learning rate below this is meant for another optimiser."""


def has_8bit() -> bool:
    """Whether the optional package for 8-bit optimisers is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


def require_package(settings: TrainSettings) -> None:
    """Raises BadInput for an optimiser that is not installed and that no other one stands in for."""
    if settings.optimiser is Optimiser.PRODIGY and importlib.util.find_spec("prodigyopt") is None:
        raise BadInput(
            "The optimiser Prodigy needs the package prodigyopt, which is not installed. Install it into ComfyUI's Python with "
            "`pip install prodigyopt`, or choose another optimiser."
        )
    if settings.optimiser is Optimiser.ADAFACTOR and not hasattr(torch.optim, "Adafactor"):
        raise BadInput(f"This PyTorch {torch.__version__} has no Adafactor; PyTorch 2.5 and later have. Choose another optimiser.")


def optimiser(parameters: list, settings: TrainSettings) -> tuple[torch.optim.Optimizer, str]:
    """The optimiser, and a sentence for the user when it is not the one that was asked for or learns otherwise than meant (else empty).

    parameters: as PyTorch's optimisers take them, in groups or not."""
    if settings.optimiser is Optimiser.ADAFACTOR:
        return _adafactor(parameters, settings), ""
    if settings.optimiser is Optimiser.PRODIGY:
        return _prodigy(parameters, settings)
    values: dict[str, Any] = {"lr": settings.learning_rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": settings.weight_decay}
    first = parameters[0]
    on_gpu = (first["params"][0] if isinstance(first, dict) else first).is_cuda
    if settings.optimiser is Optimiser.ADAMW_8BIT and has_8bit() and on_gpu:
        return importlib.import_module("bitsandbytes").optim.AdamW8bit(parameters, **values), ""
    note = ""
    if settings.optimiser is Optimiser.ADAMW_8BIT:
        reason = "there is no CUDA device" if has_8bit() else "the package bitsandbytes is not installed"
        note = f"8-bit AdamW was not used because {reason}: 32-bit AdamW needs more memory and is at least as exact."
    return torch.optim.AdamW(parameters, **values), note


def _adafactor(parameters: list, settings: TrainSettings) -> torch.optim.Optimizer:
    """Its learning rate is absolute, as AdamW's. By default PyTorch's is relative to the size of a tensor, and a LoRA's up matrices, which
    begin at zero, would hardly move; a least size of 1 takes that away."""
    return torch.optim.Adafactor(parameters, lr=settings.learning_rate, eps=(None, 1.0), weight_decay=settings.weight_decay)


def _prodigy(parameters: list, settings: TrainSettings) -> tuple[torch.optim.Optimizer, str]:
    """With what its authors advise for diffusion models: bias correction, and no estimate from warm-up steps."""
    kind = importlib.import_module("prodigyopt").Prodigy
    made = kind(parameters, settings.learning_rate, weight_decay=settings.weight_decay, use_bias_correction=True, safeguard_warmup=True)
    note = ""
    if settings.learning_rate < USUAL_OF_PRODIGY:
        note = f"Prodigy finds the learning rate by itself: learning_rate {settings.learning_rate:g} multiplies it, and 1 is usual."
    return made, note


def made_by_a_step(chosen: torch.optim.Optimizer) -> int:
    """Tensors of the size of every parameter that the next step makes, at the most: what it remembers from the first one on, and one
    that comes and goes."""
    remembered = 4 if "d" in chosen.param_groups[0] else 2  # Prodigy's estimate of its rate takes two more
    return 1 if chosen.state else 1 + remembered


def found_rate(chosen: torch.optim.Optimizer) -> float:
    """What an optimiser that finds its learning rate multiplies the schedule's by; 1 for others."""
    return float(chosen.param_groups[0].get("d", 1.0))


def schedule(chosen: torch.optim.Optimizer, settings: TrainSettings) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate over the optimiser steps, by transformers, which the host has: the numbers of diffusers' schedules."""
    # Seconds to import, which only a training needs; peft has imported most of it by then.
    from transformers.optimization import get_scheduler

    return get_scheduler(
        settings.schedule,
        optimizer=chosen,
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=settings.steps,
        scheduler_specific_kwargs={"num_cycles": settings.cycles} if settings.schedule == "cosine_with_restarts" else None,
    )
