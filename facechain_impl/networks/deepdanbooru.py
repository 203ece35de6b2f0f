"""DeepDanbooru v3: a residual network that describes a picture with the tags of an image board."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from .base import Network, Tensors
from .probes import fitted
from .published import Entry, Licence
from .sources import PORTRAIT_REPO

STEM = 64
STAGES = ((256, 3), (512, 8), (1024, 20), (1024, 20), (2048, 3), (4096, 3))  # (width, blocks)
SHORTCUT_LAST = 3  # in this stage the shortcut convolution is numbered after the main path


class DeepDanbooru(Network):
    """Pictures [N, H, W, 3] in 0..1 (channels last, published for 512 x 512) -> logits [N, tags]; sigmoid gives probabilities.

    The convolutions are numbered n_Conv_0 ... n_Conv_178; their batch norms are folded into them.
    """

    def __init__(self, tags: int = 9176):
        super().__init__()
        self.blocks = _numbered_blocks()
        self._add(0, 3, STEM, 7, 2)
        for block in self.blocks:
            inner = block.outputs // 4
            self._add(block.main, block.inputs, inner, 1)
            self._add(block.main + 1, inner, inner, 3, block.stride)
            self._add(block.main + 2, inner, block.outputs, 1)
            if block.shortcut is not None:
                self._add(block.shortcut, block.inputs, block.outputs, 1, block.stride)
        self.head = self.blocks[-1].main + 3
        self._add(self.head, self.blocks[-1].outputs, tags, 1, bias=False)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {"tags": tensors["n_Conv_178.weight"].shape[0]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self._conv(0, F.pad(x.movedim(-1, 1), (2, 3, 2, 3))))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
        for block in self.blocks:
            shortcut = x if block.shortcut is None else self._conv(block.shortcut, x)
            x = F.relu(self._conv(block.main, x))
            x = F.relu(self._conv(block.main + 1, F.pad(x, (0, 1, 0, 1) if block.stride == 2 else (1, 1, 1, 1))))
            x = F.relu(self._conv(block.main + 2, x) + shortcut)
        return self._conv(self.head, x).mean((2, 3))

    def _add(self, number: int, inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = True) -> None:
        setattr(self, f"n_Conv_{number}", nn.Conv2d(inputs, outputs, size, stride, bias=bias))

    def _conv(self, number: int, x: torch.Tensor) -> torch.Tensor:
        return getattr(self, f"n_Conv_{number}")(x)


PUBLISHED = Entry(
    "deepdanbooru",
    "Picture tags, DeepDanbooru v3",
    PORTRAIT_REPO,
    "v4.0",
    "model-resnet_custom_v3.pt",
    Licence("MIT", True),
    network=DeepDanbooru,
    probe=lambda network, picture: network(fitted(picture, 512).permute(0, 2, 3, 1)),  # [N, C, H, W] -> [N, H, W, C]
    megabytes=644,
)


class _Block(NamedTuple):
    """A bottleneck block; main is the number of the first of its three convolutions, shortcut that of a fourth."""

    inputs: int
    outputs: int
    stride: int
    main: int
    shortcut: int | None


def _numbered_blocks() -> list[_Block]:
    blocks, inputs, number = [], STEM, 1
    for stage, (width, count) in enumerate(STAGES):
        late = stage == SHORTCUT_LAST
        blocks.append(_Block(inputs, width, 2 if stage else 1, number + (not late), number + (3 if late else 0)))
        number += 4
        for _ in range(count - 1):
            blocks.append(_Block(width, width, 1, number, None))
            number += 3
        inputs = width
    return blocks
