"""The host's UPSCALE_MODEL: a network that spandrel recognised, under the host's memory manager."""

from __future__ import annotations

import comfy.model_management
import comfy.utils
import torch

from ..errors import BadInput
from .protocols import UpscaleModelDescriptor

TILE, OVERLAP = 512, 32


class UpscaleModel:
    """What the host's upscale model loader gives. scale: of the sides. restores_faces: it takes aligned faces, not whole pictures."""

    def __init__(self, descriptor: UpscaleModelDescriptor):
        self._descriptor = descriptor
        self.scale = descriptor.scale
        self.name = descriptor.architecture.id
        self.restores_faces = descriptor.purpose == "FaceSR"
        if self.restores_faces and self.name != "GFPGAN":
            raise BadInput(
                f"The enhancer is {self.name}, which restores aligned faces in a way that is not supported here. "
                "Load GFPGAN or an upscaler of whole pictures."
            )

    @property
    def device(self) -> torch.device:
        return self._descriptor.patcher.load_device

    def load(self) -> torch.nn.Module:
        """The network itself, ready to run on `device`."""
        comfy.model_management.load_models_gpu([self._descriptor.patcher])
        return self._descriptor.model

    def upscale(self, pictures: torch.Tensor) -> torch.Tensor:
        """float [N, 3, H, W] in 0..1 -> [N, 3, H * scale, W * scale], tile by tile."""
        self.load()
        return comfy.utils.tiled_scale(
            pictures,
            lambda tile: self._descriptor(tile.to(self.device)).float(),
            tile_x=TILE,
            tile_y=TILE,
            overlap=OVERLAP,
            upscale_amount=self.scale,
            output_device="cpu",
        ).clamp(0, 1)
