"""3-D reconstruction of a face: coefficients of the Basel Face Model from a picture (Deep3DFaceRecon)."""

from __future__ import annotations

import torch
from torch import nn

from .base import Network, Tensors
from .bfm import SPLIT
from .probes import plain
from .published import Entry, Licence, Part
from .resnet import ResNet
from .sources import FUSION_REPO


class FaceReconstruction(Network):
    """Face crop [N, 3, 224, 224], RGB in 0..1 -> coefficients [N, 257], see `bfm.SPLIT`."""

    def __init__(self, heads: tuple[int, ...] = (*SPLIT[:-1], 2, 1), width: int = 64):
        super().__init__()
        self.backbone = ResNet(width=width)
        self.final_layers = nn.ModuleList(nn.Conv2d(32 * width, count, 1) for count in heads)

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        heads: list[int] = []
        while (key := f"final_layers.{len(heads)}.bias") in tensors:
            heads.append(tensors[key].shape[0])
        return {"heads": tuple(heads), "width": tensors["backbone.conv1.weight"].shape[0]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.backbone(x)[-1].mean((2, 3), keepdim=True)
        return torch.cat([layer(x) for layer in self.final_layers], 1).flatten(1)


_PROBE = plain(224)
PUBLISHED = Entry(
    "fusion_recon",
    "Face fusion, 3-D reconstruction",
    *FUSION_REPO,
    "3dRecon/face_3d.pth",
    Licence("MIT", False, "trained with the Basel Face Model"),
    network=FaceReconstruction,
    probe=_PROBE,
    key="net_recon",
    megabytes=96.1,
)
SADTALKER_PART = Part("reconstruction", "face_3drecon.", FaceReconstruction, _PROBE, narrow={"width": 8})
