"""Dense motion: how the face of the target moves so that its jaw takes the fused shape (first-order motion model)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import nn

VARIANCE = 0.01
ENCODER = (128, 256, 512, 1024, 1024)
DECODER = (1024, 512, 256, 128, 64)


class DenseMotion(nn.Module):
    """Moves `points` key points of a picture.

    forward(picture [N, 3, H, W], found [N, K, 2], wanted [N, K, 2]), points in -1..1 -> sampling grid [N, H/4, W/4, 2] for
    grid_sample: it moves the points found to the wanted places.
    """

    def __init__(self, points: int):
        super().__init__()
        inputs = 4 * (points + 1)
        self.hourglass = _Hourglass(inputs)
        self.mask = nn.Conv2d(DECODER[-1] + inputs, points + 1, 7, padding=3)
        self.down = _AntiAlias()

    def forward(self, picture: torch.Tensor, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        small = self.down(picture)
        n, _, h, w = small.shape
        grid = identity_grid(h, w, small)
        motions = _sparse_motions(grid, found, wanted)  # [N, K+1, h, w, 2]
        copies = small[:, None].expand(-1, motions.shape[1], -1, -1, -1)
        warped = F.grid_sample(copies.flatten(0, 1), motions.flatten(0, 1), align_corners=False).unflatten(0, (n, -1))
        heat = _heat(grid, wanted) - _heat(grid, found)
        heat = torch.cat([torch.zeros_like(heat[:, :1]), heat], 1)
        features = self.hourglass(torch.cat([heat[:, :, None], warped], 2).flatten(1, 2))
        share = torch.softmax(self.mask(features), 1)  # [N, K+1, h, w]
        return (share[..., None] * motions).sum(1)


def identity_grid(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """[H, W, 2] with -1 and 1 in the centres of the outermost pixels. The network was trained with it although it samples with
    align_corners=False."""
    y = torch.linspace(-1, 1, height, device=like.device, dtype=like.dtype)
    x = torch.linspace(-1, 1, width, device=like.device, dtype=like.dtype)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _sparse_motions(grid: torch.Tensor, found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    moves = (found - wanted)[:, :, None, None]
    return grid + torch.cat([torch.zeros_like(moves[:, :1]), moves], 1)


def _heat(grid: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """[H, W, 2], [N, K, 2] -> [N, K, H, W]."""
    return torch.exp(-0.5 * (grid - points[:, :, None, None]).square().sum(-1) / VARIANCE)


class _AntiAlias(nn.Module):
    """Gaussian blur, then every fourth pixel. The kernel is stored in the published file."""

    weight: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(3, 1, 13, 13))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, padding=6, groups=3)[:, :, ::4, ::4]


class _Hourglass(nn.Module):
    def __init__(self, inputs: int):
        super().__init__()
        widths = (inputs, *ENCODER)
        joined = (0, *widths[-2:0:-1])
        self.encoder = _Encoder(_Block(a, b) for a, b in zip(widths, ENCODER))
        self.decoder = _Decoder(_Block(a + skip, b) for a, skip, b in zip((ENCODER[-1], *DECODER), joined, DECODER))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for block in self.encoder.down_blocks:
            skips.append(x)
            x = F.avg_pool2d(block(x), 2)
        for block in self.decoder.up_blocks:
            x = torch.cat([block(F.interpolate(x, scale_factor=2.0)), skips.pop()], 1)
        return x


class _Encoder(nn.Module):
    def __init__(self, blocks: Iterable[nn.Module]):
        super().__init__()
        self.down_blocks = nn.ModuleList(blocks)


class _Decoder(nn.Module):
    def __init__(self, blocks: Iterable[nn.Module]):
        super().__init__()
        self.up_blocks = nn.ModuleList(blocks)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))
