"""M2FP, multiple-human parsing: every query finds one body part, or one whole person, and its mask (Yang et al., 2023)."""

from __future__ import annotations

import itertools

import torch
from torch import nn

from ..base import Network, Tensors
from ..probes import standardised
from ..published import Entry, Licence
from .backbone import DeepLabResNet
from .pixel_decoder import PixelDecoder
from .predictor import Predictor, Queries

STRIDE = 32
CHANNELS = 256


class M2FP(Network):
    """Pictures [N, 3, H, W], RGB with ImageNet's mean and deviation, sides multiples of 32 -> `Queries`.

    counts: residual blocks of each backbone stage. classes: labels without "no object", the last one being a whole human.
    """

    def __init__(
        self,
        counts: tuple[int, ...] = (3, 4, 23, 3),
        encoder_layers: int = 6,
        decoder_layers: int = 9,
        queries: int = 100,
        classes: int = 21,
    ):
        super().__init__()
        self.backbone = DeepLabResNet(counts)
        self.sem_seg_head = _Head(
            PixelDecoder(self.backbone.widths, CHANNELS, encoder_layers), Predictor(CHANNELS, decoder_layers, queries, classes)
        )

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        head = "sem_seg_head."
        decoder = head + "predictor."
        return {
            "counts": tuple(_count(tensors, f"backbone.res{stage}.{{}}.conv1.weight") for stage in range(2, 6)),
            "encoder_layers": _count(tensors, head + "pixel_decoder.transformer.encoder.layers.{}.linear1.weight"),
            "decoder_layers": _count(tensors, decoder + "transformer_ffn_layers.{}.linear1.weight"),
            "queries": tensors[decoder + "query_feat.weight"].shape[0],
            "classes": tensors[decoder + "class_embed.weight"].shape[0] - 1,
        }

    def forward(self, x: torch.Tensor) -> Queries:
        return self.sem_seg_head(self.backbone(x))


PUBLISHED = Entry(
    "m2fp",
    "Human parsing M2FP",
    "damo/cv_resnet101_image-multiple-human-parsing",
    "v1.0.1",
    "pytorch_model.pt",
    Licence("CC BY-NC 4.0", False),
    network=M2FP,
    probe=standardised(640),
    key="model",
    ignore=("criterion.",),
    megabytes=723,
)


class _Head(nn.Module):
    def __init__(self, pixel_decoder: PixelDecoder, predictor: Predictor):
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    def forward(self, features: list[torch.Tensor]) -> Queries:
        return self.predictor(*self.pixel_decoder(features))


def _count(tensors: Tensors, pattern: str) -> int:
    return next(index for index in itertools.count() if pattern.format(index) not in tensors)
