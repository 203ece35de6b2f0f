"""Parts of an aligned face: ParseNet, 19 classes of CelebAMask-HQ."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import signed
from .published import Entry, Licence
from .sadtalker.keypoints import widths_of
from .sources import SADTALKER_REPO


class ParseNet(Network):
    """forward(face [N, 3, 512, 512] in -1..1) -> class logits [N, 19, 512, 512] and a redrawn face [N, 3, 512, 512]."""

    def __init__(self, widths: tuple[int, ...] = (64, 128, 256, 256, 256), depth: int = 10, classes: int = 19):
        super().__init__()
        self.encoder = nn.Sequential(_Conv(3, widths[0]), *(_Residual(a, b, down=True) for a, b in zip(widths, widths[1:])))
        self.body = nn.Sequential(*(_Residual(widths[-1], widths[-1]) for _ in range(depth)))
        back = widths[::-1]
        self.decoder = nn.Sequential(*(_Residual(a, b, up=True) for a, b in zip(back, back[1:])))
        self.out_img_conv = _Conv(widths[0], 3)
        self.out_mask_conv = _Conv(widths[0], classes)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {
            "widths": (tensors["encoder.0.conv2d.weight"].shape[0], *widths_of(tensors, "encoder.{}.conv1.conv2d.weight", start=1)),
            "depth": len(widths_of(tensors, "body.{}.conv1.conv2d.weight")),
            "classes": tensors["out_mask_conv.conv2d.weight"].shape[0],
        }

    def forward(self, face: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(face)
        features = self.decoder(features + self.body(features))
        return self.out_mask_conv(features), self.out_img_conv(features)


PUBLISHED = Entry(
    "parsenet",
    "Talking head, face parts for the enhancer",
    *SADTALKER_REPO,
    "gfpgan/weights/parsing_parsenet.pth",
    Licence("MIT", False, "trained on CelebAMask-HQ, which is non-commercial"),
    network=ParseNet,
    probe=signed(512),
    megabytes=85.3,
)


class _Conv(nn.Module):
    """A 3x3 convolution over mirrored edges; with a norm it has no bias."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, norm: bool = False):
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, 3, stride, bias=not norm)
        self.norm = nn.ModuleDict({"norm": nn.BatchNorm2d(outputs)} if norm else {})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"))
        return self.norm["norm"](x) if len(self.norm) else x


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, down: bool = False, up: bool = False):
        super().__init__()
        stride = 2 if down else 1
        self.up = up
        self.conv1 = _Conv(inputs, outputs, norm=True)
        self.conv2 = _Conv(outputs, outputs, stride, norm=True)
        self.shortcut_func = _Conv(inputs, outputs, stride) if down or up else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.up:
            x = F.interpolate(x, scale_factor=2)
        return self.shortcut_func(x) + self.conv2(F.leaky_relu(self.conv1(x), 0.2))
