"""TransFace-S: a vision transformer whose patch tokens describe a face for the train-free adapter (FACT)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from ..errors import KeyMismatch
from ..types import Layout
from .base import Network, Tensors, differences, layout_of
from .probes import signed
from .published import Entry
from .sources import FACT, FACT_REPO

if TYPE_CHECKING:
    from typing_extensions import Self

PATCH = 9
HEADS = 8
UNUSED = ("mask_token", "feature.", "senet.")


class TransFace(Network):
    """Aligned face [N, 3, 112, 112], RGB in -1..1 -> tokens [N, 144, 512] after the final norm.

    Twelve patches of 9 pixels a side leave the last 4 rows and columns unread. The published file also holds a mask token and
    the heads of the global embedding, which the adapter does not use; they are checked, then left out (194 of 347 MB).
    """

    def __init__(self, width: int = 512, blocks: int = 12, tokens: int = 144):
        super().__init__()
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, PATCH, PATCH)})
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        _, tokens, width = tensors["pos_embed"].shape
        blocks = sum(name.startswith("blocks.") and name.endswith(".norm1.weight") for name in tensors)
        return {"width": width, "blocks": blocks, "tokens": tokens}

    @classmethod
    def layout(cls) -> Layout:
        return super().layout() | unused_heads()

    @classmethod
    def from_state_dict(cls, tensors: Tensors) -> Self:
        if "pos_embed" in tensors:
            _, count, width = tensors["pos_embed"].shape
            problems = differences(unused_heads(width, count), layout_of(_select(tensors, unused=True)))
            if problems:
                raise KeyMismatch(f"The file does not fit {cls.__name__}. " + " ".join(problems))
        return super().from_state_dict(_select(tensors, unused=False))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2) + self.pos_embed
        return self.norm(self.blocks(x))


PUBLISHED = Entry(
    "transface",
    "FACT, identity encoder TransFace-S",
    *FACT_REPO,
    "ms1mv2_model_TransFace_S.pt",
    FACT,
    network=TransFace,
    probe=signed(112),
    megabytes=346.7,
    note="train-free identity",
)


def _select(tensors: Tensors, unused: bool) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(UNUSED) == unused}


def unused_heads(width: int = 512, tokens: int = 144) -> Layout:
    """The file's content beside the encoder."""
    flat = width * tokens
    with torch.device("meta"):
        heads = nn.Module()
        heads.mask_token = nn.Parameter(torch.empty(1, 1, width))
        heads.feature = nn.Sequential(
            nn.Linear(flat, width, bias=False), nn.BatchNorm1d(width), nn.Linear(width, 512, bias=False), nn.BatchNorm1d(512)
        )
        heads.senet = nn.Sequential(nn.Linear(flat, tokens, bias=False), nn.ReLU(), nn.Linear(tokens, tokens, bias=False))
        return layout_of(heads.state_dict())


class _Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _MLP(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.relu6(self.fc1(x)))
