"""The backbone of M2FP: ResNet-101 with a stem of three convolutions, its norms stored inside the convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

STEM = (64, 64, 128)
STAGES = (("res2", 64, 1), ("res3", 128, 2), ("res4", 256, 2), ("res5", 512, 2))  # name, inner width, stride
EXPANSION = 4


class NormedConv(nn.Conv2d):
    """A convolution without bias, its norm as a child named `norm`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, norm: nn.Module | None = None):
        super().__init__(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.norm = norm or nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(super().forward(x))


class DeepLabResNet(nn.Module):
    """Pictures [N, 3, H, W] -> features at a 4th, 8th, 16th and 32nd of the size, `widths` channels each."""

    def __init__(self, counts: tuple[int, ...]):
        super().__init__()
        self.stem = _Stem()
        inputs, self.widths = STEM[-1], []
        for (name, inner, stride), count in zip(STAGES, counts):
            outputs = inner * EXPANSION
            blocks = [_Block(inputs, inner, stride), *(_Block(outputs, inner, 1) for _ in range(count - 1))]
            self.add_module(name, nn.Sequential(*blocks))
            inputs = outputs
            self.widths.append(outputs)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x)
        features = []
        for name, _, _ in STAGES:
            x = getattr(self, name)(x)
            features.append(x)
        return features


class _Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = NormedConv(3, STEM[0], 3, 2)
        self.conv2 = NormedConv(STEM[0], STEM[1], 3)
        self.conv3 = NormedConv(STEM[1], STEM[2], 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.relu(conv(x))
        return F.max_pool2d(x, 3, 2, 1)


class _Block(nn.Module):
    def __init__(self, inputs: int, inner: int, stride: int):
        super().__init__()
        outputs = inner * EXPANSION
        self.shortcut = NormedConv(inputs, outputs, 1, stride) if inputs != outputs else None
        self.conv1 = NormedConv(inputs, inner, 1)
        self.conv2 = NormedConv(inner, inner, 3, stride)
        self.conv3 = NormedConv(inner, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))
