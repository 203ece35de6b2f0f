"""RTS, face recognition with an uncertainty: IR-SE-64 with an embedding head and two heads of log variances."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from .base import Network, Tensors
from .ir100 import Unit
from .probes import signed
from .published import Entry, Licence

STAGES = ((64, 3), (128, 8), (256, 16), (512, 3))  # (width, units)
REDUCTION = 16
EMBEDDING = 512


class Embeddings(NamedTuple):
    """vector [N, 512], not normalised; log_variance [N, alpha] of the RTS+ head."""

    vector: torch.Tensor
    log_variance: torch.Tensor


class RTS(Network):
    """Aligned face [N, 3, 112, 112], RGB in -1..1 -> Embeddings."""

    def __init__(self, stages: tuple[tuple[int, int], ...] = STAGES, alpha: int = 32):
        super().__init__()
        first, last = stages[0][0], stages[-1][0]
        stem = nn.Sequential(nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first))
        units, inputs = [], first
        for width, count in stages:
            for i in range(count):
                units.append(Unit(inputs, width, 2 if i == 0 else 1, _SqueezeExcite(width)))
                inputs = width
        self.features = nn.Sequential(stem, nn.Sequential(*units), nn.Sequential(nn.BatchNorm2d(last), nn.Flatten()))
        flat = last * 7 * 7
        self.features_backbone = _head(flat, EMBEDDING)
        self.logvar_rts_backbone = _head(flat, 1)
        self.logvar_rts_plus_backbone = _head(flat, alpha)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        alpha = tensors["logvar_rts_plus_backbone.0.weight"].shape[0]
        widths = [tensors["features.0.0.weight"].shape[0]]
        while (key := f"features.1.{len(widths) - 1}.res_layer.1.weight") in tensors:
            widths.append(tensors[key].shape[0])
        return {"stages": tuple((width, widths[1:].count(width)) for width in dict.fromkeys(widths)), "alpha": alpha}

    def forward(self, x: torch.Tensor) -> Embeddings:
        features = self.features(x)
        return Embeddings(self.features_backbone(features), self.logvar_rts_plus_backbone(features))


PUBLISHED = Entry(
    "rts",
    "Face recognition RTS",
    "damo/cv_ir_face-recognition-ood_rts",
    "v2.5",
    "pytorch_model.pt",
    Licence("Apache-2.0 on the model card", False, "trained on MS1M faces, which are for research only"),
    network=RTS,
    probe=signed(112),
    megabytes=192.9,
)


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Conv2d(width, width // REDUCTION, 1, bias=False)
        self.fc2 = nn.Conv2d(width // REDUCTION, width, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.fc1(mean).relu()).sigmoid()


def _head(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs))
