"""RetinaFace with a ResNet-50 body: boxes and five points at three strides (Deng et al., 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import levels
from .published import Entry, Licence
from .resnet import ResNet, body_sizes
from .sources import SADTALKER_REPO

STRIDES = (8, 16, 32)
ANCHOR_SIDES = ((16, 32), (64, 128), (256, 512))  # pixels, per stride
CHANNELS = 256
VARIANCES = (0.1, 0.2)


class Raw(NamedTuple):
    """boxes [N, A, 4] and points [N, A, 10] relative to the anchors; scores [N, A, 2], probabilities of background and face."""

    boxes: torch.Tensor
    scores: torch.Tensor
    points: torch.Tensor


class RetinaFace(Network):
    """Pictures [N, 3, H, W] in 0..255 with the mean colour subtracted -> `Raw`, one row for each of `anchors(H, W)`."""

    def __init__(self, counts: tuple[int, ...] = (3, 4, 6, 3), bottleneck: bool = True, width: int = 64):
        super().__init__()
        self.body = ResNet(counts, bottleneck, width)
        self.fpn = _Pyramid([width * 8 << level for level in range(len(STRIDES))])
        self.ssh1, self.ssh2, self.ssh3 = (_Context() for _ in STRIDES)
        self.ClassHead = _heads(2)
        self.BboxHead = _heads(4)
        self.LandmarkHead = _heads(10)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return body_sizes(tensors, "body.")

    def forward(self, x: torch.Tensor) -> Raw:
        levels = self.fpn(self.body(x)[1:])
        features = [context(level) for context, level in zip((self.ssh1, self.ssh2, self.ssh3), levels)]
        boxes, scores, points = (
            torch.cat([head(feature) for head, feature in zip(heads, features)], 1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return Raw(boxes, scores.softmax(2), points)


_LICENCE = Licence("MIT", None, "trained on WIDER FACE, which is for research")
_PROBE = levels(640, (104, 117, 123))
PUBLISHED = Entry(
    "retinaface",
    "Face detector RetinaFace R50",
    "damo/cv_resnet50_face-detection_retinaface",
    "v2.0.2",
    "pytorch_model.pt",
    _LICENCE,
    network=RetinaFace,
    probe=_PROBE,
    key="state_dict",
    megabytes=109.2,
)
SADTALKER = Entry(
    "sadtalker_retinaface",
    "Talking head, face detector",
    *SADTALKER_REPO,
    "gfpgan/weights/detection_Resnet50_Final.pth",
    _LICENCE,
    network=RetinaFace,
    probe=_PROBE,
    megabytes=109.4,
)


def anchors(height: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Centre x, y, width, height [A, 4] of all anchors of a picture, as fractions of its sides."""
    rows = []
    for stride, sides in zip(STRIDES, ANCHOR_SIDES):
        y, x = (torch.arange(-(-side // stride), device=device) for side in (height, width))
        y, x, side = torch.meshgrid(y, x, torch.tensor(sides, device=device), indexing="ij")
        level = [(x + 0.5) * stride / width, (y + 0.5) * stride / height, side / width, side / height]
        rows.append(torch.stack(level, 3).flatten(0, 2))
    return torch.cat(rows)


def decode_boxes(raw: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Raw boxes [..., A, 4] -> x0 y0 x1 y1 as fractions of the picture."""
    centre = anchors[:, :2] + raw[..., :2] * VARIANCES[0] * anchors[:, 2:]
    size = anchors[:, 2:] * (raw[..., 2:] * VARIANCES[1]).exp()
    corner = centre - size / 2
    return torch.cat([corner, corner + size], -1)


def decode_points(raw: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """Raw points [..., A, 10] -> [..., A, 5, 2] as fractions of the picture."""
    return anchors[:, None, :2] + raw.unflatten(-1, (5, 2)) * VARIANCES[0] * anchors[:, None, 2:]


class _Pyramid(nn.Module):
    """Upstream's leaky units have slope 0 at this number of channels, here and in `_Context`."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(width, CHANNELS, 1, relu=True) for width in widths)
        self.merge1 = _conv(CHANNELS, CHANNELS, 3, relu=True)
        self.merge2 = _conv(CHANNELS, CHANNELS, 3, relu=True)

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        fine, middle, coarse = (output(x) for output, x in zip((self.output1, self.output2, self.output3), features))
        middle = self.merge2(middle + F.interpolate(coarse, middle.shape[-2:]))
        fine = self.merge1(fine + F.interpolate(middle, fine.shape[-2:]))
        return [fine, middle, coarse]


class _Context(nn.Module):
    """Three receptive fields side by side (SSH; Najibi et al., 2017)."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = CHANNELS // 2, CHANNELS // 4
        self.conv3X3 = _conv(CHANNELS, half, 3)
        self.conv5X5_1 = _conv(CHANNELS, quarter, 3, relu=True)
        self.conv5X5_2 = _conv(quarter, quarter, 3)
        self.conv7X7_2 = _conv(quarter, quarter, 3, relu=True)
        self.conv7x7_3 = _conv(quarter, quarter, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = self.conv5X5_1(x)
        return F.relu(torch.cat([self.conv3X3(x), self.conv5X5_2(wide), self.conv7x7_3(self.conv7X7_2(wide))], 1))


class _Head(nn.Module):
    def __init__(self, values: int, per_cell: int):
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(CHANNELS, values * per_cell, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).reshape(len(x), -1, self.values)  # [N, C, H, W] -> [N, A, values]


def _heads(values: int) -> nn.ModuleList:
    return nn.ModuleList(_Head(values, len(sides)) for sides in ANCHOR_SIDES)


def _conv(inputs: int, outputs: int, kernel: int, relu: bool = False) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU()] if relu else []))
