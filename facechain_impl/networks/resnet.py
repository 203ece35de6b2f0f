"""The residual body that FairFace (34 layers), RetinaFace and the face reconstruction (50 layers) share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors

STAGES = ("layer1", "layer2", "layer3", "layer4")


class ResidualBody(Network):
    """The four stages of a residual network (He et al., 2015), see `features`.

    The stride of a bottleneck is in its 3x3 convolution, and parameters are named as torchvision names them. counts: blocks
    per stage. width: channels of the stem.
    """

    def __init__(self, counts: tuple[int, ...] = (3, 4, 6, 3), bottleneck: bool = True, width: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        block: type[BasicBlock] | type[Bottleneck] = Bottleneck if bottleneck else BasicBlock
        inputs = width
        for index, (name, count) in enumerate(zip(STAGES, counts)):
            inner, stride = width << index, 1 if index == 0 else 2
            self.add_module(name, stage(block, inputs, inner, count, stride))
            inputs = inner * block.expansion

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return body_sizes(tensors)

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Pictures [N, 3, H, W] -> the output of each stage, at a 4th, 8th, 16th and 32nd of the size."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        features = []
        for name in STAGES:
            x = getattr(self, name)(x)
            features.append(x)
        return features


class ResNet(ResidualBody):
    """Pictures [N, 3, H, W] -> the features of the four stages."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        return self.features(x)


def body_sizes(tensors: Tensors, prefix: str = "") -> dict:
    """Constructor arguments of the ResNet whose keys begin with `prefix`. Raises KeyError where there is none."""
    counts = tuple(sum(f"{prefix}{name}.{i}.conv1.weight" in tensors for i in range(100)) for name in STAGES)
    width = tensors[f"{prefix}conv1.weight"].shape[0]
    return {"counts": counts, "bottleneck": f"{prefix}layer1.0.conv3.weight" in tensors, "width": width}


def stage(block: type[BasicBlock] | type[Bottleneck], inputs: int, inner: int, count: int, stride: int) -> nn.Sequential:
    outputs = inner * block.expansion
    return nn.Sequential(block(inputs, inner, stride), *(block(outputs, inner, 1) for _ in range(count - 1)))


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, inner: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.downsample = shortcut(inputs, inner, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, inner: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, inner * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(inner * 4)
        self.downsample = shortcut(inputs, inner * 4, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))
