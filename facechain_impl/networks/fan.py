"""Facial landmarks from heat maps: four stacked hourglasses that also predict the facial outline (Adaptive Wing, WFLW)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import plain
from .published import Entry, Licence
from .sadtalker.keypoints import widths_of
from .sources import SADTALKER_REPO

STACKS = 4
LEVELS = 4
OUTLINE = 0.05  # the last map's value above which a cell belongs to the facial outline


class FAN(Network):
    """forward(picture [N, 3, 256, 256] in 0..1) -> one [N, 99, 64, 64] per stack: 98 landmarks and the facial outline."""

    def __init__(self, stacks: int = STACKS, width: int = 256, points: int = 98):
        super().__init__()
        self.stacks = stacks
        self.conv1 = _CoordConv(3, width // 4, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(width // 4)
        self.conv2 = _Block(width // 4, width // 2)
        self.conv3 = _Block(width // 2, width // 2)
        self.conv4 = _Block(width // 2, width)
        for i in range(stacks):
            self.add_module(f"m{i}", _Hourglass(width, outline=i > 0))
            self.add_module(f"top_m_{i}", _Block(width, width))
            self.add_module(f"conv_last{i}", nn.Conv2d(width, width, 1))
            self.add_module(f"bn_end{i}", nn.BatchNorm2d(width))
            self.add_module(f"l{i}", nn.Conv2d(width, points + 1, 1))
        for i in range(stacks - 1):
            self.add_module(f"bl{i}", nn.Conv2d(width, width, 1))
            self.add_module(f"al{i}", nn.Conv2d(points + 1, width, 1))

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        outputs, width = tensors["l0.weight"].shape[:2]
        return {"stacks": len(widths_of(tensors, "l{}.weight")), "width": width, "points": outputs - 1}

    def forward(self, picture: torch.Tensor) -> list[torch.Tensor]:
        x = F.relu(self.bn1(self.conv1(picture)))
        x = F.avg_pool2d(self.conv2(x), 2)
        x = self.conv4(self.conv3(x))
        maps: list[torch.Tensor] = []
        for i in range(self.stacks):
            y = self._part(f"top_m_{i}")(self._part(f"m{i}")(x, maps[-1][:, -1:] if maps else None))
            y = F.relu(self._part(f"bn_end{i}")(self._part(f"conv_last{i}")(y)))
            maps.append(self._part(f"l{i}")(y))
            if i < self.stacks - 1:
                x = x + self._part(f"bl{i}")(y) + self._part(f"al{i}")(maps[-1])
        return maps

    def _part(self, name: str) -> nn.Module:
        return self.get_submodule(name)


PUBLISHED = Entry(
    "sadtalker_fan",
    "Talking head, 98 landmarks",
    *SADTALKER_REPO,
    "gfpgan/weights/alignment_WFLW_4HG.pth",
    Licence("Apache-2.0", None, "trained on WFLW, which is for research"),
    network=FAN,
    probe=plain(256),
    narrow={"width": 64},
    key="state_dict",
    megabytes=193,
)


class _CoordConv(nn.Module):
    """A convolution with extra inputs: the row and column of every cell, their distance from the centre, and both again along the
    facial outline. Rows come first: the network was trained with the two swapped."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, outline: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs + (5 if outline else 3), outputs, kernel, stride, kernel // 2)

    def forward(self, x: torch.Tensor, outline: torch.Tensor | None = None) -> torch.Tensor:
        height, width = x.shape[-2:]
        rows, columns = (torch.linspace(-1, 1, size, dtype=torch.float64).to(x) for size in (height, width))
        both = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
        radius = both.square().sum(0, keepdim=True).sqrt()
        places = torch.cat([both, radius / radius.max()]).expand(len(x), -1, -1, -1)
        parts = [x, places]
        if outline is not None:
            parts.append(torch.where(outline > OUTLINE, places[:, :2], 0.0))
        return self.conv(torch.cat(parts, 1))


class _Hourglass(nn.Module):
    def __init__(self, width: int, outline: bool):
        super().__init__()
        self.coordconv = _CoordConv(width, width, 1, outline=outline)
        for level in range(1, LEVELS + 1):
            for branch in (1, 2, 3):
                self.add_module(f"b{branch}_{level}", _Block(width, width))
        self.b2_plus_1 = _Block(width, width)

    def forward(self, x: torch.Tensor, outline: torch.Tensor | None) -> torch.Tensor:
        return self._level(LEVELS, self.coordconv(x, outline))

    def _level(self, level: int, x: torch.Tensor) -> torch.Tensor:
        beside = self.get_submodule(f"b1_{level}")(x)
        x = self.get_submodule(f"b2_{level}")(F.avg_pool2d(x, 2))
        x = self._level(level - 1, x) if level > 1 else self.b2_plus_1(x)
        return beside + F.interpolate(self.get_submodule(f"b3_{level}")(x), scale_factor=2)


class _Block(nn.Module):
    """Three convolutions in a row, all their outputs side by side, plus the input."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), _conv3(inputs, half)
        self.bn2, self.conv2 = nn.BatchNorm2d(half), _conv3(half, quarter)
        self.bn3, self.conv3 = nn.BatchNorm2d(quarter), _conv3(quarter, quarter)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.conv1(F.relu(self.bn1(x)))
        second = self.conv2(F.relu(self.bn2(first)))
        third = self.conv3(F.relu(self.bn3(second)))
        return torch.cat([first, second, third], 1) + (self.downsample(x) if self.downsample else x)


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
