"""The picture generator of SadTalker: warps the features of the source face and decodes them with SPADE."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ..base import Network, Tensors
from ..probes import fitted
from ..published import Part
from .keypoints import DEPTH, NARROW_POINTS, Down2d, Down3d, Up3d, volume_grid, widths_of

if TYPE_CHECKING:
    from typing_extensions import Self

DECODER_WIDTHS = (512, 256, 64)
HOURGLASS_DOWN = (64, 128, 256, 512, 1024)
HOURGLASS_UP = (512, 256, 128, 64, 32)
VARIANCE = 0.01
NEGLIGIBLE = 1e-3  # a motion with a smaller share is dropped


@dataclass
class Source:
    """What does not change over the clip. volume: [1, C, 16, S/4, S/4]; compressed: [1, 4, 16, S/4, S/4]; points: [1, 15, 3]."""

    volume: torch.Tensor
    compressed: torch.Tensor
    points: torch.Tensor


class Generator(Network):
    """forward(source, points [N, 15, 3]) -> pictures [N, 3, S, S] in 0..1, see `encode` for the source."""

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256),
        volume: int = 32,
        volume_blocks: int = 6,
        compressed: int = 4,
        points: int = 15,
        hourglass: tuple[tuple[int, ...], tuple[int, ...]] = (HOURGLASS_DOWN, HOURGLASS_UP),
        decoder: tuple[int, ...] = DECODER_WIDTHS,
        hidden: int = 128,
    ):
        super().__init__()
        self.first = _Same2d(3, widths[0], 3)
        self.down_blocks = nn.ModuleList(Down2d(a, b) for a, b in zip(widths, widths[1:]))
        self.second = nn.Conv2d(widths[-1], volume * DEPTH, 1)
        self.resblocks_3d = nn.Sequential()
        for i in range(volume_blocks):
            self.resblocks_3d.add_module(f"3dr{i}", _Residual3d(volume))
        self.dense_motion_network = DenseMotion3d(volume, compressed, points, *hourglass)
        self.third = _Same2d(volume * DEPTH, widths[-1], 3, slope=0.01)
        self.fourth = nn.Conv2d(widths[-1], widths[-1], 1)
        self.decoder = _Decoder(widths[-1], decoder, hidden)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        motion = "dense_motion_network."
        decoder = [tensors[f"decoder.{name}.conv_1.weight_orig"].shape[0] for name in ("G_middle_0", "up_0", "up_1")]
        first = tensors["first.conv.weight"].shape[0]
        return {
            "widths": (first, *widths_of(tensors, "down_blocks.{}.conv.weight")),
            "volume": tensors["second.weight"].shape[0] // DEPTH,
            "volume_blocks": len(widths_of(tensors, "resblocks_3d.3dr{}.conv1.weight")),
            "compressed": tensors[motion + "compress.weight"].shape[0],
            "points": tensors[motion + "mask.weight"].shape[0] - 1,
            "hourglass": (
                widths_of(tensors, motion + "hourglass.encoder.down_blocks.{}.conv.weight"),
                widths_of(tensors, motion + "hourglass.decoder.up_blocks.{}.conv.weight"),
            ),
            "decoder": tuple(decoder),
            "hidden": tensors["decoder.up_0.norm_0.mlp_shared.0.weight"].shape[0],
        }

    @classmethod
    def from_state_dict(cls, tensors: Tensors, fold: bool = True) -> Self:
        """See Network. `fold` divides the spectrally normalised weights once; frames stay bit-identical."""
        network = super().from_state_dict(tensors)
        if fold:
            network.fold_norms()
        return network

    def encode(self, picture: torch.Tensor, points: torch.Tensor) -> Source:
        """The source of a clip from a picture [1, 3, S, S] in 0..1, S a multiple of 128, and its key points [1, 15, 3]."""
        x = self.first(picture)
        for block in self.down_blocks:
            x = block(x)
        volume = self.resblocks_3d(self.second(x).unflatten(1, (-1, DEPTH)))
        return Source(volume, self.dense_motion_network.compressed(volume), points)

    def forward(self, source: Source, points: torch.Tensor) -> torch.Tensor:
        deformation, occlusion = self.dense_motion_network(source, points)
        volume = source.volume.expand(len(points), -1, -1, -1, -1)
        warped = F.grid_sample(volume, deformation, align_corners=False).flatten(1, 2)
        features = self.fourth(self.third(warped)) * occlusion
        return self.decoder(features.to(self.decoder.fc.weight.dtype)).to(features.dtype)

    def fold_norms(self) -> None:
        for block in self.decoder.modules():
            for name, layer in block.named_children():
                if isinstance(layer, SpectralConv):
                    setattr(block, name, layer.folded())


def _probe(network: Generator, picture: torch.Tensor) -> object:
    points = torch.stack([torch.linspace(-0.5, 0.5, 15)] * 3, -1)[None]
    return network(network.encode(fitted(picture, 256), points), points + 0.02)


PART = Part(
    "generator",
    "generator.",
    Generator,
    _probe,
    narrow={
        "widths": (8, 8, 16),
        "volume": 2,
        "volume_blocks": 1,
        "compressed": 1,
        "points": NARROW_POINTS,
        "hourglass": ((4, 8, 16, 16, 16), (16, 16, 8, 4, 4)),
        "decoder": (16, 8, 8),
        "hidden": 8,
    },
)


class DenseMotion3d(nn.Module):
    """forward(source, points [N, K, 3]) -> deformation [N, D, H, W, 3] for grid_sample and occlusion [N, 1, H, W] in 0..1."""

    def __init__(self, volume: int, compressed: int, points: int, down: tuple[int, ...], up: tuple[int, ...]):
        super().__init__()
        self.compress = nn.Conv3d(volume, compressed, 1)
        self.norm = nn.BatchNorm3d(compressed)
        inputs = (points + 1) * (compressed + 1)
        self.hourglass = _Hourglass3d(inputs, down, up)
        self.mask = nn.Conv3d(up[-1] + inputs, points + 1, 7, padding=3)
        self.occlusion = nn.Conv2d((up[-1] + inputs) * DEPTH, 1, 7, padding=3)

    def compressed(self, volume: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.compress(volume)))

    def forward(self, source: Source, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        motions = self.motions(source, points)
        seen = torch.cat([self.heat(source, points)[:, :, None], self.deformed(source, motions)], 2)
        features = self.hourglass(seen.flatten(1, 2))
        share = torch.softmax(self.mask(features), 1)
        share = torch.where(share < NEGLIGIBLE, 0.0, share)
        deformation = (motions.movedim(-1, 2) * share[:, :, None]).sum(1)
        return deformation.movedim(1, -1), torch.sigmoid(self.occlusion(features.flatten(1, 2)))

    def motions(self, source: Source, points: torch.Tensor) -> torch.Tensor:
        """[N, K+1, D, H, W, 3]: standing still, and each key point moved from its place in the frame to that in the source."""
        grid = volume_grid(source.volume)
        moved = (grid - points[:, :, None, None, None]) + source.points[:, :, None, None, None]
        still = grid.expand(len(points), 1, *grid.shape)
        return torch.cat([still, moved], 1)

    def deformed(self, source: Source, motions: torch.Tensor) -> torch.Tensor:
        """[N, K+1, 4, D, H, W]: the compressed source under every motion."""
        n, k = motions.shape[:2]
        copies = source.compressed.expand(n * k, -1, -1, -1, -1)
        return F.grid_sample(copies, motions.flatten(0, 1), align_corners=False).unflatten(0, (n, k))

    def heat(self, source: Source, points: torch.Tensor) -> torch.Tensor:
        """[N, K+1, D, H, W]: where key points are in the frame, less where they are in the source; zero for standing still."""
        grid = volume_grid(source.volume)
        heat = _gaussians(grid, points) - _gaussians(grid, source.points)
        return torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)


def _gaussians(grid: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    distance = (grid - points[:, :, None, None, None]).square().sum(-1)
    return torch.exp(-0.5 * distance / VARIANCE)


class _Hourglass3d(nn.Module):
    def __init__(self, inputs: int, down: tuple[int, ...], up: tuple[int, ...]):
        super().__init__()
        widths = (inputs, *down)
        joined = [up_width + skip for up_width, skip in zip(up, widths[-2::-1])]
        self.encoder = _Encoder3d(Down3d(a, b) for a, b in zip(widths, down))
        self.decoder = _Decoder3d((Up3d(a, b) for a, b in zip((down[-1], *joined), up)), joined[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.encoder.down_blocks:
            skips.append(x)
            x = block(x)
        for block in self.decoder.up_blocks:
            x = torch.cat([block(x), skips.pop()], 1)
        return F.relu(self.decoder.norm(self.decoder.conv(x)))


class _Encoder3d(nn.Module):
    def __init__(self, blocks: Iterable[nn.Module]):
        super().__init__()
        self.down_blocks = nn.ModuleList(blocks)


class _Decoder3d(nn.Module):
    def __init__(self, blocks: Iterable[nn.Module], width: int):
        super().__init__()
        self.up_blocks = nn.ModuleList(blocks)
        self.conv = nn.Conv3d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm3d(width)


class _Same2d(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int, slope: float = 0.0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(outputs)
        self.slope = slope

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(self.norm(self.conv(x)), self.slope)


class _Residual3d(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(width)
        self.norm2 = nn.BatchNorm3d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.relu(self.norm1(x)))
        return self.conv2(F.relu(self.norm2(y))) + x


class _Decoder(nn.Module):
    """forward([N, C, S/4, S/4]) -> [N, 3, S, S] in 0..1."""

    def __init__(self, inputs: int, widths: tuple[int, ...], hidden: int):
        super().__init__()
        wide, middle, narrow = widths
        self.fc = nn.Conv2d(inputs, wide, 3, padding=1)
        for i in range(6):
            self.add_module(f"G_middle_{i}", _SpadeBlock(wide, wide, inputs, hidden))
        self.up_0 = _SpadeBlock(wide, middle, inputs, hidden)
        self.up_1 = _SpadeBlock(middle, narrow, inputs, hidden)
        self.conv_img = nn.Conv2d(narrow, 3, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.fc(features)
        for i in range(6):
            x = self.get_submodule(f"G_middle_{i}")(x, features)
        x = self.up_0(F.interpolate(x, scale_factor=2), features)
        x = self.up_1(F.interpolate(x, scale_factor=2), features)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, 0.2)))


class _SpadeBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, features: int, hidden: int):
        super().__init__()
        inner = min(inputs, outputs)
        self.conv_0 = SpectralConv(inputs, inner, 3)
        self.conv_1 = SpectralConv(inner, outputs, 3)
        self.norm_0 = _Spade(inputs, features, hidden)
        self.norm_1 = _Spade(inner, features, hidden)
        if inputs != outputs:
            self.conv_s = SpectralConv(inputs, outputs, 1, bias=False)
            self.norm_s = _Spade(inputs, features, hidden)
        self.resized = inputs != outputs

    def forward(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        features = F.interpolate(features, size=x.shape[2:])
        shortcut = self.conv_s(self.norm_s(x, features)) if self.resized else x
        y = self.conv_0(F.leaky_relu(self.norm_0(x, features), 0.2))
        return shortcut + self.conv_1(F.leaky_relu(self.norm_1(y, features), 0.2))


class _Spade(nn.Module):
    """Normalises, then scales and shifts every pixel according to the warped features."""

    def __init__(self, width: int, features: int, hidden: int):
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(features, hidden, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(hidden, width, 3, padding=1)
        self.mlp_beta = nn.Conv2d(hidden, width, 3, padding=1)

    def forward(self, x: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        features = self.mlp_shared(features)
        return F.instance_norm(x) * (1 + self.mlp_gamma(features)) + self.mlp_beta(features)


class SpectralConv(nn.Module):
    """A convolution whose weight is divided by its largest singular value, as estimated by the stored vectors."""

    weight_u: torch.Tensor
    weight_v: torch.Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, bias: bool = True):
        super().__init__()
        self.weight_orig = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(outputs)) if bias else None
        self.register_buffer("weight_u", torch.empty(outputs))
        self.register_buffer("weight_v", torch.empty(inputs * kernel * kernel))

    def weight(self) -> torch.Tensor:
        return self.weight_orig / torch.dot(self.weight_u, self.weight_orig.flatten(1) @ self.weight_v)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight(), self.bias, padding=self.weight_orig.shape[-1] // 2)

    def folded(self) -> nn.Conv2d:
        outputs, inputs, kernel, _ = self.weight_orig.shape
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=self.bias is not None, device="meta")
        conv.weight, conv.bias = nn.Parameter(self.weight().detach(), requires_grad=False), self.bias
        return conv.eval()
