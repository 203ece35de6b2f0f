"""Seamless pasting of the animated face into the whole picture: Poisson blending (Perez et al., 2003)."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..errors import BadInput
from .crop import Box
from .renderer import resized

BAND = 3  # pixels inside the edge in which the picture's own gradients are kept
SMALLEST = 2 * BAND + 6


class PoissonPaste:
    """Blends faces into `box` (x0 y0 x1 y1) of the picture `plate`, RGB uint8 [H, W, 3], as cv2.seamlessClone does.

    What does not change over the clip is computed once. Raises BadInput when the box is too small to blend.
    """

    def __init__(self, plate: np.ndarray, box: Box, device: torch.device | str = "cpu"):
        left, top, right, bottom = box
        if min(right - left, bottom - top) < SMALLEST:
            raise BadInput(
                f"The face is only {right - left}x{bottom - top} pixels; at least {SMALLEST} are needed to put it back. "
                "Use a larger picture or choose the mode crop."
            )
        self.plate, self.device = plate, torch.device(device)
        self.size = (right - left, bottom - top)
        self.inside = (slice(top + 1, bottom - 1), slice(left + 1, right - 1))
        target = self._planes(plate[self.inside][None])
        self.mask = torch.zeros_like(target[:, :1])
        self.mask[..., BAND:-BAND, BAND:-BAND] = 1
        edge = F.pad(torch.zeros_like(target[..., 1:-1, 1:-1]), (1, 1, 1, 1), value=1.0) * target
        self.constant = divergence(target, 1 - self.mask) - laplacian(edge)
        self.eigenvalues = _eigenvalues(*target.shape[-2:]).to(self.device)

    def __call__(self, faces: np.ndarray) -> np.ndarray:
        """RGB uint8 [N, h, w, 3] -> the whole picture with each of them, uint8 [N, H, W, 3]."""
        source = self._planes(resized(faces, self.size)[:, 1:-1, 1:-1])
        solved = sine_transform(sine_transform(divergence(source, self.mask) + self.constant) / self.eigenvalues)
        rows, columns = self.inside
        pictures = np.repeat(self.plate[None], len(faces), 0)
        inner = pictures[:, rows.start + 1 : rows.stop - 1, columns.start + 1 : columns.stop - 1]
        inner[:] = solved.clamp(0, 255).to(torch.uint8).movedim(1, -1).cpu().numpy()
        return pictures

    def _planes(self, pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device).movedim(-1, 1).float()


def divergence(planes: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of the weighted gradients of [N, C, H, W], at the inner pixels [N, C, H-2, W-2]."""
    padded = F.pad(planes, (0, 1, 0, 1), mode="reflect")
    across = (padded[..., :-1, 1:] - planes) * weight
    down = (padded[..., 1:, :-1] - planes) * weight
    return across[..., 1:-1, 1:-1] - across[..., 1:-1, :-2] + down[..., 1:-1, 1:-1] - down[..., :-2, 1:-1]


def laplacian(planes: torch.Tensor) -> torch.Tensor:
    """[N, C, H, W] -> at the inner pixels [N, C, H-2, W-2]."""
    middle = planes[..., 1:-1, 1:-1]
    beside = planes[..., 1:-1, :-2] + planes[..., 1:-1, 2:] + planes[..., :-2, 1:-1] + planes[..., 2:, 1:-1]
    return beside - 4 * middle


def sine_transform(planes: torch.Tensor) -> torch.Tensor:
    """The orthonormal two-dimensional DST-I, which is its own inverse."""
    return _sine(_sine(planes).mT).mT


def _sine(planes: torch.Tensor) -> torch.Tensor:
    count = planes.shape[-1]
    zero = torch.zeros_like(planes[..., :1])
    odd = torch.cat([zero, planes, zero, -planes.flip(-1)], -1)
    return torch.fft.rfft(odd).imag[..., 1 : count + 1] * -math.sqrt(0.5 / (count + 1))


def _eigenvalues(height: int, width: int) -> torch.Tensor:
    """Of the Laplacian on the inner pixels of height x width, [height-2, width-2]. Single precision costs the smallest ones a few
    digits, which OpenCV does not have either."""
    waves = (torch.cos(math.pi * torch.arange(1, n - 1, dtype=torch.float64) / (n - 1)) for n in (height, width))
    rows, columns = (2 * wave.float() for wave in waves)
    return rows[:, None] + columns - 4
