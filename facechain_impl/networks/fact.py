"""FACT, the train-free face adapter: a projector from face tokens to prompt tokens and gated attention at 16 sites of the UNet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

from ..types import Layout
from .base import Network, Tensors
from .probes import fitted
from .published import Entry
from .sources import FACT, FACT_REPO

if TYPE_CHECKING:
    from typing_extensions import Self

HEADS = 8  # as many as the UNet's own
TOKENS = 16  # prompt tokens per face
PROJECTOR = "local_fac_prj"
PROCESSOR = "transformer_blocks.0.attn2.processor"
SITES = (
    *((f"down_blocks.{i}.attentions.{j}", 320 << i) for i in range(3) for j in range(2)),
    ("mid_block.attentions.0", 1280),
    *((f"up_blocks.{i}.attentions.{j}", 320 << (3 - i)) for i in range(1, 4) for j in range(3)),
)


class FaceProjector(Network):
    """Face tokens [N, 144, 512] -> prompt tokens [N, 16, 768] (a Perceiver resampler). Zeros give the negative tokens."""

    def __init__(self, inputs: int = 512, width: int = 1024, outputs: int = 768, latents: int = TOKENS, depth: int = 4):
        super().__init__()
        self.latents = nn.Parameter(torch.empty(1, latents, width))
        self.proj_in = nn.Linear(inputs, width)
        self.layers = nn.ModuleList(nn.ModuleList([_LatentAttention(width), _feed_forward(width)]) for _ in range(depth))
        self.proj_out = nn.Linear(width, outputs)
        self.norm_out = nn.LayerNorm(outputs)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        depth = 0
        while f"layers.{depth}.0.to_q.weight" in tensors:
            depth += 1
        width, inputs = tensors["proj_in.weight"].shape
        outputs, latents = tensors["proj_out.bias"].shape[0], tensors["latents"].shape[1]
        return {"inputs": inputs, "width": width, "outputs": outputs, "latents": latents, "depth": depth}

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        latents = self.latents.expand(len(tokens), -1, -1)
        tokens = self.proj_in(tokens)
        for layer in self.layers:
            attention, feed_forward = layer.children()
            latents = latents + attention(tokens, latents)
            latents = latents + feed_forward(latents)
        return self.norm_out(self.proj_out(latents))


class _LatentAttention(nn.Module):
    """Latents attend to the tokens and to themselves."""

    def __init__(self, width: int, heads: int = 12, head_width: int = 64):
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, tokens: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        tokens, latents = self.norm1(tokens), self.norm2(latents)
        k, v = self.to_kv(torch.cat([tokens, latents], 1)).chunk(2, -1)
        return self.to_out(_attend(self.to_q(latents), k, v, self.heads))


def _feed_forward(width: int) -> nn.Sequential:
    inner = 4 * width
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False))


class GatedFaceAttention(Network):
    """One site of the adapter, between self-attention and text cross-attention of a UNet block.

    Hidden states [N, T, C] and prompt tokens of the face [N, 16 n, 768] -> hidden states. Linear in `scale`; 0 changes nothing.
    Published files may carry `ln.*`, a copy of the UNet's own norm2; it is optional and not used here.
    """

    def __init__(self, width: int = 320, context: int = 768):
        super().__init__()
        self.alpha_attn = nn.Parameter(torch.zeros(()))
        self.alpha_dense = nn.Parameter(torch.zeros(()))
        self.linear = nn.Linear(context, width)
        self.attn = _SelfAttention(width)
        self.ff = _GEGLU(width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        width, context = tensors["linear.weight"].shape
        return {"width": width, "context": context}

    @classmethod
    def layout(cls) -> Layout:
        return _with_host_norm(super().layout())

    @classmethod
    def from_state_dict(cls, tensors: Tensors) -> Self:
        return super().from_state_dict(_without_host_norm(tensors))

    def forward(self, hidden: torch.Tensor, face: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        joined = torch.cat([hidden, self.linear(face)], 1)
        attended = self.attn(self.norm1(joined))[:, : hidden.shape[1]]
        hidden = hidden + scale * torch.tanh(self.alpha_attn) * attended
        return hidden + scale * torch.tanh(self.alpha_dense) * self.ff(self.norm2(hidden))


class _SelfAttention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.to_out(_attend(self.to_q(x), self.to_k(x), self.to_v(x), HEADS))


class _GEGLU(nn.Module):
    """Feed-forward layer; half of the first projection gates the other half."""

    def __init__(self, width: int):
        super().__init__()
        self.net = nn.ModuleList([_Projection(width, 8 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x, gate = self.net[0](x).chunk(2, -1)
        return self.net[2](x * F.gelu(gate))


class _Projection(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.proj(x)


class FactAdapter(Network):
    """A whole published adapter: `projector` and, per UNet site, a GatedFaceAttention from `site`."""

    def __init__(self) -> None:
        super().__init__()
        self.add_module(PROJECTOR, FaceProjector())
        for path, width in SITES:
            _place(self, f"{path}.{PROCESSOR}", GatedFaceAttention(width))

    @classmethod
    def layout(cls) -> Layout:
        return _with_host_norm(super().layout())

    @classmethod
    def from_state_dict(cls, tensors: Tensors) -> Self:
        return super().from_state_dict(_without_host_norm(tensors))

    @property
    def projector(self) -> FaceProjector:
        return cast(FaceProjector, self.get_submodule(PROJECTOR))

    def site(self, path: str) -> GatedFaceAttention:
        """The block of a site such as "mid_block.attentions.0", see SITES."""
        return cast(GatedFaceAttention, self.get_submodule(f"{path}.{PROCESSOR}"))


def _probe(adapter: FactAdapter, picture: torch.Tensor) -> object:
    tokens = fitted(picture, 112).mean(1).view(1, -1)[:, : 144 * 64].view(1, 144, 64).repeat(1, 1, 8)
    alphas = [float(value) for name, value in adapter.named_parameters() if name.endswith(("alpha_attn", "alpha_dense"))]
    return adapter.projector(tokens * 2 - 1), torch.tensor(alphas)


def _published(name: str, base: str, file: str) -> Entry:
    return Entry(
        name,
        f"FACT, adapter for the {base} base",
        *FACT_REPO,
        file,
        FACT,
        network=FactAdapter,
        probe=_probe,
        optional=(".processor.ln.",),
        note="train-free identity",
    )


PUBLISHED = (
    _published("fact_adapter_film", "film", "adapter_film_mask_large_new_reg001_faceshuffle_00290001.ckpt"),
    _published("fact_adapter_majic", "majicmix", "adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt"),
)


def _with_host_norm(layout: Layout) -> Layout:
    """The published files hold a copy `ln` of the UNet's norm2 at every site."""
    pattern = re.compile(r"(^|.*processor\.)norm2(\.\w+)$")
    return layout | {f"{m[1]}ln{m[2]}": value for name, value in layout.items() if (m := pattern.match(name))}


def _without_host_norm(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in tensors.items() if not re.search(r"(^|\bprocessor\.)ln\.", name)}


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(name, module)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """[N, T, C] each -> [N, T of q, C]."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
