"""Gender and age of a face, from FairFace."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from ..geometry.pixels import to_bytes
from ..host.memory import ManagedModel
from ..networks.fairface import FairFace

SIDE = 224
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GENDERS = ("Male", "Female")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
RACES = 7
BATCH = 8


class FaceAttributes:
    """Gender and age of aligned faces, in batches. The network's race output is not used."""

    def __init__(self, managed: ManagedModel[FairFace]):
        self.managed = managed

    def predict(self, aligned: list[torch.Tensor]) -> list[dict[str, np.ndarray]]:
        """aligned: RGB [112, 112, 3] in 0..1 each -> probabilities "gender" [2] as in GENDERS and "age" [9] as in AGES."""
        found = []
        for start in range(0, len(aligned), BATCH):
            network = self.managed.load()
            faces = torch.stack([prepared(face) for face in aligned[start : start + BATCH]])
            found += [probabilities(row) for row in network(faces.to(self.managed.device)).cpu()]
        return found


def prepared(face: torch.Tensor) -> torch.Tensor:
    """Aligned face [112, 112, 3] in 0..1 -> network input [3, 224, 224]."""
    enlarged = Image.fromarray(to_bytes(face)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(enlarged)).permute(2, 0, 1) / 255
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
    return (pixels - mean) / deviation


def probabilities(logits: torch.Tensor) -> dict[str, np.ndarray]:
    """Logits [18] -> "gender" [2] and "age" [9]."""
    gender, age = logits[RACES:].split([len(GENDERS), len(AGES)])
    return {"gender": gender.softmax(0).numpy(), "age": age.softmax(0).numpy()}
