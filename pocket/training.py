"""A training in steps that can be stopped anywhere and goes on as if it had not been: each step draws its own random numbers."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from facechain_impl import atomic

SAVE_SECONDS = 60
AVERAGE = 0.999


@dataclass(frozen=True)
class Plan:
    """How long and how fast. batch: pictures a step. rate: the highest learning rate: it rises over 2 % of the steps, stays until a share
    `level` of them is done, then falls as a cosine. average: whether a moving average of the weights is the result."""

    steps: int
    batch: int
    rate: float
    seed: int
    average: bool = False
    level: float = 0.0

    def rate_at(self, step: int) -> float:
        warm = max(1, self.steps // 50)
        if step < warm:
            return self.rate * (step + 1) / warm
        begin = max(warm, int(self.level * self.steps))
        fallen = max(0.0, (step - begin) / max(1, self.steps - begin))
        return self.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * fallen)))


def train(
    model: torch.nn.Module, loss: Callable[[torch.Generator, int], torch.Tensor], plan: Plan, state: Path, title: str
) -> torch.nn.Module:
    """Train `model` in place. loss: of one step, from its generator and batch size. state: a file that keeps the way so far.

    Returns the model, or the moving average of its weights where the plan asks for it."""
    optimizer = torch.optim.AdamW(model.parameters(), plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
    mean = [one.detach().clone() for one in model.parameters()] if plan.average else []
    start = _resume(state, plan, model, optimizer, mean)
    began = saved = time.monotonic()
    for step in range(start, plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate_at(step)
        value = loss(torch.Generator().manual_seed(plan.seed * 10_000_000 + step), plan.batch)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        _average(mean, model, step)
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(state, plan, step + 1, model, optimizer, mean)
            saved = time.monotonic()
        if step % max(1, plan.steps // 50) == 0:
            left = (time.monotonic() - began) / (step + 1 - start) * (plan.steps - step - 1)
            say(f"{title}: step {step + 1} of {plan.steps}, loss {value.item():.4f}, {left / 60:.1f} minutes left")
    _save(state, plan, plan.steps, model, optimizer, mean)
    for parameter, averaged in zip(model.parameters(), mean):
        parameter.data.copy_(averaged)
    return model.eval()


def say(text: str) -> None:
    """At once, also into a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@torch.no_grad()
def _average(mean: list[torch.Tensor], model: torch.nn.Module, step: int) -> None:
    share = 1 - min(AVERAGE, (1 + step) / (10 + step))
    if mean:
        torch._foreach_lerp_(mean, [one.detach() for one in model.parameters()], share)


def _save(state: Path, plan: Plan, step: int, model: torch.nn.Module, optimizer: torch.optim.Optimizer, mean: list[torch.Tensor]) -> None:
    content = {"plan": vars(plan), "step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "mean": mean}
    with atomic.replacing(state) as partial:
        torch.save(content, partial)


def _resume(state: Path, plan: Plan, model: torch.nn.Module, optimizer: torch.optim.Optimizer, mean: list[torch.Tensor]) -> int:
    """The step to go on with; 0 where there is no state of this plan."""
    if not state.is_file():
        return 0
    content = torch.load(state, map_location=next(model.parameters()).device, weights_only=True)
    if content["plan"] != vars(plan):
        return 0
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    for one, before in zip(mean, content["mean"]):
        one.copy_(before)
    return int(content["step"])
