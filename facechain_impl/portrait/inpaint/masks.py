"""The masks of FaceChain's inpainting: what is repainted, what keeps its edges, and how a crop blends into the picture.

Masks are float32 [H, W] in 0..1 on the CPU, of the square crop unless said otherwise.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from ...geometry.pixels import to_bytes
from .geometry import Square, territory, whole

EDGE_GROWTH = 0.05
PAINT_GROWTH, PAINT_FIRST_GROWTH = 0.1, 0.06
REFINE_GROWTH = 0.02
FUSION_GROWTH = 0.1
HUMAN_BLUR, HUMAN_BLUR_SIZE = 21, 512
CANNY_LOW, CANNY_HIGH = 100, 200
FEATHER_SIZE = 256


def dilate(mask: torch.Tensor, size: int) -> torch.Tensor:
    """`mask` grown by a square of `size` pixels; a size of 0 leaves it as it is."""
    if size < 1:
        return mask
    return torch.from_numpy(cv2.dilate(mask.contiguous().numpy(), np.ones((size, size), np.uint8)))


def growth(mask: torch.Tensor, share: float) -> int:
    """The side of the growing square: `share` of the side of a square as large as the mask."""
    return int(np.sqrt(float(mask.double().sum())) * share)


def repaint(
    face: torch.Tensor,
    share: float,
    first: float = 0.0,
    eyes: int = 0,
    warped: torch.Tensor | None = None,
    neck: torch.Tensor | None = None,
) -> torch.Tensor:
    """The face grown by `share`, after a growth by `first`; above the row `eyes` only by `first`.

    `warped` (1 where the generated face lands) limits the second growth to itself and the first. `neck` is added as it is.
    """
    start = dilate(face.clamp(0, 1), growth(face.clamp(0, 1), first))
    wide = dilate(start, growth(start, share))
    if warped is not None:
        wide = wide * (start + warped).clamp(0, 1)
    mask = torch.cat([start[:eyes], wide[eyes:]]) if eyes > 0 else wide
    return mask if neck is None else (mask + neck).clamp(0, 1)


def fusion_region(face: torch.Tensor) -> torch.Tensor:
    """Where a fused face is kept: the face mask grown by a tenth."""
    return repaint(face, FUSION_GROWTH)


def soft_human(human: torch.Tensor) -> torch.Tensor:
    """People, fading towards their outline and never beyond it."""
    size = int(HUMAN_BLUR * human.shape[0] / HUMAN_BLUR_SIZE) | 1
    human = human.clamp(0, 1).contiguous()
    return torch.from_numpy(cv2.GaussianBlur(human.numpy(), (size, size), 0)) * human


def edges(image: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
    """Canny edges of `image` [H, W, 3] as a control picture [H, W, 3]; none where `hidden` is 1.

    Of the three channels the strongest gradient counts.
    """
    pixels = np.ascontiguousarray(to_bytes(image))
    lines = torch.from_numpy(cv2.Canny(pixels, CANNY_LOW, CANNY_HIGH)).float() / 255
    if hidden is not None:
        lines = lines * (1 - hidden)
    return lines[..., None].expand(-1, -1, 3)


def add_back(painted: torch.Tensor, original: torch.Tensor, reconstruction: torch.Tensor, human: torch.Tensor) -> torch.Tensor:
    """Cancel the VAE's round-trip error outside people: painted + (original - reconstruction). `human` is soft, see `soft_human`."""
    return (painted + (original - reconstruction) * (1 - human)[..., None]).clamp(0, 1)


def feather(half: int) -> int:
    """How far a crop of that half side fades at its border; 0 for the smallest, which end sharply."""
    return int(10 * half / FEATHER_SIZE)


def paste_mask(
    square: Square, own: np.ndarray, others: list[np.ndarray], height: int, width: int
) -> tuple[tuple[int, int, int, int], torch.Tensor]:
    """The window x0 y0 x1 y1 of the picture that a crop is pasted to, and the soft mask of that window.

    1 in the middle and on the crop's face, 0 on the others, fading at the crop's border; 0 outside the window.
    """
    window = square.inside(height, width)
    reach = feather(square.half)
    blur = int(1.8 * reach) * 2 + 1
    # a window with a margin, so that the picture's border is not feathered like the crop's
    margin = 2 * reach + blur
    outer = (max(window[0] - margin, 0), max(window[1] - margin, 0), min(window[2] + margin, width), min(window[3] + margin, height))
    inner = (slice(window[1] - outer[1], window[3] - outer[1]), slice(window[0] - outer[0], window[2] - outer[0]))
    allowed = torch.zeros(outer[3] - outer[1], outer[2] - outer[0])
    allowed[inner] = territory(own, others, window)
    mask = allowed.numpy()
    if reach > 0:
        mask = cv2.erode(mask, np.ones((2 * reach, 2 * reach), np.uint8))
        mask = cv2.GaussianBlur(mask, (blur, blur), 0)
    x0, y0, x1, y1 = (max(value, 0) for value in np.subtract(whole(own), (*outer[:2], *outer[:2])))
    mask = mask.copy()
    mask[y0:y1, x0:x1] = 1.0
    return window, (torch.from_numpy(mask) * allowed)[inner]


def latent_mask(mask: torch.Tensor, factor: int) -> torch.Tensor:
    """0 or 1 per latent: the upper left pixel of its `factor` x `factor` cell decides. [H, W] -> [H / factor, W / factor]."""
    return (mask[::factor, ::factor] >= 0.5).float()
