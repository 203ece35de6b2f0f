"""Looks (evaluations) during training: sample portraits from fixed prompts and seeds, scored, and the loss on fixed noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...host import families, models
from ...host.protocols import Clip, Vae
from ..lora.formats import Layer
from . import averaging, judge, sheet
from .adapters import Adapters, Weights, held
from .judge import Look
from .likeness import Scorer
from .previews import Preview

PROMPTS = ("{}, portrait photo, looking at the camera, plain background", "{}, upper body, outdoors, natural light")
"""Fixed, and no captions: a training that repeats its photos is not the best one."""
SEEDS, OTHER_SEEDS = (1001, 1002), (2001, 2002)
"""For choosing a step, and for saying afterwards how alike its portraits are."""

SHARE_OF_STEPS = 0.6
"""Of the sampling steps that the family usually takes: a face is there before its details are."""

AVERAGED = 3
"""Looks in the mean of the last ones."""


@dataclass(frozen=True)
class LookPlan:
    """count: looks in all, 0 for none. scorer: of the portraits, None for face recognition where that is there. keep: the weights of
    every look."""

    count: int = judge.LOOKS
    scorer: Scorer | None = None
    keep: bool = False


@dataclass(frozen=True)
class Sitting:
    """Everything that portraits are made with. pattern: prompt, seed and text are replaced."""

    model: models.TrainingModel
    clip: Clip
    vae: Vae
    trigger: str
    pattern: Preview

    def portraits(self, seeds: tuple[int, ...]) -> list[torch.Tensor]:
        """One [H, W, 3] for each prompt and seed."""
        usual = families.sampling(self.model.patcher)
        pattern = replace(self.pattern, sampling=replace(usual, steps=math.ceil(usual.steps * SHARE_OF_STEPS)))
        told = [replace(pattern, text=prompt.format(self.trigger), seed=seed) for prompt in PROMPTS for seed in seeds]
        return [one.portrait(self.model, self.clip, self.vae) for one in told]


@dataclass
class Watch:
    """Looks after the steps that are due, and keeps the weights of the best. validation: the loss on fixed noise with the weights of
    the moment. portraits: of each look, small, by step. kept: weights of each look by step, where they are wanted. average: whether the
    mean of the last looks takes the place of the last one; recent: their weights by step."""

    due: tuple[int, ...]
    scorer: Scorer | None
    sitting: Sitting
    validation: Callable[[], float]
    looks: list[Look] = field(default_factory=list)
    best: Weights | None = None
    keep: bool = False
    portraits: dict[int, torch.Tensor] = field(default_factory=dict)
    kept: dict[int, Weights] = field(default_factory=dict)
    average: bool = False
    recent: dict[int, Weights] = field(default_factory=dict)

    def wants(self, step: int, at_end: bool) -> bool:
        """Whether a look is due after `step`, where the training may end, and did not happen yet, even if it was interrupted."""
        return (at_end or step in self.due) and all(look.step != step for look in self.looks)

    def look(self, step: int, adapters: list[Adapters], drawn: bool = True) -> None:
        """Evaluate these weights; an interrupted look leaves nothing. drawn: whether at portraits too, where something scores them."""
        portraits: list[torch.Tensor] = []
        scores: tuple[float, ...] = ()
        if drawn and self.scorer is not None:
            portraits = self.sitting.portraits(SEEDS)
            scores = tuple(value or 0.0 for value in self.scorer(portraits))
            self.sitting.model.load()
        new, before = Look(step, scores, self.validation()), [look.score for look in self.looks if look.score is not None]
        if portraits:
            self.portraits[step] = sheet.thumbnails(portraits)
        if new.score is not None and new.score >= max(before, default=-1.0):
            self.best = [group.layers() for group in adapters]
        if self.keep:
            self.kept[step] = [group.layers() for group in adapters]
        if self.average:
            latest = [*self.recent.items(), (step, [group.layers() for group in adapters])]
            self.recent = dict(latest[-AVERAGED:])
        self.looks.append(new)

    def chosen(self, adapters: list[Adapters]) -> tuple[Look, Weights, tuple[int, ...]]:
        """The step to use, its weights, and the steps of which they are the mean (none where they are no mean), after the look at the
        step where the training ends."""
        look = judge.choose(self.looks)
        if look is not self.looks[-1] and self.best:
            return look, self.best, ()
        if len(self.recent) > 1:
            return look, averaging.mean(list(self.recent.values())), tuple(self.recent)
        return look, [group.layers() for group in adapters], ()

    def likeness(self, adapters: list[Adapters], weights: Weights) -> float | None:
        """Mean score of portraits that no step was chosen by, with these weights."""
        if self.scorer is None or len(self.looks) == 1:  # of one look nothing was chosen
            return self.looks[0].score if self.looks else None
        with held(adapters):
            for group, layers in zip(adapters, weights, strict=True):
                group.load(layers)
            return float(np.mean([value or 0.0 for value in self.scorer(self.sitting.portraits(OTHER_SEEDS))]))

    def state(self) -> dict:
        return {
            "looks": [(look.step, look.scores, look.loss) for look in self.looks],
            "best": self.best and _plain(self.best),
            "portraits": dict(self.portraits),
            "kept": {step: _plain(weights) for step, weights in self.kept.items()},
            "recent": {step: _plain(weights) for step, weights in self.recent.items()},
        }

    def restore(self, state: dict) -> None:
        self.looks = [Look(step, tuple(scores), loss) for step, scores, loss in state["looks"]]
        self.best = state["best"] and _layers(state["best"])
        self.portraits = dict(state["portraits"])
        self.kept = {step: _layers(weights) for step, weights in state["kept"].items()}
        self.recent = {step: _layers(weights) for step, weights in state.get("recent", {}).items()}  # 0.1 had none


def _plain(weights: Weights) -> list[dict[str, tuple]]:
    return [{name: (one.up, one.down, one.alpha, one.dora_scale) for name, one in group.items()} for group in weights]


def _layers(plain: list[dict[str, tuple]]) -> Weights:
    return [{name: Layer(*one) for name, one in group.items()} for group in plain]
