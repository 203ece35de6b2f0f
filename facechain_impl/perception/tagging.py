"""Tags of pictures (DeepDanbooru v3): what is shown, in the words of an image board."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from ..errors import WeightsError
from ..host.memory import Resident
from ..weights import load
from .models import open_network

NAME = "deepdanbooru"
SIZE = 512
BATCH = 4
THRESHOLD = 0.5
RATING = "rating:"  # tags about how fit a picture is for whom, not about what it shows


def open_tagger() -> Tagger:
    """The tagger with its published network, whose file holds the list of tags. Raises MissingWeights or WeightsError."""
    return Tagger(open_network(NAME), load.tags(load.find(NAME)))


class Tagger:
    """resident: DeepDanbooru. tags: the names of its outputs. Raises WeightsError when their numbers differ."""

    def __init__(self, resident: Resident, tags: Sequence[str]):
        self.resident, self.names = resident, list(tags)

    def tags(self, images: Sequence[torch.Tensor], threshold: float = THRESHOLD) -> list[dict[str, float]]:
        """Per picture [H, W, 3] its tags with a probability of at least `threshold`, alphabetically, without ratings."""
        found = []
        for start in range(0, len(images), BATCH):
            batch = torch.stack([letterbox(image) for image in images[start : start + BATCH]])
            network = self.resident.load()
            probabilities = torch.sigmoid(network(batch.to(self.resident.device))).cpu()
            found += [select(self.names, row.tolist(), threshold) for row in probabilities]
        return found


def select(names: Sequence[str], probabilities: Sequence[float], threshold: float = THRESHOLD) -> dict[str, float]:
    """Name -> probability of at least `threshold`, alphabetically, without ratings."""
    if len(names) != len(probabilities):
        raise WeightsError(
            f"The tagger answers {len(probabilities)} tags, but its file names {len(names)}. Delete the file and get it again."
        )
    rows = sorted(zip(names, probabilities))
    return {name: value for name, value in rows if value >= threshold and not name.startswith(RATING)}


def text(tags: Iterable[str] | Mapping[str, float]) -> str:
    r"""Tags as a prompt: comma-separated, with \, ( and ) escaped so that they do not weigh words."""
    return ", ".join(re.sub(r"([\\()])", r"\\\1", tag) for tag in tags)


def letterbox(image: torch.Tensor) -> torch.Tensor:
    """A picture [H, W, 3] in 0..1 inside [512, 512, 3]; the bars are its outermost rows or columns, stretched."""
    height, width = image.shape[:2]
    pixels = (image.detach().cpu().float().clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    lies = width > height
    size = (SIZE, max(height * SIZE // width, 1)) if lies else (max(width * SIZE // height, 1), SIZE)
    small = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    filled = Image.new("RGB", (SIZE, SIZE))
    first = SIZE // 2 - min(size) // 2
    filled.paste(small, (0, first) if lies else (first, 0))
    for edge, at in ((0, 0), (min(size), first + min(size))) if first else ():
        box = (0, edge, SIZE, edge) if lies else (edge, 0, edge, SIZE)
        bar = small.resize((SIZE, first) if lies else (first, SIZE), box=box)
        filled.paste(bar, (0, at) if lies else (at, 0))
    return torch.from_numpy(np.asarray(filled, np.float32) / 255)
