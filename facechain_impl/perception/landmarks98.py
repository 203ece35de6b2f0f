"""98 facial landmarks in a face box, from heat maps."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ..geometry.pixels import size_of, to_bytes
from ..host.memory import ManagedModel
from ..networks.fan import FAN
from ..types import Face, Origin

INPUT = 256


class Landmarks98:
    """The landmark network in the ManagedModel `managed`."""

    def __init__(self, managed: ManagedModel[FAN]):
        self.managed = managed

    @property
    def origin(self) -> Origin:
        return self.managed.origin

    def find(self, image: torch.Tensor, face: Face) -> np.ndarray:
        """Landmarks float64 [98, 2] of `face` in pixels of `image`, float RGB [H, W, 3] in 0..1."""
        left, top, right, bottom = cut_box(face.box, size_of(image))
        pixels = to_bytes(image[top:bottom, left:right])
        maps = self.maps(pixels)
        cells = points_of(maps)[0]
        return cells * [(right - left) / maps.shape[-1], (bottom - top) / maps.shape[-2]] + [left, top]

    def maps(self, pixels: np.ndarray) -> np.ndarray:
        """Heat maps [1, 98, 64, 64] of a cut face, RGB uint8."""
        network = self.managed.load()
        picture = network_input(pixels).to(self.managed.device)
        return network(picture)[-1][:, :-1].float().cpu().numpy()


def cut_box(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """`box` in whole pixels inside a picture of `size` (height, width), at least one pixel wide and high."""
    height, width = size
    left, top = min(max(int(box[0]), 0), width - 1), min(max(int(box[1]), 0), height - 1)
    return left, top, min(max(int(box[2]), left + 1), width), min(max(int(box[3]), top + 1), height)


def network_input(pixels: np.ndarray) -> torch.Tensor:
    """RGB uint8 [H, W, 3] -> BGR float [1, 3, 256, 256] in 0..1."""
    small = cv2.resize(pixels, (INPUT, INPUT))[..., ::-1]
    return torch.from_numpy(small.transpose(2, 0, 1).copy())[None].float() / 255


def points_of(maps: np.ndarray) -> np.ndarray:
    """The peaks of heat maps [N, K, H, W], float64 [N, K, 2] in cells, moved a quarter cell towards the higher neighbour."""
    height, width = maps.shape[-2:]
    flat = maps.reshape(*maps.shape[:2], -1)
    peaks = flat.argmax(2)
    near = [np.take_along_axis(flat, index[..., None], 2)[..., 0].astype(np.float64) for index in neighbours(peaks, height, width)]
    slope = np.sign(np.stack([near[0] - near[1], near[2] - near[3]], -1))
    return np.stack([peaks % width, peaks // width], -1) + slope * 0.25 + 0.5


def neighbours(cells: np.ndarray, height: int, width: int) -> tuple[np.ndarray, ...]:
    """The cells right, left, below and above of `cells`, counted row by row through a map; at an edge the cell itself."""
    rows, columns = cells // width, cells % width
    right, left = rows * width + (columns + 1).clip(max=width - 1), rows * width + (columns - 1).clip(min=0)
    below, above = (rows + 1).clip(max=height - 1) * width + columns, (rows - 1).clip(min=0) * width + columns
    return right, left, below, above
