"""Tags of pictures (DeepDanbooru v3), in the vocabulary of an image board."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from ..errors import WeightsError
from ..geometry.pixels import to_bytes
from ..host.memory import ManagedModel
from ..networks.deepdanbooru import DeepDanbooru

SIZE = 512
BATCH = 4


class Tagger:
    """managed: DeepDanbooru. names: of its outputs, in their order."""

    def __init__(self, managed: ManagedModel[DeepDanbooru], names: Sequence[str]):
        self.managed, self.names = managed, list(names)

    def tags(self, images: Sequence[torch.Tensor], threshold: float) -> list[dict[str, float]]:
        """Per picture [H, W, 3] its tags with a probability of at least `threshold`, ratings among them, in the network's order.

        Raises WeightsError when the network has another number of outputs than there are names."""
        found = []
        for start in range(0, len(images), BATCH):
            for row in self._probabilities(images[start : start + BATCH]).tolist():
                found.append({name: value for name, value in zip(self.names, row) if value >= threshold})
        return found

    def _probabilities(self, images: Sequence[torch.Tensor]) -> torch.Tensor:
        batch = torch.stack([letterbox(image) for image in images])
        probabilities = torch.sigmoid(self.managed.load()(batch.to(self.managed.device))).cpu()
        if probabilities.shape[1] != len(self.names):
            raise WeightsError(
                f"The tagger returns {probabilities.shape[1]} tags, but its file names {len(self.names)}. "
                "Delete the file deepdanbooru and get it again, see Check Models (FaceChain)."
            )
        return probabilities


def letterbox(image: torch.Tensor) -> torch.Tensor:
    """A picture [H, W, 3] in 0..1 inside [512, 512, 3]; the bars are its outermost rows or columns, stretched."""
    height, width = image.shape[:2]
    lies = width > height
    size = (SIZE, max(height * SIZE // width, 1)) if lies else (max(width * SIZE // height, 1), SIZE)
    small = Image.fromarray(to_bytes(image)).resize(size, Image.Resampling.LANCZOS)
    filled = Image.new("RGB", (SIZE, SIZE))
    first = SIZE // 2 - min(size) // 2
    filled.paste(small, (0, first) if lies else (first, 0))
    for edge, at in ((0, 0), (min(size), first + min(size))) if first else ():
        box = (0, edge, SIZE, edge) if lies else (edge, 0, edge, SIZE)
        bar = small.resize((SIZE, first) if lies else (first, SIZE), box=box)
        filled.paste(bar, (0, at) if lies else (at, 0))
    return torch.from_numpy(np.asarray(filled, np.float32) / 255)
