"""Skin retouch (ABPN): evens out the skin of every face and brightens the skin of the whole picture.

The code around the published networks is known from a library (degree 1, blemish removal on) and from reports about the
wrapper published with the weights (degree 0.7, blemish removal off). `Settings` holds the wrapper's numbers; this is the only
place where that choice is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from ..errors import WeightsError
from ..geometry.pixels import size_of, to_bytes
from . import models
from .batching import max_batch, require_input

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from ..host.memory import ManagedModel
    from ..networks.skin import DetectionUNet, RetouchingNet, SkinUNet

GENERATOR_SIZE = 512
DETECTION_SIZE = 768
TILE, OVERLAP = 512, 32
BATCH = 8
FADE_SIZE, FADE = 500, 20
MASK_SIDE = 800
LARGE_FACE = 0.4  # of the picture's height


@dataclass(frozen=True)
class Settings:
    """degree: strength of the smoothing, 0..1. blemishes: remove spots first. whitening: strength of the brightening, 0 = off."""

    degree: float = 0.7
    blemishes: bool = False
    whitening: float = 0.8


WRAPPER = Settings()


def open_retouch(settings: Settings = WRAPPER) -> SkinRetouch:
    """The retouch with the networks that `settings` need. Raises MissingWeights."""
    generator = models.open_network("skin_unet")
    blemishes = None
    if settings.blemishes:
        blemishes = BlemishRemoval(models.open_network("skin_detection"), models.open_network("skin_inpainting"))
    mask = models.open_session("skin_mask") if settings.whitening else None
    return SkinRetouch(generator, mask, blemishes, settings)


class SkinRetouch:
    """Retouches pictures around the faces found by RetinaFace.

    generator: SkinUNet. skin_mask: session that gives the skin of a picture [H, W, 3] in 0..255 as [H, W, C] in 0..255; without
    one nothing is brightened. blemishes: without it no spots are removed.
    """

    def __init__(
        self,
        generator: ManagedModel[SkinUNet],
        skin_mask: InferenceSession | None = None,
        blemishes: BlemishRemoval | None = None,
        settings: Settings = WRAPPER,
    ):
        self.generator, self.skin_mask, self.blemishes, self.settings = generator, skin_mask, blemishes, settings

    def retouch(self, images: Sequence[torch.Tensor], boxes: Sequence[np.ndarray]) -> list[torch.Tensor | None]:
        """Pictures [H, W, 3] and their face boxes [N, 4] -> pictures of the same sizes.

        None stands for a picture without a box, which was not retouched; the caller decides whether that matters."""
        squares = [_squares(found, size_of(image)) for image, found in zip(images, boxes)]
        results = {index: images[index].detach().to("cpu", torch.float32).clone() for index, found in enumerate(squares) if found}
        regions = [result[y0:y1, x0:x1] for index, result in results.items() for x0, y0, x1, y1 in squares[index]]
        if self.blemishes:
            for region in regions:
                region.copy_(self.blemishes.remove(region))
        for region, layer in zip(regions, self.blend_layers(regions)):
            region.copy_(soft_light(region, layer))
        if self.skin_mask and self.settings.whitening:
            for index, result in results.items():
                skin, large = self._skin(self.skin_mask, images[index]), _is_large(squares[index], len(result))
                result.copy_(whiten(result, skin, self.settings.whitening, large))
        return [results.get(index) for index in range(len(images))]

    def blend_layers(self, regions: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """Per region [h, w, 3] the layer [h, w, 3] that smooths it, 0.5 at the borders."""
        count = max_batch(BATCH, self.generator.device)
        for start in range(0, len(regions), count):
            chunk = regions[start : start + count]
            batch = torch.cat([_resize(_planes(region) * 2 - 1, (GENERATOR_SIZE, GENERATOR_SIZE)) for region in chunk])
            network = self.generator.load()
            layers = (network(batch.to(self.generator.device)).cpu() - 0.5) * self.settings.degree + 0.5
            for region, layer in zip(chunk, layers.clamp(0, 1)):
                yield _fade(_resize(layer[None], size_of(region)))[0].permute(1, 2, 0)

    @staticmethod
    def _skin(session: InferenceSession, image: torch.Tensor) -> np.ndarray:
        """The skin of a picture [H, W, 3] as [h, w] in 0..255, the longer side 800 pixels. Raises WeightsError."""
        pixels = mask_input(image)
        mask = session.run(None, {require_input(session, pixels.shape, "skin_mask").name: pixels})[0]
        if mask.ndim not in (2, 3) or mask.shape[:2] != pixels.shape[:2]:
            raise WeightsError(
                f"The skin mask network turned a picture {list(pixels.shape)} into {list(mask.shape)}; "
                "expected [height, width, channels]. Replace the file skin_mask, see Check Models (FaceChain)."
            )
        return mask[..., -1] if mask.ndim == 3 else mask


class BlemishRemoval:
    """Finds spots on a face with `detection` (DetectionUNet) and paints them over with `inpainting` (RetouchingNet)."""

    def __init__(self, detection: ManagedModel[DetectionUNet], inpainting: ManagedModel[RetouchingNet]):
        self.detection, self.inpainting = detection, inpainting

    def remove(self, region: torch.Tensor) -> torch.Tensor:
        """Face [h, w, 3] -> the same face without spots."""
        image = _planes(region) * 2 - 1
        keep = self.keep(image)
        clean = torch.cat([self._inpaint(*tile) for tile in zip(_tiles(image), _tiles(keep))])
        return (_join(clean, size_of(image[0, 0]))[0].permute(1, 2, 0) + 1) / 2

    def keep(self, image: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 1, h, w]: 1 for clean skin, 0 on a spot, between where uncertain."""
        small = F.interpolate(image, (DETECTION_SIZE, DETECTION_SIZE), mode="bilinear", align_corners=True)
        network = self.detection.load()
        spots = torch.sigmoid(network(small.to(self.detection.device)).cpu())
        spots = F.interpolate(spots, image.shape[-2:], mode="nearest")
        return 1 - torch.where(spots >= 0.5, 1.0, torch.where(spots >= 0.35, spots, 0.0))

    def _inpaint(self, image: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        network, device = self.inpainting.load(), self.inpainting.device
        painted = network((image * keep).to(device), keep.to(device)).cpu()
        return image * keep + painted * (1 - keep)


def _squares(boxes: np.ndarray, size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Those of `boxes` that are inside a picture of `size`, as squares."""
    squares = [square_around(box, size) for box in boxes]
    return [(x0, y0, x1, y1) for x0, y0, x1, y1 in squares if x1 > x0 and y1 > y0]


def _is_large(squares: list[tuple[int, int, int, int]], height: int) -> bool:
    return any(y1 - y0 > LARGE_FACE * height for _, y0, _, y1 in squares)


def square_around(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part x0 y0 x1 y1 of a picture of `size` (height, width) inside the square of 1.5 times the box's longer side."""
    x0, y0, x1, y1 = square_box(box)
    return max(x0, 0), max(y0, 0), min(x1, size[1]), min(y1, size[0])


def square_box(box: np.ndarray) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (float(value) for value in box[:4])
    half = int(1.5 * max(x1 - x0, y1 - y0)) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    return int(x - half), int(y - half), int(x + half), int(y + half)


def soft_light(image: torch.Tensor, layer: torch.Tensor) -> torch.Tensor:
    """`image` blended with `layer`, both in 0..1; 0.5 changes nothing."""
    return (1 - 2 * layer) * image.square() + 2 * layer * image


def mask_input(image: torch.Tensor) -> np.ndarray:
    """The input of the skin mask network: float32 [h, w, 3] of whole numbers 0..255, the longer side 800 pixels."""
    scale = MASK_SIDE / max(image.shape[:2])
    height, width = (int(side * scale) for side in image.shape[:2])
    return cv2.resize(to_bytes(image), (width, height)).astype(np.float32)


def whiten(image: torch.Tensor, mask: np.ndarray, degree: float, large: bool) -> torch.Tensor:
    """`image` [H, W, 3] with its skin brightened, red most. mask: float32 [h, w] in 0..255, of any size.

    Upstream computes this in half precision and cuts the result to bytes; here it stays float32."""
    side = 80 if large else 30
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    closed = cv2.morphologyEx(np.ascontiguousarray(mask), cv2.MORPH_CLOSE, kernel)
    skin = torch.from_numpy(cv2.blur(closed, (20, 20)) / np.float32(255))
    strength = torch.tensor([1.0, 0.75, 0.75])[:, None, None] * 0.2 * degree
    layer = _resize((skin * strength)[None] + 0.5, size_of(image))[0]
    return soft_light(image, layer.permute(1, 2, 0))


def border_mask() -> torch.Tensor:
    """[500, 500], 1 inside, falling to 0 over 20 pixels at each border."""
    place = torch.arange(FADE_SIZE, dtype=torch.float32)
    ramp = torch.minimum(place, FADE_SIZE - place).clamp(max=FADE) / FADE
    return torch.minimum(ramp[:, None], ramp[None])


def _fade(layer: torch.Tensor) -> torch.Tensor:
    weight = _resize(border_mask()[None, None], size_of(layer[0, 0]))
    return (layer - 0.5) * weight + 0.5


def _planes(region: torch.Tensor) -> torch.Tensor:
    return region.permute(2, 0, 1)[None]  # [H, W, C] -> [1, C, H, W]


def _resize(planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(planes, tuple(size), mode="bilinear", align_corners=False)


def _tiles(planes: torch.Tensor) -> Iterator[torch.Tensor]:
    """Tiles [1, C, 576, 576] row by row, padded with zeros to whole tiles and by the overlap."""
    height, width = planes.shape[-2:]
    fill = (OVERLAP, OVERLAP - width % -TILE, OVERLAP, OVERLAP - height % -TILE)
    padded = F.pad(planes, fill)
    for y in range(0, height, TILE):
        for x in range(0, width, TILE):
            yield padded[..., y : y + TILE + 2 * OVERLAP, x : x + TILE + 2 * OVERLAP]


def _join(tiles: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """The middle of the tiles side by side, [1, C, H, W]."""
    height, width = size
    inner = tiles[..., OVERLAP:-OVERLAP, OVERLAP:-OVERLAP]
    rows = inner.unflatten(0, (-1, -(width // -TILE)))  # [rows, columns, C, 512, 512]
    return rows.permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)[None, :, :height, :width]
