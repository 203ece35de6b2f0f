"""DamoFD-0.5G, the face detector: searched backbone, path-aggregating neck, one head for three strides."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import signed
from .published import Entry
from .sources import APACHE

STRIDES = (8, 16, 32)
ANCHORS = 2


class Stage(NamedTuple):
    """One group of residual blocks: depth-wise kernel, width between and after the blocks of each layer, number of layers."""

    kernel: int
    inner: int
    width: int
    layers: int


STAGES = (Stage(3, 8, 32, 1), Stage(7, 40, 64, 1), Stage(7, 40, 120, 2), Stage(5, 120, 160, 1))


class Maps(NamedTuple):
    """Raw output of one stride: scores [N, 2, H, W] as logits, distances [N, 8, H, W] and points [N, 20, H, W] in strides."""

    scores: torch.Tensor
    distances: torch.Tensor
    points: torch.Tensor


class DamoFD(Network):
    """Pictures [N, 3, H, W] in -1..1, sides multiples of 32 -> one `Maps` per stride of STRIDES."""

    def __init__(self, stem: int = 32, stages: tuple[Stage, ...] = STAGES, neck: int = 16, head: int = 64):
        super().__init__()
        self.backbone = _Backbone(stem, stages)
        self.neck = _Neck([stage.width for stage in stages[1:]], neck)
        self.bbox_head = _Head(neck, head, len(STRIDES))

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        stages = [_stage(tensors, f"backbone.module_list.{index}.module_list") for index in range(1, 5)]
        return {
            "stem": tensors["backbone.module_list.0.module_list.0.netblock.weight"].shape[0],
            "stages": tuple(stages),
            "neck": tensors["neck.lateral_convs.0.conv.weight"].shape[0],
            "head": tensors["bbox_head.stride_cls.0.weight"].shape[1],
        }

    def forward(self, x: torch.Tensor) -> list[Maps]:
        return self.bbox_head(self.neck(self.backbone(x)))


PUBLISHED = Entry(
    "damofd",
    "Face detector DamoFD-0.5G",
    "damo/cv_ddsar_face-detection_iclr23-damofd",
    "v1.1",
    "pytorch_model.pt",
    APACHE,
    network=DamoFD,
    probe=signed(640),
    key="state_dict",
    megabytes=1.1,
)


def _stage(tensors: Tensors, prefix: str) -> Stage:
    depthwise = tensors[f"{prefix}.0.module_list.3.netblock.weight"]
    layers = 1
    while f"{prefix}.{4 * layers}.module_list.0.netblock.weight" in tensors:
        layers += 1
    return Stage(depthwise.shape[-1], depthwise.shape[0], tensors[f"{prefix}.2.module_list.0.netblock.weight"].shape[0], layers)


class _Named(nn.Module):
    """A layer under the attribute `netblock`, as in the published key names."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.netblock = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.netblock(x)


class _Listed(nn.Module):
    """A chain under the attribute `module_list`."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.module_list = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.module_list:
            x = layer(x)
        return x


def _conv(inner: int, outer: int, kernel: int, stride: int = 1, groups: int = 1) -> _Named:
    return _Named(nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=groups, bias=False))


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)


class _Residual(_Listed):
    def __init__(self, inner: int, width: int, kernel: int, stride: int):
        super().__init__(
            _conv(inner, width, 1), _Named(_norm(width)), nn.ReLU(),
            _conv(width, width, kernel, stride, groups=width), _Named(_norm(width)), nn.ReLU(),
            _conv(width, width, 1), _Named(_norm(width)),
        )  # fmt: skip
        self.proj = nn.Sequential(nn.Conv2d(inner, width, 1, stride), _norm(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + self.proj(x)


def _group(inner: int, stage: Stage) -> _Listed:
    layers = []
    for layer in range(stage.layers):
        layers += [_Residual(inner, stage.inner, stage.kernel, 1 if layer else 2), nn.ReLU()]
        layers += [_Residual(stage.inner, stage.width, stage.kernel, 1), nn.ReLU()]
        inner = stage.width
    return _Listed(*layers)


class _Backbone(nn.Module):
    def __init__(self, stem: int, stages: tuple[Stage, ...]):
        widths = [stem, *(stage.width for stage in stages)]
        first = _Listed(_conv(3, stem, 3, 2), _Named(_norm(stem)), nn.ReLU())
        super().__init__()
        self.module_list = nn.ModuleList([first, *(_group(inner, stage) for inner, stage in zip(widths, stages))])

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        outputs = []
        for group in self.module_list:
            x = group(x)
            outputs.append(x)
        return outputs[2:]


class _Conv(nn.Module):
    """A convolution under the attribute `conv`, with a group norm and ReLU where `groups` asks for them."""

    def __init__(self, inner: int, outer: int, kernel: int, stride: int = 1, depthwise: bool = False, norm: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, stride, kernel // 2, groups=inner if depthwise else 1, bias=not norm)
        self.gn = nn.GroupNorm(16, outer) if norm else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return x if self.gn is None else F.relu(self.gn(x))


class _Neck(nn.Module):
    def __init__(self, widths: list[int], width: int):
        super().__init__()
        self.lateral_convs = nn.ModuleList(_Conv(inner, width, 1) for inner in widths)
        self.fpn_convs = nn.ModuleList(_Conv(width, width, 3) for _ in widths)
        self.downsample_convs = nn.ModuleList(_Conv(width, width, 3, 2) for _ in widths[1:])
        self.pafpn_convs = nn.ModuleList(_Conv(width, width, 3) for _ in widths[1:])

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        levels = [conv(feature) for conv, feature in zip(self.lateral_convs, features)]
        for i in range(len(levels) - 1, 0, -1):
            levels[i - 1] = levels[i - 1] + F.interpolate(levels[i], size=levels[i - 1].shape[2:], mode="nearest")
        levels = [conv(level) for conv, level in zip(self.fpn_convs, levels)]
        for i, down in enumerate(self.downsample_convs):
            levels[i + 1] = levels[i + 1] + down(levels[i])
        return [levels[0], *(conv(level) for conv, level in zip(self.pafpn_convs, levels[1:]))]


class _Separable(nn.Module):
    def __init__(self, inner: int, outer: int):
        super().__init__()
        self.depthwise_conv = _Conv(inner, inner, 3, depthwise=True, norm=True)
        self.pointwise_conv = _Conv(inner, outer, 1, norm=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise_conv(self.depthwise_conv(x))


class _Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class _Integral(nn.Module):
    """Present in the published file but not used by any of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("project", torch.linspace(0, 8, 9))


class _Head(nn.Module):
    """One tower and one set of output convolutions for all strides: the file keeps them under the key "0"."""

    def __init__(self, inner: int, width: int, strides: int):
        super().__init__()
        self.cls_stride_convs = nn.ModuleDict({"0": nn.Sequential(_Separable(inner, width), _Separable(width, width))})
        self.stride_cls = nn.ModuleDict({"0": nn.Conv2d(width, ANCHORS, 3, padding=1)})
        self.stride_reg = nn.ModuleDict({"0": nn.Conv2d(width, 4 * ANCHORS, 3, padding=1)})
        self.stride_kps = nn.ModuleDict({"0": nn.Conv2d(width, 10 * ANCHORS, 3, padding=1)})
        self.scales = nn.ModuleList(_Scale() for _ in range(strides))
        self.integral = _Integral()

    def forward(self, levels: list[torch.Tensor]) -> list[Maps]:
        return [self._maps(level, scale) for level, scale in zip(levels, self.scales)]

    def _maps(self, level: torch.Tensor, scale: nn.Module) -> Maps:
        x = self.cls_stride_convs["0"](level)
        return Maps(self.stride_cls["0"](x), scale(self.stride_reg["0"](x)), self.stride_kps["0"](x))
