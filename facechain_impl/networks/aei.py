"""AEI-Net: draws the face of the target with another identity and jaw (FaceShifter, with dense motion before the encoder)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import KeyMismatch
from ..types import Layout
from .base import Network, Tensors, describe, differences, layout_of
from .probes import fitted
from .published import Entry
from .sadtalker.dense_motion import DenseMotion
from .sources import CARD, FUSION_REPO

if TYPE_CHECKING:
    from typing_extensions import Self

ENCODER = (32, 64, 128, 256, 512, 1024, 1024)
DECODER = (1024, 512, 256, 128, 64, 32)
BLOCKS = (  # (inputs, outputs, attribute channels)
    (1024, 1024, 1024),
    (1024, 1024, 2048),
    (1024, 1024, 1024),
    (1024, 512, 512),
    (512, 256, 256),
    (256, 128, 128),
    (128, 64, 64),
    (64, 3, 64),
)
ATTENTION_AFTER = 4


class AEINet(Network):
    """Target face [N, 3, 256, 256] in -1..1, identity [N, 512], jaw points of the target and of the wanted shape
    [N, 17, 2] in -1..1 -> face [N, 3, 256, 256] in -1..1.

    The published file stores spectrally normalised convolutions as `weight_bar`, `weight_u` and `weight_v`. Loading divides
    them out once; `layout` stays the published one.
    """

    def __init__(self, identity: int = 512, points: int = 17):
        super().__init__()
        self.encoder = AttributeEncoder()
        self.generator = Generator(identity)
        self.dense_motion_network = DenseMotion(points)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {
            "identity": tensors["generator.up1.weight"].shape[0],
            "points": tensors["dense_motion_network.mask.bias"].shape[0] - 1,
        }

    @classmethod
    def layout(cls) -> Layout:
        with torch.device("meta"):
            return published(cls())

    @classmethod
    def from_state_dict(cls, tensors: Tensors) -> Self:
        try:
            with torch.device("meta"):
                expected = published(cls(**cls.sizes(tensors)))
        except KeyError as missing:
            raise KeyMismatch(f"This is not a {cls.__name__}: it has no {missing.args[0]!r}. {describe(tensors)}") from missing
        problems = differences(expected, layout_of(tensors))
        if problems:
            raise KeyMismatch(f"The file does not fit {cls.__name__}. " + " ".join(problems))
        return super().from_state_dict(folded(tensors))

    def forward(self, face: torch.Tensor, identity: torch.Tensor, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return self.generator(self.encoder(self.deform(face, found, wanted)), identity)

    def deform(self, face: torch.Tensor, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The target face with its jaw moved from the points `found` to those `wanted`."""
        return F.grid_sample(face, self.grid(face, found, wanted), align_corners=False)

    def grid(self, face: torch.Tensor, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        """The sampling grid of `deform`, [N, 256, 256, 2]."""
        grid = self.dense_motion_network(face, found, wanted).movedim(-1, 1)
        return F.interpolate(grid, face.shape[-2:], mode="bilinear", align_corners=False).movedim(1, -1)


def _probe(network: AEINet, picture: torch.Tensor) -> object:
    jaw = torch.stack([torch.linspace(-0.6, 0.6, 17), torch.linspace(0, 0.6, 17)], -1)[None]
    identity = F.normalize(torch.linspace(-1, 1, 512)[None])
    return network(fitted(picture, 256) * 2 - 1, identity, jaw, jaw * 0.95)


PUBLISHED = Entry(
    "fusion_aei",
    "Face fusion, generator AEI-Net",
    *FUSION_REPO,
    "pytorch_model.pt",
    CARD,
    network=AEINet,
    probe=_probe,
    key="state_dict",
    megabytes=896.6,
)


class SpectralConv2d(nn.Conv2d):
    """Published with spectral normalisation around it; the normalised weight is computed once, at load."""


def published(network: nn.Module) -> Layout:
    """The layout of `network` as its file has it, with the three parts of every spectrally normalised weight."""
    layout = layout_of(network.state_dict())
    for name, module in network.named_modules():
        if isinstance(module, SpectralConv2d):
            shape, dtype = layout.pop(f"{name}.weight")
            layout[f"{name}.module.weight_bar"] = (shape, dtype)
            layout[f"{name}.module.weight_u"] = (shape[:1], dtype)
            layout[f"{name}.module.weight_v"] = ((math.prod(shape[1:]),), dtype)
            if module.bias is not None:
                layout[f"{name}.module.bias"] = layout.pop(f"{name}.bias")
    return layout


def folded(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Weights as `weight_bar / (u . W v)` with the stored u and v, without a further power step."""
    result = {}
    for name, tensor in tensors.items():
        base, _, last = name.rpartition(".module.")
        if last == "weight_bar":
            u, v = (tensors[f"{base}.module.weight_{side}"].float() for side in "uv")
            result[f"{base}.weight"] = tensor.float() / torch.dot(u, tensor.float().flatten(1) @ v)
        elif not last.startswith("weight_"):
            result[name.replace(".module.", ".")] = tensor
    return result


class AttributeEncoder(nn.Module):
    """Face [N, 3, 256, 256] -> eight attribute maps, from [N, 1024, 2, 2] to [N, 64, 256, 256]."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, *ENCODER)
        for i, width in enumerate(ENCODER):
            setattr(self, f"conv{i + 1}", _Conv(widths[i], width))
        inputs = ENCODER[-1]
        for i, width in enumerate(DECODER):
            setattr(self, f"deconv{i + 1}", _Deconv(inputs, width))
            inputs = width + ENCODER[-2 - i]

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        skips = []
        for i in range(len(ENCODER)):
            x = getattr(self, f"conv{i + 1}")(x)
            skips.append(x)
        attributes = [skips.pop()]
        for i in range(len(DECODER)):
            x = getattr(self, f"deconv{i + 1}")(attributes[-1])
            attributes.append(torch.cat([x, skips.pop()], 1))
        return [*attributes, _double(attributes[-1])]


class _Conv(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), 0.1)


class _Deconv(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.bn(self.deconv(x)), 0.1)


class Generator(nn.Module):
    """Attribute maps and identity [N, C] -> face [N, 3, 256, 256] in -1..1."""

    def __init__(self, identity: int):
        super().__init__()
        self.up1 = nn.ConvTranspose2d(identity, BLOCKS[0][0], 2)
        for i, sizes in enumerate(BLOCKS):
            setattr(self, f"AADBlk{i + 1}", _ResBlock(*sizes, identity))
        self.sa = _SelfAttention(BLOCKS[ATTENTION_AFTER][0])

    def forward(self, attributes: list[torch.Tensor], identity: torch.Tensor) -> torch.Tensor:
        x = self.up1(identity[:, :, None, None])
        for i, attribute in enumerate(attributes):
            x = _double(x) if i else x
            x = self.sa(x) if i == ATTENTION_AFTER else x
            x = getattr(self, f"AADBlk{i + 1}")(x, attribute, identity)
        return torch.tanh(x)


class _ResBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, attributes: int, identity: int):
        super().__init__()
        self.AAD1 = _Denormalise(inputs, attributes, identity)
        self.AAD2 = _Denormalise(outputs, attributes, identity)
        self.conv1 = SpectralConv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
        self.conv2 = SpectralConv2d(outputs, outputs, 3, padding=1, padding_mode="reflect")
        self.learned_shortcut = inputs != outputs
        if self.learned_shortcut:
            self.AAD3 = _Denormalise(inputs, attributes, identity)
            self.conv3 = SpectralConv2d(inputs, outputs, 1, bias=False)

    def forward(self, h: torch.Tensor, attribute: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        x = self.conv1(F.leaky_relu(self.AAD1(h, attribute, identity), 0.2))
        x = self.conv2(F.leaky_relu(self.AAD2(x, attribute, identity), 0.2))
        return x + (self.conv3(self.AAD3(h, attribute, identity)) if self.learned_shortcut else h)


class _Denormalise(nn.Module):
    """Adaptive attentional denormalisation: a mask decides per pixel between the attributes and the identity."""

    def __init__(self, width: int, attributes: int, identity: int, hidden: int = 128):
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(attributes, hidden, 3), nn.ReLU())
        self.conv1 = nn.Conv2d(hidden, width, 3, padding=1, padding_mode="reflect")
        self.conv2 = nn.Conv2d(hidden, width, 3, padding=1, padding_mode="reflect")
        self.fc1 = nn.Linear(identity, width)
        self.fc2 = nn.Linear(identity, width)
        self.conv_h = nn.Conv2d(width, 1, 3, padding=1, padding_mode="reflect")

    def forward(self, h: torch.Tensor, attribute: torch.Tensor, identity: torch.Tensor) -> torch.Tensor:
        var, mean = torch.var_mean(h, 1, keepdim=True)
        h = (h - mean) / torch.sqrt(var + 1e-5)
        shared = self.mlp_shared(attribute)
        from_attribute = self.conv1(shared) * h + self.conv2(shared)
        from_identity = self.fc1(identity)[:, :, None, None] * h + self.fc2(identity)[:, :, None, None]
        mask = torch.sigmoid(self.conv_h(h))
        return (1 - mask) * from_attribute + mask * from_identity


class _SelfAttention(nn.Module):
    """As in SAGAN: keys and values from a pooled copy, added with a learned weight."""

    def __init__(self, width: int):
        super().__init__()
        self.theta = SpectralConv2d(width, width // 8, 1, bias=False)
        self.phi = SpectralConv2d(width, width // 8, 1, bias=False)
        self.g = SpectralConv2d(width, width // 2, 1, bias=False)
        self.o = SpectralConv2d(width // 2, width, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = self.theta(x).flatten(2)
        key = F.max_pool2d(self.phi(x), 2).flatten(2)
        value = F.max_pool2d(self.g(x), 2).flatten(2)
        weights = torch.softmax(query.transpose(1, 2) @ key, -1)
        found = (value @ weights.transpose(1, 2)).unflatten(2, x.shape[-2:])
        return self.gamma * self.o(found) + x


def _double(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
