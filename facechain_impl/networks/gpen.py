"""GPEN: face enhancement at 1024 pixels. A StyleGAN2 decoder fed with the features of an encoder in place of noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import signed
from .published import Entry, Licence
from .sources import FUSION_REPO

STYLE = 512
STYLE_LAYERS = 8
STYLE_RATE = 0.01
CHANNELS = {4: 512, 8: 512, 16: 512, 32: 512, 64: 512, 128: 256, 256: 128, 512: 64, 1024: 32}


class GPEN(Network):
    """Face [N, 3, S, S], aligned to `photos.align.ENHANCE_1024`, RGB in -1..1 -> the same face, sharper (not clamped)."""

    def __init__(self, size: int = 1024):
        super().__init__()
        self.levels = int(math.log2(size)) - 2
        self.generator = Generator(self.levels)
        self.ecd0 = nn.Sequential(_conv_layer(3, CHANNELS[size], 1))
        for i in range(1, self.levels + 1):
            inputs, outputs = CHANNELS[size >> (i - 1)], CHANNELS[size >> i]
            setattr(self, f"ecd{i}", nn.Sequential(_conv_layer(inputs, outputs, 3, downsample=True)))
        self.final_linear = nn.Sequential(_EqualLinear(CHANNELS[4] * 16, STYLE, activate=True))

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        levels = 1
        while f"ecd{levels + 1}.0.1.weight" in tensors:
            levels += 1
        return {"size": 4 << levels}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = []
        for i in range(self.levels + 1):
            x = getattr(self, f"ecd{i}")(x)
            features.append(x)
        return self.generator(self.final_linear(x.flatten(1)), features[::-1])


PUBLISHED = Entry(
    "fusion_gpen1024",
    "Face fusion, enhancement GPEN-1024",
    *FUSION_REPO,
    "faceEnhance/GPEN-BFR-1024.pth",
    Licence("none published", False, "its authors ask to be contacted for commercial use"),
    network=GPEN,
    probe=signed(1024),
    megabytes=284.8,
)


class Generator(nn.Module):
    """Style code [N, 512] and features per resolution, smallest first -> picture [N, 3, S, S]."""

    def __init__(self, levels: int):
        super().__init__()
        widths = [CHANNELS[4 << i] for i in range(levels + 1)]
        self.style = nn.Sequential(_PixelNorm(), *(_EqualLinear(STYLE, STYLE, STYLE_RATE, True) for _ in range(STYLE_LAYERS)))
        self.input = _Constant(widths[0])
        self.conv1 = _StyledConv(widths[0], widths[0])
        self.to_rgb1 = _ToRGB(2 * widths[0], upsample=False)
        self.convs = nn.ModuleList()
        self.to_rgbs = nn.ModuleList()
        for inputs, outputs in zip(widths, widths[1:]):
            self.convs.append(_StyledConv(2 * inputs, outputs, upsample=True))
            self.convs.append(_StyledConv(2 * outputs, outputs))
            self.to_rgbs.append(_ToRGB(2 * outputs))

    def forward(self, code: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        style = self.style(code)
        x = self.conv1(self.input.input.expand(len(code), -1, -1, -1), style, features[0])
        picture = self.to_rgb1(x, style)
        for enlarge, refine, to_rgb, feature in zip(self.convs[::2], self.convs[1::2], self.to_rgbs, features[1:]):
            x = refine(enlarge(x, style, feature), style, feature)
            picture = to_rgb(x, style, picture)
        return picture


def _conv_layer(inputs: int, outputs: int, size: int, downsample: bool = False) -> nn.Sequential:
    blur = [_Blur(2, 2)] if downsample else []
    return nn.Sequential(*blur, _EqualConv2d(inputs, outputs, size, stride=2 if downsample else 1), _FusedLeakyReLU(outputs))


class _StyledConv(nn.Module):
    """Modulated convolution; an encoder feature is joined to its output, which doubles the channels."""

    def __init__(self, inputs: int, outputs: int, upsample: bool = False):
        super().__init__()
        self.conv = _ModulatedConv2d(inputs, outputs, 3, upsample=upsample)
        self.noise = _Noise()
        self.activate = _FusedLeakyReLU(2 * outputs)

    def forward(self, x: torch.Tensor, style: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        return self.activate(torch.cat([self.conv(x, style), self.noise.weight * feature], 1))


class _ToRGB(nn.Module):
    """The picture of one resolution, on top of the `smaller` one where there is one."""

    def __init__(self, inputs: int, upsample: bool = True):
        super().__init__()
        if upsample:
            self.upsample = _Upsample()
        self.conv = _ModulatedConv2d(inputs, 3, 1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(1, 3, 1, 1))

    def forward(self, x: torch.Tensor, style: torch.Tensor, smaller: torch.Tensor | None = None) -> torch.Tensor:
        picture = self.conv(x, style) + self.bias
        return picture if smaller is None else picture + self.upsample(smaller)


class _ModulatedConv2d(nn.Module):
    """Convolution whose inputs are scaled by the style and whose outputs are scaled back to unit variance."""

    def __init__(self, inputs: int, outputs: int, size: int, demodulate: bool = True, upsample: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, outputs, inputs, size, size))
        self.modulation = _EqualLinear(STYLE, inputs)
        self.scale = (inputs * size * size) ** -0.5
        self.demodulate = demodulate
        if upsample:
            self.blur = _Blur(1, 1)
        self.upsample = upsample

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        weight = self.weight[0] * self.scale
        style = self.modulation(style)
        x = x * style[:, :, None, None]
        if self.upsample:
            x = self.blur(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2))
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            power = style.square() @ weight.square().sum((2, 3)).T
            x = x * torch.rsqrt(power + 1e-8)[:, :, None, None]
        return x


class _EqualConv2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))
        self.scale = (inputs * size * size) ** -0.5
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight * self.scale, stride=self.stride)


class _EqualLinear(nn.Module):
    def __init__(self, inputs: int, outputs: int, rate: float = 1.0, activate: bool = False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.scale = rate * inputs**-0.5
        self.rate = rate
        self.activate = activate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.linear(x, self.weight * self.scale, self.bias * self.rate)
        return _leaky(x) if self.activate else x


class _FusedLeakyReLU(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _leaky(x + self.bias[:, None, None])


def _leaky(x: torch.Tensor) -> torch.Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class _Blur(nn.Module):
    """Convolution with the kernel of the file, after zero padding of `before` and `after` pixels."""

    kernel: torch.Tensor

    def __init__(self, before: int, after: int):
        super().__init__()
        self.register_buffer("kernel", torch.empty(4, 4))
        self.padding = (before, after, before, after)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = self.kernel.flip(0, 1).expand(x.shape[1], 1, -1, -1)
        return F.conv2d(F.pad(x, self.padding), kernel, groups=x.shape[1])


class _Upsample(_Blur):
    """Twice the size: zeros between the pixels, then the blur."""

    def __init__(self) -> None:
        super().__init__(2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, c, h, w = x.shape
        spread = F.pad(x[:, :, :, None, :, None], (0, 1, 0, 0, 0, 1))
        return super().forward(spread.reshape(n, c, 2 * h, 2 * w))


class _Noise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


class _Constant(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, channels, 4, 4))


class _PixelNorm(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)
