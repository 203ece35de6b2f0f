"""The training step: forward, loss, backward, optimiser; and its state, to resume elsewhere with the same result."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace

import torch

from ...errors import FaceChainError
from ...host.models import Conditions, TrainingModel
from . import losses
from . import optimisers as train_optim
from .adapters import Adapters, Weights
from .averaging import MovingAverage
from .dataset import Batch, TrainingSet, generator_for
from .noise import TIMES
from .settings import Average, TrainSettings

VALIDATION_PAIRS = 16
_NO_GRADIENT = re.compile(
    r"does not require grad|autograd|modified by an inplace operation|derivative for|backward.*not implemented|inference tensor",
    re.IGNORECASE,
)
_IN_PLACE = "modified by an inplace operation"
WARM_AGAIN = 0.05
"""Share of the steps that are left at a lengthening over which the learning rate rises again."""


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
        self._model, self._data, self._prior, self.dtype = model, data, prior, dtype
        self._parameters = [parameter for group in adapters for parameter in group.parameters()]
        self._sigmas = functools.partial(model.objective.sample_sigmas, times=TIMES[settings.timesteps])
        self._optimiser, self.note = train_optim.optimiser(self._groups(), settings)
        self._schedule = train_optim.schedule(self._optimiser, settings)
        self._scaler = self._new_scaler()
        self._average = MovingAverage(adapters, settings.ema_decay) if settings.average is Average.EMA else None
        self.steps_done = 0
        self.losses: list[float] = []
        self.consistent = True
        self.lengthened_at: int | None = None

    def _groups(self) -> list:
        """The parameters, in groups where the text encoder has a learning rate of its own."""
        if len(self.adapters) == 1 or not self.settings.text_encoder_learning_rate:
            return self._parameters
        model, text = (group.parameters() for group in self.adapters)
        return [{"params": model}, {"params": text, "lr": self.settings.text_encoder_learning_rate}]

    def split(self, batch: int) -> None:
        """Put `batch` samples into one pass from now on; each step learns from the same samples as before."""
        samples = self.settings.batch_size * self.settings.gradient_accumulation
        self.settings = replace(self.settings, batch_size=batch, gradient_accumulation=samples // batch)

    def sample_loss(self) -> torch.Tensor:
        """The loss of a first sample, to measure with."""
        batch = self._data.batch(0, replace(self.settings, batch_size=1), self._sigmas)
        with self._own_randomness(), self._explained():
            return self.loss(batch, self._data.conditioning_for(batch))

    def forget_gradients(self) -> None:
        """Discard the gradients of a step that was not finished."""
        self._optimiser.zero_grad(set_to_none=True)
        state = self._scaler.state_dict()
        self._scaler = self._new_scaler()  # which knows of no gradients that were unscaled already
        self._scaler.load_state_dict(state)

    def _new_scaler(self) -> torch.amp.GradScaler:
        return torch.amp.GradScaler(self._model.device.type, enabled=self.dtype is torch.float16)

    @property
    def learning_rate(self) -> float:
        """Of the next step, of the diffusion model."""
        return float(self._schedule.get_last_lr()[0]) * self._warmth() * train_optim.found_rate(self._optimiser)

    def _warmth(self) -> float:
        """Share of the schedule's learning rate: after a lengthening it warms up again, over a part of the steps that are left then."""
        if self.lengthened_at is None:
            return 1.0
        rising = max(1, round(WARM_AGAIN * (self.settings.steps - self.lengthened_at)))
        return min(1.0, (self.steps_done - self.lengthened_at + 1) / (rising + 1))

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """In this context the adapters have the weights to evaluate: their moving average, where one is wanted."""
        return self._average.applied() if self._average else contextlib.nullcontext()

    def lengthen(
        self, steps_done: int, losses: list[float], weights: Weights, optimiser: dict | None = None, average: dict | None = None
    ) -> None:
        """Go on from the weights of a shorter training after `steps_done`. optimiser, average: their state, where that was kept."""
        for group, layers in zip(self.adapters, weights, strict=True):
            group.load(layers)
        if optimiser is not None:
            self._optimiser.load_state_dict(optimiser)
        if self._average is not None:
            self._average.restore(average) if average else self._average.restart(steps_done)
        self.steps_done, self.losses, self.lengthened_at = steps_done, list(losses[:steps_done]), steps_done
        self._schedule.last_epoch = steps_done - 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # no step of the optimiser came before
            self._schedule.step()

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
        """Add the gradients of the samples of one batch, one forward pass for each size; returns their weighted loss."""
        total = 0.0
        for batch in data.batches(number, self.settings, self._sigmas):
            share = weight * len(batch.photos) / self.settings.batch_size
            with self._explained():
                loss = share * self.loss(batch, data.conditioning_for(batch))
                self._scaler.scale(loss).backward()
            total += loss.item()
        return total

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """PyTorch's error about networks without a gradient becomes one that says what to do."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if isinstance(error, FaceChainError) or not _NO_GRADIENT.search(str(error)):
                raise
            # checkpointed blocks compute on copies of what others keep
            helps = _IN_PLACE in str(error) and not self.settings.gradient_checkpointing
            raise FaceChainError(
                f"{type(self._model.module).__name__} cannot be trained with this ComfyUI: it computes with operations that have no "
                f"gradient ({str(error).splitlines()[0]}). "
                f"{'Switch gradient_checkpointing on, or train' if helps else 'Train'} on a model of another family."
            ) from error

    def loss(self, batch: Batch, conditions: list[Conditions]) -> torch.Tensor:
        """Mean distance of the model's own prediction from its target, weighted by place and by noise level where the settings say so."""
        objective, device = self._model.objective, self._model.device
        latents, noise, sigmas = (value.to(device) for value in (batch.latents, batch.noise, batch.sigmas))
        with torch.autocast(device.type, self.dtype, enabled=self.dtype is not torch.float32):
            predicted = self._model.predict(objective.add_noise(latents, noise, sigmas), sigmas, conditions)
        error = losses.distance(predicted - objective.target(latents, noise, sigmas), objective.noise_to_signal(sigmas), self.settings)
        if batch.weights is not None:
            weights = batch.weights.to(device)
            error = error * weights / weights.flatten(1).mean(1).clamp(min=1e-6).view(-1, *[1] * (error.ndim - 1))
        error = error.flatten(1).mean(1)
        levels = losses.level_weights(objective, sigmas, self.settings)
        return (error if levels is None else error * levels).mean()

    def validation_loss(self) -> float:
        """Mean loss on the same samples at each call: their noise and noise levels are in no training step's. Changes nothing."""
        pairs = replace(self.settings, batch_size=1, caption_dropout=0.0, seed=self.settings.seed + 1)
        batches = [self._data.batch(number, pairs, self._sigmas) for number in range(VALIDATION_PAIRS)]
        with torch.no_grad(), self._without_dropout():
            losses = [self.loss(batch, self._data.conditioning_for(batch)).item() for batch in batches]
        return sum(losses) / len(losses)

    @contextlib.contextmanager
    def _without_dropout(self) -> Iterator[None]:
        for group in self.adapters:
            group.train(False)
        try:
            yield
        finally:
            for group in self.adapters:
                group.train(True)

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
        """Learn from the gradients. Until the optimiser begins they alone have changed, and the step can be done again."""
        self._scaler.unscale_(self._optimiser)
        if self.settings.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.max_grad_norm)
        if self.lengthened_at is not None:
            for group, rate in zip(self._optimiser.param_groups, self._schedule.get_last_lr(), strict=True):
                group["lr"] = float(rate) * self._warmth()
        self._reserve()
        self.consistent = False
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        if self._average is not None:
            self._average.update()
        self.consistent = True

    def _reserve(self) -> None:
        """Have the device set aside what the update takes, so that memory runs out here if it does."""
        count = train_optim.made_by_a_step(self._optimiser)
        reserved = [torch.empty_like(parameter) for parameter in self._parameters if not parameter.is_cpu for _ in range(count)]
        del reserved

    def state(self) -> dict:
        """Everything that the remaining steps depend on. The noise of a step follows from the seed and the step's number."""
        return {
            "steps_done": self.steps_done,
            "lengthened_at": self.lengthened_at,
            "losses": list(self.losses),
            "adapters": [{name: value.detach().cpu() for name, value in group.named_parameters().items()} for group in self.adapters],
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "average": self._average.state() if self._average else None,
        }

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        """Resume from a saved state."""
        for group, saved in zip(self.adapters, state["adapters"], strict=True):
            for name, parameter in group.named_parameters().items():
                parameter.copy_(saved[name])
        self.lengthened_at = state["lengthened_at"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self._average is not None:
            self._average.restore(state["average"])
        self.steps_done, self.losses = state["steps_done"], list(state["losses"])
