"""Who a face is: RTS embeddings, compared by their cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import BadInput
from ..geometry.affine import align112
from ..host.memory import ManagedModel
from ..host.progress import check_interrupt
from ..networks.rts import RTS
from ..types import Face, updated

BATCH = 16


class Embedding(NamedTuple):
    """vector: float32 [512] of length 1. uncertainty: log of the mean of the variances that RTS predicts, larger is less certain."""

    vector: np.ndarray
    uncertainty: float


class FaceRecognition:
    """Aligned faces to embeddings, in batches."""

    def __init__(self, managed: ManagedModel[RTS]):
        self.managed = managed

    def embed(self, aligned: list[torch.Tensor]) -> list[Embedding]:
        """aligned: RGB [112, 112, 3] in 0..1 each, see photos.align.align112."""
        found = []
        for start in range(0, len(aligned), BATCH):
            check_interrupt()
            found += self._embed_batch(torch.stack(aligned[start : start + BATCH]))
        return found

    def _embed_batch(self, faces: torch.Tensor) -> list[Embedding]:
        network = self.managed.load()
        faces = faces.to(self.managed.device).permute(0, 3, 1, 2) * 2 - 1  # [N, H, W, C] -> [N, C, H, W]
        vectors, log_variance = network(faces)
        vectors = F.normalize(vectors).cpu().numpy()
        # The published pipeline keeps all values of this head; one column shows the log of their mean variance.
        uncertainty = (log_variance.logsumexp(1) - math.log(log_variance.shape[1])).cpu()
        return [Embedding(vector, float(value)) for vector, value in zip(vectors, uncertainty)]


def vector_of(face: Face) -> np.ndarray:
    """`embedding` of a face that must have one. Raises BadInput when it was not recognised."""
    if face.embedding is None:
        raise BadInput(f"The face at {face.box.round().tolist()} was not recognised before, which is needed here. Recognise it first.")
    return face.embedding


def with_embeddings(recognition: FaceRecognition, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[Face]:
    """`faces`, one in each of `images` [H, W, 3], with `embedding` and `uncertainty`; those that have them stay as they are."""
    unknown = [index for index, face in enumerate(faces) if face.embedding is None]
    found = recognition.embed([align112(images[index], faces[index].five) for index in unknown])
    known = {index: replace(faces[index], embedding=one.vector, uncertainty=one.uncertainty) for index, one in zip(unknown, found)}
    return updated(faces, known)


def cosine_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """Cosine of two embeddings of length 1."""
    return float(np.dot(first, second))
