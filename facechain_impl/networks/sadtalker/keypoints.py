"""The key points of a face, found without supervision (face-vid2vid), and their grid."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ..base import Network, Tensors
from ..probes import plain
from ..published import Part

DOWN_WIDTHS = (64, 128, 256, 512, 1024)
UP_WIDTHS = (512, 256, 128, 64, 32)
DEPTH = 16
TEMPERATURE = 0.1


class KeyPoints(Network):
    """forward(picture [N, 3, S, S] in 0..1, S a multiple of 128) -> canonical key points [N, 15, 3], x y z in -1..1."""

    def __init__(self, down_widths: tuple[int, ...] = DOWN_WIDTHS, up_widths: tuple[int, ...] = UP_WIDTHS, points: int = 15):
        super().__init__()
        self.down = _Shrink()
        self.predictor = _Predictor(down_widths, up_widths)
        self.kp = nn.Conv3d(up_widths[-1], points, 3, padding=1)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {
            "down_widths": widths_of(tensors, "predictor.down_blocks.down{}.conv.weight"),
            "up_widths": widths_of(tensors, "predictor.up_blocks.up{}.conv.weight"),
            "points": tensors["kp.weight"].shape[0],
        }

    def logits(self, small: torch.Tensor) -> torch.Tensor:
        """[N, 3, S/4, S/4] -> [N, 15, 16, S/4, S/4]."""
        return self.kp(self.predictor(small))

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        logits = self.logits(self.down(picture))
        grid = volume_grid(logits)
        share = torch.softmax(logits.flatten(2) / TEMPERATURE, 2)
        return share @ grid.reshape(-1, 3)


NARROW_POINTS = 3  # of a stand-in
PART = Part(
    "keypoints",
    "kp_extractor.",
    KeyPoints,
    plain(256),
    narrow={"down_widths": (8, 8, 16, 16, 32), "up_widths": (32, 16, 8, 8, 4), "points": NARROW_POINTS},
)


def widths_of(tensors: Tensors, pattern: str, start: int = 0) -> tuple[int, ...]:
    """Output widths of the layers numbered from `start` that match `pattern`. Raises KeyError where there is none."""
    widths = [tensors[pattern.format(start)].shape[0]]
    while (name := pattern.format(start + len(widths))) in tensors:
        widths.append(tensors[name].shape[0])
    return tuple(widths)


def volume_grid(like: torch.Tensor) -> torch.Tensor:
    """[D, H, W, 3] for a volume [..., D, H, W]: x y z in -1..1, the ends in the centres of the outermost cells."""
    z, y, x = (torch.linspace(-1, 1, size, dtype=torch.float64).to(like) for size in like.shape[-3:])
    return torch.stack(torch.meshgrid(z, y, x, indexing="ij")[::-1], -1)


class _Shrink(nn.Module):
    """Gaussian blur, then every fourth pixel. The kernel is stored in the published file."""

    weight: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(3, 1, 13, 13))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, padding=6, groups=3)[:, :, ::4, ::4]


class _Predictor(nn.Module):
    """[N, 3, S/4, S/4] -> [N, C, 16, S/4, S/4]."""

    def __init__(self, down_widths: tuple[int, ...], up_widths: tuple[int, ...]):
        super().__init__()
        down = zip((3, *down_widths), down_widths)
        self.down_blocks = nn.ModuleDict({f"down{i}": Down2d(a, b) for i, (a, b) in enumerate(down)})
        self.conv = nn.Conv2d(down_widths[-1], down_widths[-1] * DEPTH, 1)
        up = zip((down_widths[-1], *up_widths), up_widths)
        self.up_blocks = nn.ModuleDict({f"up{i}": Up3d(a, b) for i, (a, b) in enumerate(up)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.down_blocks.values():
            x = block(x)
        x = self.conv(x).unflatten(1, (-1, DEPTH))
        for block in self.up_blocks.values():
            x = block(x)
        return x


class Down2d(nn.Module):
    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(F.relu(self.norm(self.conv(x))), 2)


class Down3d(nn.Module):
    """Halves height and width, keeps depth."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.avg_pool3d(F.relu(self.norm(self.conv(x))), (1, 2, 2))


class Up3d(nn.Module):
    """Doubles height and width, keeps depth."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(F.interpolate(x, scale_factor=(1, 2, 2)))))
