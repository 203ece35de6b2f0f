"""How alike sample portraits are to the person, by face recognition (RTS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ...perception import models
from ...perception.detection import BUILT_IN
from ...perception.faces import find_faces, main_face
from ...perception.recognition import FaceRecognition, cosine_similarity, vector_of, with_embeddings
from ...photos import study as photo_study
from ...photos.study import Study


class Scorer(Protocol):
    """Scores pictures [H, W, 3] in 0..1 by likeness to a person; None where there is no face."""

    def __call__(self, pictures: list[torch.Tensor], /) -> list[float | None]: ...


@dataclass(frozen=True)
class Reference:
    """A photo to compare with. vector: float32 [512] of length 1. weight: more for photos that RTS is certain about."""

    vector: np.ndarray
    weight: float = 1.0


def references(found: Study) -> list[Reference]:
    """Of the clean photos: no other people, no blurred photos, one of several duplicates. Of all photos with a face if none is clean."""
    clean = [index for index in found.embeddings if photo_study.is_clean(found.facts[index])]
    chosen = clean or list(found.embeddings)
    certain = {index: -(found.uncertainties.get(index) or 0.0) for index in chosen}
    most = max(certain.values(), default=0.0)
    return [Reference(found.embeddings[index], float(np.exp(certain[index] - most))) for index in chosen]


class RtsScorer:
    """Cosine of a portrait with the mean of the references, averaged over leaving each of them out once: no single photo decides."""

    def __init__(self, given: Sequence[Reference]):
        self._means = _means(given)

    def __call__(self, pictures: list[torch.Tensor]) -> list[float | None]:
        with torch.no_grad():
            faces = [main_face(picture.faces) for picture in find_faces(pictures, BUILT_IN).pictures]
            seen = [(picture, face) for picture, face in zip(pictures, faces) if face is not None]
            recognition = FaceRecognition(models.open_network("rts"))
            embedded = iter(with_embeddings(recognition, [one for one, _ in seen], [face for _, face in seen]))
        return [None if face is None else self.of(vector_of(next(embedded))) for face in faces]

    def of(self, vector: np.ndarray) -> float:
        """vector: of a portrait, float32 [512]."""
        return float(np.mean([cosine_similarity(vector, mean) for mean in self._means]))


def _means(given: Sequence[Reference]) -> list[np.ndarray]:
    if len(given) == 1:
        return [given[0].vector]
    weighted = np.stack([one.weight * one.vector for one in given])
    return [(weighted.sum(0) - one) / max(float(np.linalg.norm(weighted.sum(0) - one)), 1e-6) for one in weighted]
