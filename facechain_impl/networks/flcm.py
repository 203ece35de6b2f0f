"""FLCM: the reliability of a face's landmarks, from a 120 px crop."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network
from .probes import levels
from .published import Entry
from .sources import CARD

SIDE = 120
COSINE_SCALE = 32.0


class Findings(NamedTuple):
    """unreliability [N, 1], about 0 for a clear face; landmarks [N, 10], five x then five y as fractions of the crop;
    mask [N, 2], probabilities of the two mask classes; nose [N, 6]."""

    unreliability: torch.Tensor
    landmarks: torch.Tensor
    mask: torch.Tensor
    nose: torch.Tensor


class FLCM(Network):
    """Faces [N, 3, 120, 120], BGR in 0..255 -> `Findings`."""

    def __init__(self) -> None:
        super().__init__()
        self.landmark_net = _LandmarkNet()
        self.cls_net = _ConfidenceNet()
        self.rp_net = _MaskNet()

    def forward(self, x: torch.Tensor) -> Findings:
        feature, landmarks = self.landmark_net(x)
        mask, nose = self.rp_net(feature)
        return Findings(self.cls_net(feature), landmarks, mask, nose)


PUBLISHED = Entry(
    "flcm",
    "Landmark confidence FLCM",
    "damo/cv_manual_facial-landmark-confidence_flcm",
    "v2.5",
    "pytorch_model.pt",
    CARD,
    network=FLCM,
    probe=levels(120),
    key="state_dict",
    megabytes=1.5,
)


class _LandmarkNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_pre = nn.Sequential(*_conv(3, 16, 5, 2, 0))
        self.conv1 = nn.Sequential(*_conv(16, 32, 3, 1, 1), *_conv(32, 32, 3, 1, 1))
        self.conv2 = nn.Sequential(*_conv(32, 48, 3), *_conv(48, 48, 3))
        self.conv3 = nn.Sequential(*_conv(48, 80, 3), *_conv(80, 80, 3))
        self.fc1 = nn.Sequential(nn.Linear(80, 128), nn.ReLU())
        self.fc2 = nn.Sequential(nn.Linear(128, 128), nn.ReLU())
        self.output = nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.conv1(F.max_pool2d(self.conv_pre(x), 2))
        feature = self.conv2(F.max_pool2d(x[:, :, :28, :28], 2))
        x = self.conv3(F.max_pool2d(feature, 2)).flatten(1)
        return feature, self.output(self.fc2(self.fc1(x)))


class _ConfidenceNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_conv(48, 48, 3, 1, 1))
        self.conv2 = nn.Sequential(*_conv(48, 54, 3, 2, 1))
        self.conv3 = nn.Sequential(*_conv(54, 54, 5))
        self.fc1 = nn.Sequential(nn.Flatten(), nn.Linear(54, 54), nn.ReLU())
        self.fc2 = nn.Linear(54, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.fc1(self.conv3(self.conv2(self.conv1(x)))))


class _MaskNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(*_conv(48, 48, 3, 2, 1))
        self.binary_cls = _CosineClassifier(48, 2)
        self.nose_layer = nn.Sequential(*_conv(48, 64, 3), *_conv(64, 64, 3), nn.Flatten(), nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 6))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask = self.binary_cls(self.conv1(x).mean((2, 3)))
        return mask.softmax(1), self.nose_layer(F.max_pool2d(x, 2))


class _CosineClassifier(nn.Module):
    """The published weight [inputs, classes] is scaled and normalised over the classes, as upstream does when it loads it."""

    def __init__(self, inputs: int, classes: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ (COSINE_SCALE * F.normalize(self.weight, dim=1))


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs), nn.ReLU()
