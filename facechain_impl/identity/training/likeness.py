"""Choosing the step whose portraits look most like the person, and stopping when they no longer get closer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ...host import models as host_models
from ...host.protocols import Clip, Vae
from ...perception import haar, models
from ...perception.detection import BUILT_IN
from ...perception.faces import find_faces, main_face
from ...perception.recognition import FaceRecognition, cosine_similarity, vector_of, with_embeddings
from ...photos.study import Study
from ..lora.formats import Layer
from .adapters import Adapters
from .previews import Preview

# From four photos on, one in five is kept from the training to be compared with.
_FEW, _SHARE = 3, 5
_RISE = 0.005


@dataclass(frozen=True)
class LikenessPlan:
    """every: steps between checks, 0 for none. samples: portraits per check. patience: checks without a rise before it stops."""

    every: int
    samples: int = 2
    patience: int = 3

    def possible(self) -> LikenessPlan:
        """The plan, or none where this OpenCV cannot run the built-in detector, which finds the faces of portraits."""
        return self if haar.can_run() else LikenessPlan(0)


def held_out(count: int, plan: LikenessPlan, steps: int, found: Study) -> list[int]:
    """Photos held out for comparison: none of three or fewer, none when likeness is never measured."""
    if count <= _FEW or not plan.every or steps < plan.every:
        return []
    able = [index for index in range(count) if index in found.embeddings]
    return able[-max(1, count // _SHARE) :] if len(able) > _FEW else []


@dataclass
class LikenessWatch:
    """Measures portraits against reference embeddings. curve: (step, likeness or None where no portrait had a face)."""

    plan: LikenessPlan
    references: list[np.ndarray]
    preview: Preview
    on_training_photos: bool
    curve: list[tuple[int, float | None]] = field(default_factory=list)
    best: list[dict[str, Layer]] | None = None

    def at(self, step: int, adapters: list[Adapters], model: host_models.TrainingModel, clip: Clip, vae: Vae) -> None:
        """Check when due after `step`, and keep the adapters when they are the best so far."""
        if step % self.plan.every:
            return
        before = self.best_likeness
        pictures = [replace(self.preview, seed=self.preview.seed + index).portrait(model, clip, vae) for index in range(self.plan.samples)]
        likeness = self._likeness(pictures)
        model.load()
        self.curve.append((step, likeness))
        if likeness is not None and (before is None or likeness > before):
            self.best = [group.layers() for group in adapters]

    def _likeness(self, pictures: list[torch.Tensor]) -> float | None:
        with torch.no_grad():
            faces = [main_face(picture.faces) for picture in find_faces(pictures, BUILT_IN).pictures]
            seen = [(picture, face) for picture, face in zip(pictures, faces) if face is not None]
            recognition = FaceRecognition(models.open_network("rts"))
            embedded = with_embeddings(recognition, [one for one, _ in seen], [face for _, face in seen])
        found = [cosine_similarity(vector_of(face), reference) for face in embedded for reference in self.references]
        return float(np.mean(found)) if found else None

    @property
    def best_likeness(self) -> float | None:
        return max((value for _, value in self.curve if value is not None), default=None)

    @property
    def is_done(self) -> bool:
        """Whether the last `patience` checks brought no rise."""
        values = [value for _, value in self.curve if value is not None]
        earlier, later = values[: -self.plan.patience], values[-self.plan.patience :]
        return bool(earlier) and max(later) < max(earlier) + _RISE

    def state(self) -> dict:
        best = None if self.best is None else [{name: (one.up, one.down, one.alpha) for name, one in group.items()} for group in self.best]
        return {"curve": list(self.curve), "best": best}

    def restore(self, state: dict) -> None:
        self.curve = [tuple(point) for point in state["curve"]]
        self.best = state["best"] and [{name: Layer(*one) for name, one in group.items()} for group in state["best"]]

    def notes(self) -> list[str]:
        """The result of the curve, for the report."""
        if self.best_likeness is None:
            return ["No face was found in the sample portraits, so the last step was used."] if self.curve else []
        step = next(step for step, value in self.curve if value == self.best_likeness)
        where = "training photos, so it is optimistic" if self.on_training_photos else "photos held out of the training"
        return [f"Likeness {self.best_likeness:.3f} at step {step} was the best of {len(self.curve)} checks, measured on {where}."]
