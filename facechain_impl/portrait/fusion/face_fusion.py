"""Face fusion: gives a face in a picture the identity of another face, keeping pose, expression and light.

The wrapper of the published networks is not public. It is replaced by what is documented of its predecessor in
the modelscope library, with DamoFD's five points (or those of any other detector) in place of points derived from 68.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from ...geometry.affine import ARCFACE_112, ENHANCE_1024, downscale_factor, fusion256, similarity_transform, warp
from ...host.memory import ManagedModel
from ...host.progress import check_interrupt
from ...networks import bfm
from ...networks.aei import AEINet
from ...networks.gpen import GPEN
from ...networks.ir100 import IR100
from ...networks.recon import FaceReconstruction
from ...perception import models
from ...types import Face
from ...weights import basel, load
from ...weights.uses import ENHANCEMENT, FUSION
from . import pasting as paste

CROP = 256
BATCH = 4
USUAL_BOX = 82  # shorter side of a detector's box around a face aligned to 112 pixels


class SourceFace(NamedTuple):
    """The new face. identity: [1, 512]. coefficients: [1, 257], see `networks.bfm`."""

    identity: torch.Tensor
    coefficients: torch.Tensor


@dataclass(frozen=True)
class TargetFace:
    """A face to replace: number of its picture, five points [5, 2], shorter side of its box in pixels."""

    picture: int
    points: np.ndarray
    side: float


def target(picture: int, face: Face) -> TargetFace:
    """The target of a detected face, which must have points."""
    return TargetFace(picture, face.five, min(face.width, face.height))


def open_fusion(enhance: bool = True) -> FaceFusion:
    """The fusion with its published networks. Raises MissingWeights naming every missing file, or WeightsError."""
    models.require(*FUSION.files, *(ENHANCEMENT.files if enhance else ()))
    jaw = bfm.FaceShape.from_state_dict(basel.jaw(load.find("fusion_bfm")))
    alpha = paste.read_alpha(load.find("fusion_alpha").path)
    generator = models.open_network("fusion_aei")
    identity, reconstruction = models.open_network("fusion_arcface"), models.open_network("fusion_recon")
    enhancer = models.open_network("fusion_gpen1024") if enhance else None
    return FaceFusion(identity, reconstruction, jaw, generator, alpha, enhancer)


class FaceFusion:
    """identity: IR100. reconstruction: FaceReconstruction. jaw: FaceShape of 17 points, small enough to stay on the CPU.
    generator: AEINet. alpha: [256, 256] mask in 0..1 by which the new face is blended. enhancer: GPEN."""

    def __init__(
        self,
        identity: ManagedModel[IR100],
        reconstruction: ManagedModel[FaceReconstruction],
        jaw: bfm.FaceShape,
        generator: ManagedModel[AEINet],
        alpha: torch.Tensor,
        enhancer: ManagedModel[GPEN] | None = None,
    ):
        self.identity, self.reconstruction, self.jaw, self.generator = identity, reconstruction, jaw, generator
        self.alpha, self.enhancer = alpha, enhancer

    def fuse(
        self,
        picture: torch.Tensor,
        points: np.ndarray,
        source: torch.Tensor,
        source_points: np.ndarray,
        mask: torch.Tensor | None = None,
        enhance: bool = True,
        side: float | None = None,
    ) -> torch.Tensor:
        """`picture` [H, W, 3] with the face at `points` [5, 2] replaced by the one in `source`.

        mask [H, W] in 0..1 limits the change; pixels outside are bit-identical. side: shorter side of the replaced face's box in
        pixels, guessed from the points where it is not known; enhanced faces below 100 pixels are softened."""
        side = side or USUAL_BOX * downscale_factor(similarity_transform(points, ARCFACE_112))
        targets = [TargetFace(0, points, side)]
        (fused,) = self.replace([picture], targets, self.read_source(source, source_points), enhance)
        return fused if mask is None else paste.within(mask, fused, picture)

    def read_source(self, source: torch.Tensor, points: np.ndarray) -> SourceFace:
        """The identity and coefficients of the face at `points` [5, 2] of `source` [H, W, 3]."""
        crop = _crops([source], [TargetFace(0, points, 0.0)])
        small = F.interpolate(crop, (112, 112), mode="bilinear", align_corners=True)
        network = self.identity.load()
        return SourceFace(network(small.to(self.identity.device)).cpu(), self._coefficients(crop))

    def replace(
        self,
        pictures: Sequence[torch.Tensor],
        targets: Sequence[TargetFace],
        source: SourceFace,
        enhance: bool = True,
        step: Callable[[], None] = check_interrupt,
    ) -> list[torch.Tensor]:
        """Copies of `pictures` [H, W, 3] with the face of `source` on every target. `step` is called after every face, twice with
        `enhance`."""
        results = [picture.detach().to("cpu", torch.float32).clone() for picture in pictures]
        for target, face in self._new_faces(pictures, targets, source):
            paste.paste(results[target.picture], face, self.alpha, fusion256(target.points))
            step()
        if enhance and self.enhancer:
            for target in targets:
                self._enhance(self.enhancer, results[target.picture], target)
                step()
        return results

    def _new_faces(
        self, pictures: Sequence[torch.Tensor], targets: Sequence[TargetFace], source: SourceFace
    ) -> Iterator[tuple[TargetFace, torch.Tensor]]:
        """Per target its new face crop [256, 256, 3] in 0..1."""
        for start in range(0, len(targets), BATCH):
            chunk = targets[start : start + BATCH]
            crops = _crops(pictures, chunk)
            own = self._coefficients(crops)
            found, wanted = self.jaw(own), self.jaw(bfm.fuse(source.coefficients.expand_as(own), own))
            identity = source.identity.expand(len(chunk), -1)
            network, device = self.generator.load(), self.generator.device
            faces = network(*(part.to(device) for part in (crops, identity, found, wanted)))
            yield from zip(chunk, (faces.cpu() + 1).permute(0, 2, 3, 1) / 2)  # [N, C, H, W] -> [N, H, W, C]

    def _coefficients(self, crops: torch.Tensor) -> torch.Tensor:
        """[N, 3, 256, 256] in -1..1 -> [N, 257]."""
        size = (bfm.SIZE, bfm.SIZE)
        faces = F.interpolate(crops / 2 + 0.5, size, mode="bilinear", align_corners=False)
        return self.reconstruction.load()(faces.to(self.reconstruction.device)).cpu()

    @staticmethod
    def _enhance(enhancer: ManagedModel[GPEN], picture: torch.Tensor, target: TargetFace) -> None:
        """Enhance the target's face, in place."""
        matrix = similarity_transform(target.points, ENHANCE_1024)
        size = (paste.ENHANCE_SIZE, paste.ENHANCE_SIZE)
        face = warp(picture, matrix, size).permute(2, 0, 1)[None] * 2 - 1
        sharp = enhancer.load()(face.to(enhancer.device)).cpu().clamp(-1, 1)
        sharp = paste.soften((sharp[0].permute(1, 2, 0) + 1) / 2, target.side)
        paste.paste(picture, sharp, paste.enhancement_mask(), matrix)


def _crops(pictures: Sequence[torch.Tensor], targets: Sequence[TargetFace]) -> torch.Tensor:
    """[N, 3, 256, 256] in -1..1."""
    crops = [warp(pictures[target.picture], fusion256(target.points), (CROP, CROP)) for target in targets]
    return torch.stack(crops).permute(0, 3, 1, 2) * 2 - 1
