"""Skin retouching (ABPN): the generator of the blend layer, the blemish detector and the blemish inpainter."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import fitted, signed
from .published import Entry
from .sources import SKIN, SKIN_REPO

LEVELS = (64, 128, 256, 512, 512, 512)


class SkinUNet(Network):
    """Picture [N, 3, H, W] in -1..1, sides multiples of 16 -> blend layer [N, 3, H, W] in 0..1, where 0.5 changes nothing."""

    def __init__(self, width: int = 64):
        super().__init__()
        w = width
        self.inc = _Inner(_DoubleConv(3, w))
        self.down1 = _Down(w, 2 * w)
        self.down2 = _Down(2 * w, 4 * w)
        self.down3 = _Down(4 * w, 8 * w)
        self.down4 = _Down(8 * w, 8 * w)
        self.up1 = _Up(16 * w, 4 * w)
        self.up2 = _Up(8 * w, 2 * w)
        self.up3 = _Up(4 * w, w)
        self.up4 = _Up(2 * w, w)
        self.outc = _Inner(nn.Conv2d(w, 3, 1))
        # The published file holds the heads of its deep supervision; only training used them.
        self.dsoutc4 = _Inner(nn.Conv2d(4 * w, 3, 1))
        self.dsoutc3 = _Inner(nn.Conv2d(2 * w, 3, 1))
        self.dsoutc2 = _Inner(nn.Conv2d(w, 3, 1))
        self.dsoutc1 = _Inner(nn.Conv2d(w, 3, 1))

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {"width": tensors["inc.conv.conv.0.weight"].shape[0]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x4 = self.down3(x3)
        x = self.up1(self.down4(x4), x4)
        x = self.up4(self.up3(self.up2(x, x3), x2), x1)
        return torch.sigmoid(self.outc(x))


class DetectionUNet(Network):
    """Blemish detector. Picture [N, 3, H, W] in -1..1, sides multiples of 64 -> logits [N, 1, H, W]."""

    def __init__(self, levels: tuple[int, ...] = LEVELS):
        super().__init__()
        _encoder_decoder(self, _Plain, 3, levels)
        self.dc_images_1 = nn.Conv2d(levels[0] + 3, 1, 1)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {"levels": _levels(tensors)}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dc_images_1(_decode(self, x))


class RetouchingNet(Network):
    """Blemish inpainter with gated convolutions.

    Picture [N, 3, H, W] in -1..1 with the blemishes set to 0 and keep-mask [N, 1, H, W] (1 = keep), sides multiples of 64
    -> picture [N, 3, H, W] in -1..1.
    """

    def __init__(self, levels: tuple[int, ...] = LEVELS):
        super().__init__()
        _encoder_decoder(self, _Gated, 4, levels)
        self.dc_images_1 = _Gated(levels[0] + 4, 3, bias=True)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {"levels": _levels(tensors)}

    def forward(self, x: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.dc_images_1(_decode(self, torch.cat([x, keep], 1))))


_JOINT = "joint_20210926.pth"
_JOINT_HASH = "c9e1388b…351a"
_UNUSED = "removal of blemishes"
PUBLISHED = (
    Entry(
        "skin_unet",
        "Skin retouch ABPN, blend layer",
        *SKIN_REPO,
        "pytorch_model.pt",
        SKIN,
        network=SkinUNet,
        probe=signed(512),
        key="generator",
        megabytes=53.6,
        sha256="760d0c0b…2993",
    ),
    Entry(
        "skin_detection",
        "Skin retouch ABPN, blemish finder",
        *SKIN_REPO,
        _JOINT,
        SKIN,
        network=DetectionUNet,
        probe=signed(768),
        key="detection_net",
        megabytes=216,
        sha256=_JOINT_HASH,
        note=_UNUSED,
    ),
    Entry(
        "skin_inpainting",
        "Skin retouch ABPN, blemish remover",
        *SKIN_REPO,
        _JOINT,
        SKIN,
        network=RetouchingNet,
        probe=lambda network, picture: network(fitted(picture, 512) * 2 - 1, torch.ones(1, 1, 512, 512)),
        key="inpainting_net",
        megabytes=216,
        sha256=_JOINT_HASH,
        note=_UNUSED,
    ),
)


def _encoder_decoder(network: nn.Module, block: type, inputs: int, levels: tuple[int, ...]) -> None:
    """Six halving and five doubling stages under their published names, counted from the picture inwards."""
    widths = (inputs, *levels)
    for i in range(1, 7):
        norm = None if i == 1 else levels[i - 1]
        setattr(network, f"ec_images_{i}", block(widths[i - 1], widths[i], stride=2, norm=norm, slope=0.0))
    for i in range(6, 1, -1):
        setattr(network, f"dc_images_{i}", block(widths[i] + widths[i - 1], widths[i - 1], norm=widths[i - 1], slope=0.2))


def _decode(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Input of the last stage, [N, levels[0] + inputs, H, W]."""
    skips = []
    for i in range(1, 7):
        skips.append(x)
        x = getattr(network, f"ec_images_{i}")(x)
    for i in range(6, 1, -1):
        x = getattr(network, f"dc_images_{i}")(_double_and_join(x, skips[i - 1]))
    return _double_and_join(x, skips[0])


def _double_and_join(x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
    return torch.cat([F.interpolate(x, scale_factor=2, mode="nearest"), skip], 1)


def _levels(tensors: Tensors) -> tuple[int, ...]:
    return tuple(tensors[f"ec_images_{i}.conv.weight"].shape[0] for i in range(1, 7))


class _Plain(nn.Module):
    """Convolution, norm where `norm` is set, leaky ReLU of `slope`."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, norm: int | None = None, slope: float = 0.0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(norm) if norm else None
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return F.leaky_relu(self.bn(x) if self.bn else x, self.slope)


class _Gated(nn.Module):
    """As _Plain, times a sigmoid gate computed from the same input. Without a slope there is no activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, norm: int | None = None, slope: float | None = None, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)
        self.gate = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=bias)
        self.bn = nn.BatchNorm2d(norm) if norm else None
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate = torch.sigmoid(self.gate(x))
        x = self.conv(x)
        x = self.bn(x) if self.bn else x
        return (x if self.slope is None else F.leaky_relu(x, self.slope)) * gate


class _Inner(nn.Module):
    """Gives a module the extra `conv.` level of its published names."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class _DoubleConv(_Inner):
    def __init__(self, inputs: int, outputs: int):
        layers = []
        for width in (inputs, outputs):
            layers += [nn.Conv2d(width, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(nn.Sequential(*layers))


class _Down(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.mpconv = nn.Sequential(nn.MaxPool2d(2), _DoubleConv(inputs, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mpconv(x)


class _Up(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = _DoubleConv(inputs, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        return self.conv(torch.cat([skip, x], 1))
