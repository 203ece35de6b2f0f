"""The training step: forward, loss, backward, optimiser; and its state, to resume elsewhere with the same result."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch

from ...errors import FaceChainError
from ...host.models import Conditions, TrainingModel
from . import optimisers as train_optim
from .adapters import Adapters
from .dataset import Batch, TrainingSet, generator_for
from .settings import TrainSettings


class Trainer:
    """One training between its steps. `steps_done` counts optimiser steps, `losses` holds the loss of each, that on class pictures
    (`prior`) not counted."""

    def __init__(
        self,
        model: TrainingModel,
        adapters: list[Adapters],
        data: TrainingSet,
        settings: TrainSettings,
        dtype: torch.dtype,
        prior: TrainingSet | None = None,
    ):
        self.settings, self.adapters = settings, adapters
        self._model, self._data, self._prior, self._dtype = model, data, prior, dtype
        self._parameters = [parameter for group in adapters for parameter in group.parameters()]
        self._optimiser, self.note = train_optim.optimiser(self._parameters, settings)
        self._schedule = train_optim.schedule(self._optimiser, settings)
        self._scaler = torch.amp.GradScaler(model.device.type, enabled=dtype is torch.float16)
        self.steps_done = 0
        self.losses: list[float] = []
        self.consistent = True

    @property
    def learning_rate(self) -> float:
        return float(self._schedule.get_last_lr()[0])

    def step(self) -> float:
        """One optimiser step; returns its loss. Raises FaceChainError when the loss is not finite, before anything changes."""
        count = self.settings.gradient_accumulation
        self._optimiser.zero_grad(set_to_none=True)
        total = 0.0
        with self._own_randomness():
            for part in range(count):
                total += self._learn(self._data, self.steps_done * count + part, 1 / count)
                if self._prior is not None:
                    self._learn(self._prior, self.steps_done * count + part, self.settings.prior_weight / count)
        self._require_number(total)
        self._update()
        self.losses.append(total)
        self.steps_done += 1
        return total

    def _learn(self, data: TrainingSet, number: int, weight: float) -> float:
        """Add the gradients of one forward pass; returns its weighted loss."""
        batch = data.batch(number, self.settings, self._model.objective.sample_sigmas)
        loss = weight * self.loss(batch, data.conditioning_for(batch))
        self._scaler.scale(loss).backward()
        return loss.item()

    def loss(self, batch: Batch, conditions: list[Conditions]) -> torch.Tensor:
        """Mean squared error of the model's own prediction, weighted by place and by noise level where the settings say so."""
        objective, device = self._model.objective, self._model.device
        latents, noise, sigmas = (value.to(device) for value in (batch.latents, batch.noise, batch.sigmas))
        with torch.autocast(device.type, self._dtype, enabled=self._dtype is not torch.float32):
            predicted = self._model.predict(objective.add_noise(latents, noise, sigmas), sigmas, conditions)
        error = (predicted - objective.target(latents, noise, sigmas)).square()
        if batch.weights is not None:
            weights = batch.weights.to(device)
            error = error * weights / weights.flatten(1).mean(1).clamp(min=1e-6).view(-1, *[1] * (error.ndim - 1))
        error = error.flatten(1).mean(1)
        if self.settings.min_snr_gamma:
            error = error * objective.min_snr_weights(sigmas, self.settings.min_snr_gamma)
        return error.mean()

    @contextlib.contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Dropout draws from torch's global generator; each step seeds it and restores it afterwards."""
        device = self._model.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator_for(self.settings.seed, 0, self.steps_done).initial_seed())
            yield

    def _require_number(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise FaceChainError(
                f"The loss is {loss} at step {self.steps_done + 1} of {self.settings.steps}: the training diverged or the model "
                "contains NaN or infinite numbers. Use a lower learning rate or precision fp32; the weights of this step were not kept."
            )

    def _update(self) -> None:
        self.consistent = False
        self._scaler.unscale_(self._optimiser)
        torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.max_grad_norm)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        self.consistent = True

    def state(self) -> dict:
        """Everything that the remaining steps depend on. The noise of a step follows from the seed and the step's number."""
        return {
            "steps_done": self.steps_done,
            "losses": list(self.losses),
            "adapters": [{name: value.detach().cpu() for name, value in group.named_parameters().items()} for group in self.adapters],
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        """Resume from a saved state."""
        for group, saved in zip(self.adapters, state["adapters"], strict=True):
            for name, parameter in group.named_parameters().items():
                parameter.copy_(saved[name])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self.steps_done, self.losses = state["steps_done"], list(state["losses"])
