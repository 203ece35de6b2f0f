"""From face coefficients to the motion of the renderer's key points (MappingNet of PIRenderer, as SadTalker uses it)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..base import Network, Tensors
from ..probes import Probe
from ..published import Entry
from ..sources import SADTALKER, SADTALKER_REPO
from .keypoints import NARROW_POINTS

BINS = 66
POINTS = 15


@dataclass
class HeadMotion:
    """One row per frame. yaw, pitch, roll: logits [N, 66] over angles; shift: [N, 3]; expression: [N, 45], 15 points in 3-D."""

    yaw: torch.Tensor
    pitch: torch.Tensor
    roll: torch.Tensor
    shift: torch.Tensor
    expression: torch.Tensor


class MappingNet(Network):
    """forward(windows [N, coefficients, 27]) -> HeadMotion. 70 coefficients for crops, 73 for whole pictures."""

    def __init__(self, coefficients: int = 70, width: int = 1024, points: int = POINTS):
        super().__init__()
        self.coefficients = coefficients
        self.first = nn.Sequential(nn.Conv1d(coefficients, width, 7))
        for i in range(3):
            self.add_module(f"encoder{i}", nn.Sequential(nn.LeakyReLU(0.1), nn.Conv1d(width, width, 3, dilation=3)))
        self.fc_yaw = nn.Linear(width, BINS)
        self.fc_pitch = nn.Linear(width, BINS)
        self.fc_roll = nn.Linear(width, BINS)
        self.fc_t = nn.Linear(width, 3)
        self.fc_exp = nn.Linear(width, 3 * points)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        width, coefficients, _ = tensors["first.0.weight"].shape
        return {"coefficients": coefficients, "width": width, "points": tensors["fc_exp.weight"].shape[0] // 3}

    def forward(self, windows: torch.Tensor) -> HeadMotion:
        x = self.first(windows)
        for i in range(3):
            x = self.get_submodule(f"encoder{i}")(x) + x[:, :, 3:-3]
        x = x.mean(2)
        return HeadMotion(self.fc_yaw(x), self.fc_pitch(x), self.fc_roll(x), self.fc_t(x), self.fc_exp(x))


class MappingNetFull(MappingNet):
    """The network for whole pictures, with scale and place of the face as extra inputs."""

    def __init__(self, coefficients: int = 73, width: int = 1024, points: int = POINTS):
        super().__init__(coefficients, width, points)


def _probe(coefficients: int) -> Probe:
    return lambda network, picture: network(torch.zeros(1, coefficients, 27))


def _published(name: str, use: str, file: str, network: type[MappingNet], coefficients: int) -> Entry:
    return Entry(
        name,
        f"Talking head, head motion for {use}",
        *SADTALKER_REPO,
        f"checkpoints/{file}",
        SADTALKER,
        network=network,
        probe=_probe(coefficients),
        narrow={"width": 64, "points": NARROW_POINTS},
        key="mapping",
        megabytes=155,
    )


PUBLISHED = (
    _published("sadtalker_mapping_crop", "crops", "mapping_00229-model.pth.tar", MappingNet, 70),
    _published("sadtalker_mapping_full", "whole pictures", "mapping_00109-model.pth.tar", MappingNetFull, 73),
)
