"""The query decoder of M2FP: masked attention in the manner of Mask2Former (Cheng et al., 2022)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .pixel_decoder import HEADS, LEVELS, sine_positions


class Queries(NamedTuple):
    """logits [N, Q, classes + 1], the last one for "no object"; masks [N, Q, H/4, W/4] as logits."""

    logits: torch.Tensor
    masks: torch.Tensor


class Predictor(nn.Module):
    """Mask features [N, C, H/4, W/4] and three scales, coarse to fine -> `Queries`."""

    def __init__(self, channels: int, layers: int, queries: int, classes: int):
        super().__init__()
        self.transformer_cross_attention_layers = nn.ModuleList(_CrossAttention(channels) for _ in range(layers))
        self.transformer_self_attention_layers = nn.ModuleList(_SelfAttention(channels) for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(_FeedForward(channels, channels * 8) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(channels)
        self.query_feat = nn.Embedding(queries, channels)
        self.query_embed = nn.Embedding(queries, channels)
        self.level_embed = nn.Embedding(LEVELS, channels)
        self.class_embed = nn.Linear(channels, classes + 1)
        self.mask_embed = _MaskEmbedding(channels)

    def forward(self, mask_features: torch.Tensor, scales: list[torch.Tensor]) -> Queries:
        batch = mask_features.shape[0]
        memories = [x.flatten(2).transpose(1, 2) + level for x, level in zip(scales, self.level_embed.weight)]
        keys = [memory + sine_positions(x) for memory, x in zip(memories, scales)]
        places = self.query_embed.weight.expand(batch, -1, -1)
        queries = self.query_feat.weight.expand(batch, -1, -1)
        layers = zip(self.transformer_cross_attention_layers, self.transformer_self_attention_layers, self.transformer_ffn_layers)
        for index, (look, exchange, think) in enumerate(layers):
            level = index % LEVELS
            hidden = self._hidden(self._masks(queries, mask_features), scales[level].shape[-2:])
            queries = look(queries, places, keys[level], memories[level], hidden)
            queries = think(exchange(queries, places))
        return Queries(self.class_embed(self.decoder_norm(queries)), self._masks(queries, mask_features))

    def _masks(self, queries: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nqc,nchw->nqhw", self.mask_embed(self.decoder_norm(queries)), mask_features)

    def _hidden(self, masks: torch.Tensor, size: torch.Size) -> torch.Tensor:
        """The cells of a scale hidden from a query [N * heads, Q, cells]; a query with an empty mask sees all of them."""
        hidden = F.interpolate(masks, size, mode="bilinear", align_corners=False).flatten(2).sigmoid() < 0.5
        hidden = hidden & ~hidden.all(2, keepdim=True)
        return hidden[:, None].expand(-1, HEADS, -1, -1).flatten(0, 1)


class _CrossAttention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(channels, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(
        self, queries: torch.Tensor, places: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, hidden: torch.Tensor
    ) -> torch.Tensor:
        found, _ = self.multihead_attn(queries + places, keys, values, attn_mask=hidden, need_weights=False)
        return self.norm(queries + found)


class _SelfAttention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, HEADS, batch_first=True)
        self.norm = nn.LayerNorm(channels)

    def forward(self, queries: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        placed = queries + places
        found, _ = self.self_attn(placed, placed, queries, need_weights=False)
        return self.norm(queries + found)


class _FeedForward(nn.Module):
    def __init__(self, channels: int, inner: int):
        super().__init__()
        self.linear1 = nn.Linear(channels, inner)
        self.linear2 = nn.Linear(inner, channels)
        self.norm = nn.LayerNorm(channels)

    def forward(self, queries: torch.Tensor) -> torch.Tensor:
        return self.norm(queries + self.linear2(F.relu(self.linear1(queries))))


class _MaskEmbedding(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(channels, channels) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, last = self.layers
        return last(F.relu(second(F.relu(first(x)))))
