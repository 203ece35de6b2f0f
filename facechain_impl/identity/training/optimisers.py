"""Optimisers and learning-rate schedules, all from libraries."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch

from .settings import Optimiser, TrainSettings


def has_8bit() -> bool:
    """Whether the optional package with 8-bit optimisers is installed."""
    return importlib.util.find_spec("bitsandbytes") is not None


def optimiser(parameters: list[torch.nn.Parameter], settings: TrainSettings) -> tuple[torch.optim.Optimizer, str]:
    """The optimiser, and a sentence for the user when it is not the one that was asked for (else empty)."""
    values: dict[str, Any] = {"lr": settings.learning_rate, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": settings.weight_decay}
    on_gpu = parameters[0].is_cuda
    if settings.optimiser is Optimiser.ADAMW_8BIT and has_8bit() and on_gpu:
        return importlib.import_module("bitsandbytes").optim.AdamW8bit(parameters, **values), ""
    note = ""
    if settings.optimiser is Optimiser.ADAMW_8BIT:
        reason = "there is no CUDA device" if has_8bit() else "the package bitsandbytes is not installed"
        note = f"8-bit AdamW was not used because {reason}: 32-bit AdamW needs more memory and is no less exact."
    return torch.optim.AdamW(parameters, **values), note


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
