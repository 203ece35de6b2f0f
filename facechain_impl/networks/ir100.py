"""IR-100, the identity encoder of the face fusion (CurricularFace)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import signed
from .published import Entry, Licence
from .sources import FUSION_REPO

STAGES = ((64, 3), (128, 13), (256, 30), (512, 3))  # (width, units)


class IR100(Network):
    """Aligned face [N, 3, 112, 112], RGB in -1..1 -> identity [N, 512] of length 1."""

    def __init__(self, stages: tuple[tuple[int, int], ...] = STAGES):
        super().__init__()
        first, last = stages[0][0], stages[-1][0]
        self.input_layer = nn.Sequential(nn.Conv2d(3, first, 3, padding=1, bias=False), nn.BatchNorm2d(first), nn.PReLU(first))
        units, inputs = [], first
        for width, count in stages:
            for i in range(count):
                units.append(Unit(inputs, width, 2 if i == 0 else 1))
                inputs = width
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(last), nn.Dropout(), nn.Flatten(), nn.Linear(last * 7 * 7, 512), nn.BatchNorm1d(512, affine=False)
        )

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        widths = [tensors["input_layer.0.weight"].shape[0]]
        while (key := f"body.{len(widths) - 1}.res_layer.1.weight") in tensors:
            widths.append(tensors[key].shape[0])
        return {"stages": tuple((width, widths[1:].count(width)) for width in dict.fromkeys(widths))}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.output_layer(self.body(self.input_layer(x))))


PUBLISHED = Entry(
    "fusion_arcface",
    "Face fusion, identity IR-100",
    *FUSION_REPO,
    "faceRecog/CurricularFace_Backbone.pth",
    Licence("MIT", False, "trained on MS1M faces, which are for research only"),
    network=IR100,
    probe=signed(112),
    megabytes=260.5,
)


class Unit(nn.Module):
    """Improved residual unit; `last` ends its residual branch."""

    def __init__(self, inputs: int, outputs: int, stride: int, *last: nn.Module):
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            *last,
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut_layer(x) + self.res_layer(x)
