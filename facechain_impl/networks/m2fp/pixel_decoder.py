"""The pixel decoder of M2FP: deformable attention over three scales, then one step up to a quarter of the picture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from .backbone import NormedConv

LEVELS = 3
HEADS = 8
POINTS = 4
GROUPS = 32
TEMPERATURE = 10000.0


class PixelDecoder(nn.Module):
    """Backbone features, fine to coarse -> mask features [N, C, H/4, W/4] and three scales [N, C, h, w], coarse to fine."""

    def __init__(self, widths: list[int], channels: int, layers: int):
        super().__init__()
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, 1), nn.GroupNorm(GROUPS, channels)) for width in reversed(widths[1:])
        )
        self.transformer = _Transformer(channels, layers)
        self.adapter_1 = NormedConv(widths[0], channels, 1, norm=nn.GroupNorm(GROUPS, channels))
        self.layer_1 = NormedConv(channels, channels, 3, norm=nn.GroupNorm(GROUPS, channels))
        self.mask_features = nn.Conv2d(channels, channels, 1)

    def forward(self, features: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        finest, *coarser = features
        scales = self.transformer([project(x) for project, x in zip(self.input_proj, reversed(coarser))])
        detail = self.adapter_1(finest)
        detail = detail + F.interpolate(scales[-1], detail.shape[-2:], mode="bilinear", align_corners=False)
        return self.mask_features(F.relu(self.layer_1(detail))), scales


class _Transformer(nn.Module):
    def __init__(self, channels: int, layers: int):
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(LEVELS, channels))
        self.encoder = _Encoder(channels, layers)

    def forward(self, scales: list[torch.Tensor]) -> list[torch.Tensor]:
        sizes = [tuple(x.shape[-2:]) for x in scales]
        tokens = torch.cat([x.flatten(2).transpose(1, 2) for x in scales], 1)
        positions = torch.cat([sine_positions(x) + level for x, level in zip(scales, self.level_embed)])
        tokens = self.encoder(tokens, positions, sizes)
        parts = tokens.split([height * width for height, width in sizes], 1)
        return [part.transpose(1, 2).unflatten(2, size) for part, size in zip(parts, sizes)]


class _Encoder(nn.Module):
    def __init__(self, channels: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(_EncoderLayer(channels, channels * 4) for _ in range(layers))

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor, sizes: list[tuple[int, int]]) -> torch.Tensor:
        centres = cell_centres(sizes, tokens)
        for layer in self.layers:
            tokens = layer(tokens, positions, centres, sizes)
        return tokens


class _EncoderLayer(nn.Module):
    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.self_attn = DeformableAttention(channels)
        self.norm1 = nn.LayerNorm(channels)
        self.linear1 = nn.Linear(channels, inner)
        self.linear2 = nn.Linear(inner, channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor, centres: torch.Tensor, sizes: list[tuple[int, int]]) -> torch.Tensor:
        tokens = self.norm1(tokens + self.self_attn(tokens + positions, tokens, centres, sizes))
        return self.norm2(tokens + self.linear2(F.relu(self.linear1(tokens))))


class DeformableAttention(nn.Module):
    """Each token attends to a few learnt places of every scale (Zhu et al., Deformable DETR, 2021)."""

    def __init__(self, channels: int):
        super().__init__()
        self.sampling_offsets = nn.Linear(channels, HEADS * LEVELS * POINTS * 2)
        self.attention_weights = nn.Linear(channels, HEADS * LEVELS * POINTS)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def forward(self, query: torch.Tensor, tokens: torch.Tensor, centres: torch.Tensor, sizes: list[tuple[int, int]]) -> torch.Tensor:
        """query, tokens [N, T, C]; centres [T, 2] in 0..1, x before y; sizes (height, width) of the scales -> [N, T, C]."""
        offsets = self.sampling_offsets(query).unflatten(2, (HEADS, LEVELS, POINTS, 2))
        weights = self.attention_weights(query).unflatten(2, (HEADS, LEVELS * POINTS)).softmax(-1).unflatten(3, (LEVELS, POINTS))
        values = self.value_proj(tokens).split([height * width for height, width in sizes], 1)
        gathered = torch.zeros((), device=tokens.device, dtype=tokens.dtype)
        for level, (value, (height, width)) in enumerate(zip(values, sizes)):
            places = centres[:, None, None] + offsets[:, :, :, level] / offsets.new_tensor([width, height])
            grid = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # [N * heads, T, points, 2]
            picture = value.transpose(1, 2).reshape(-1, value.shape[2] // HEADS, height, width)
            samples = F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
            gathered = gathered + (samples * weights[:, :, :, level].transpose(1, 2).flatten(0, 1)[:, None]).sum(-1)
        return self.output_proj(gathered.unflatten(0, (-1, HEADS)).flatten(1, 2).transpose(1, 2))


def cell_centres(sizes: list[tuple[int, int]], like: torch.Tensor) -> torch.Tensor:
    """Centres [T, 2], x before y, of the cells of all scales, as fractions of the picture."""
    centres = []
    for height, width in sizes:
        y = (torch.arange(height, device=like.device, dtype=like.dtype) + 0.5) / height
        x = (torch.arange(width, device=like.device, dtype=like.dtype) + 0.5) / width
        centres.append(torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).flatten(0, 1))
    return torch.cat(centres)


def sine_positions(x: torch.Tensor) -> torch.Tensor:
    """Position code [H * W, C] of the cells of x [N, C, H, W]: sine and cosine interleaved, y in the first half of the channels."""
    channels, height, width = x.shape[1:]
    half = channels // 2
    steps = torch.arange(half, device=x.device, dtype=torch.float32)
    periods = TEMPERATURE ** (2 * (steps // 2) / half)
    y, x = (_waves(length, periods) for length in (height, width))
    return torch.cat([y[:, None].expand(-1, width, -1), x[None].expand(height, -1, -1)], 2).flatten(0, 1)


def _waves(length: int, periods: torch.Tensor) -> torch.Tensor:
    places = torch.arange(1, length + 1, device=periods.device, dtype=torch.float32) / (length + 1e-6) * 2 * math.pi
    angles = places[:, None] / periods
    return torch.stack([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 2).flatten(1)
