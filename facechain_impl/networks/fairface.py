"""FairFace: race, gender and age from an aligned face (Karkkainen and Joo, 2021)."""

from __future__ import annotations

import torch
from torch import nn

from .base import Tensors
from .probes import standardised
from .published import Entry, Licence
from .resnet import ResidualBody


class FairFace(ResidualBody):
    """Faces [N, 3, 224, 224], RGB with ImageNet's mean and deviation -> logits [N, 18]: 7 of race, 2 of gender, 9 of age."""

    def __init__(self, counts: tuple[int, ...] = (3, 4, 6, 3), bottleneck: bool = False, width: int = 64, outputs: int = 18):
        super().__init__(counts, bottleneck, width)
        self.fc = nn.Linear(width * 8 * (4 if bottleneck else 1), outputs)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return super().sizes(tensors) | {"outputs": tensors["fc.weight"].shape[0]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x)[-1].mean((2, 3)))


PUBLISHED = Entry(
    "fairface",
    "Age and gender, FairFace",
    "damo/cv_resnet34_face-attribute-recognition_fairface",
    "v2.0.2",
    "pytorch_model.pt",
    Licence("CC BY 4.0", True, "naming the FairFace authors"),
    network=FairFace,
    probe=standardised(224),
    megabytes=85.2,
)
