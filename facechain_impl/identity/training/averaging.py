"""Averages of the weights of one training, which vary less than those of any single step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from ..lora.formats import Layer
from .adapters import Adapters, Weights, held


class MovingAverage:
    """An exponential moving average of all trained tensors, in which what came before the last 1 / (1 - decay) steps hardly counts.

    The decay rises to its value as (1 + n) / (10 + n) after n steps, as in diffusers' EMAModel: the start is forgotten."""

    def __init__(self, adapters: list[Adapters], decay: float):
        self.decay, self.steps = decay, 0
        self._adapters = adapters
        self.restart(0)

    @torch.no_grad()
    def restart(self, steps: int) -> None:
        """Start from the current weights, after so many steps."""
        self.steps = steps
        self._values = [parameter.detach().clone() for parameter in self._parameters()]

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self._adapters for parameter in group.parameters()]

    @torch.no_grad()
    def update(self) -> None:
        """Add the current weights to the average."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for value, parameter in zip(self._values, self._parameters(), strict=True):
            if value.device != parameter.device:  # the host moved the model since
                value.data = value.to(parameter.device)
            value.lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The adapters hold the average."""
        with held(self._adapters):
            with torch.no_grad():
                for value, parameter in zip(self._values, self._parameters(), strict=True):
                    parameter.copy_(value)
            yield

    def state(self) -> dict:
        return {"steps": self.steps, "values": [value.detach().cpu() for value in self._values]}

    @torch.no_grad()
    def restore(self, state: dict) -> None:
        self.steps = state["steps"]
        for value, saved in zip(self._values, state["values"], strict=True):
            value.copy_(saved)


def mean(several: Sequence[Weights]) -> Weights:
    """The mean of each tensor. The weights lie on the path of one training, so that the mean of the updates is close to it."""
    return [{name: _mean([weights[group][name] for weights in several]) for name in first} for group, first in enumerate(several[0])]


def _mean(layers: list[Layer]) -> Layer:
    scales = [one.dora_scale for one in layers if one.dora_scale is not None]
    return Layer(
        torch.stack([one.up for one in layers]).mean(0),
        torch.stack([one.down for one in layers]).mean(0),
        layers[0].alpha,
        torch.stack(scales).mean(0) if scales else None,
    )
