"""The numbers of the demo: those of the pocket model, found by trial, and those of the shipped workflows for other base models."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

STRENGTHS = (0.0, 0.5, 1.0, 1.3)
SEED = 42


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the workflows are set to. Options of the same name change the first four.

    steps: of the training, 0 for the preset's. steps_of_one_photo: the same for a person with one photo, which more steps would repeat;
    None: no others. size: side of the pictures in pixels. words: of the prompt, after the trigger and who.
    face_share: longer side of the face as a share of a training crop's side; 0 keeps the crops of Face Align. training: widgets of Train
    Face LoRA, ranking: of Rank by Likeness, sampler: of the sampler; what they do not name stays as the workflow has it.
    paint_strength: denoising strength of the face that is painted into a picture."""

    steps: int
    size: int
    portraits: int
    sampling_steps: int
    cfg: float
    words: str
    strength: float
    paint_strength: float
    steps_of_one_photo: int | None = None
    face_share: float = 0.0
    training: Mapping[str, Any] = field(default_factory=dict)
    ranking: Mapping[str, Any] = field(default_factory=dict)

    def changed(self, options: argparse.Namespace) -> Settings:
        """With what the user asked for."""
        names = {one.name for one in fields(self)}
        given = {name: value for name, value in vars(options).items() if name in names and value is not None}
        if "steps" in given:
            given["steps_of_one_photo"] = None
        return replace(self, **given)

    def training_steps(self, photos: int) -> int:
        """For a person with this many photos."""
        return self.steps_of_one_photo if photos == 1 and self.steps_of_one_photo else self.steps

    def prompt(self, who: str) -> str:
        return f"<fcsks>, {who}, {self.words}"

    def summary(self) -> str:
        """For the reader of the page."""
        steps = f"{self.steps} training steps" if self.steps else "as many training steps as the preset says"
        of_one = f" ({self.steps_of_one_photo} where there is one photo)" if self.steps_of_one_photo else ""
        return f"{steps} a person{of_one}, pictures of {self.size} pixels, {self.sampling_steps} sampling steps"


POCKET = Settings(
    steps=400, size=128, portraits=4, sampling_steps=15, cfg=1.0, words="close-up, high detail face", strength=1.0, paint_strength=0.65,
    steps_of_one_photo=200, face_share=0.55,
    training={
        "learning_rate": 2e-3, "rank": 32, "targets": "Attention, feed-forward and convolutions", "augmentation": "Centre crop", "looks": 0,
        "preview_every": 0,
    },
    ranking={"min_face": 24, "max_face": 2048},
)  # fmt: skip
USUAL = Settings(
    steps=0, size=512, portraits=4, sampling_steps=40, cfg=7.0, strength=0.95, paint_strength=0.65,
    words="upper body, solo, wearing a dark suit, studio portrait, soft light, high detail face, photorealistic, best quality",
)  # fmt: skip
