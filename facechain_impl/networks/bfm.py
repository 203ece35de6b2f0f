"""The part of the Basel Face Model that the face fusion needs: the jaw of a face with given shape, expression and pose."""

from __future__ import annotations

import torch

from .base import Network, Tensors
from .published import Entry, Licence
from .sources import FUSION_REPO

JAW = 17  # the first of the model's 68 landmarks
CAMERA = 10.0
FOCAL = 1015.0
SIZE = 224  # pixels of the picture that the coefficients were read from
SPLIT = (80, 64, 80, 3, 27, 3)  # identity, expression, texture, angles, light, shift


class FaceShape(Network):
    """Coefficients [N, 257] of the reconstruction -> landmarks [N, K, 2] in -1..1 of the face crop, y pointing down.

    Tensors: mean [K, 3], centred on the whole model; identity [K, 3, 80] and expression [K, 3, 64].
    """

    mean: torch.Tensor
    identity: torch.Tensor
    expression: torch.Tensor

    def __init__(self, points: int = JAW):
        super().__init__()
        self.register_buffer("mean", torch.empty(points, 3))
        self.register_buffer("identity", torch.empty(points, 3, SPLIT[0]))
        self.register_buffer("expression", torch.empty(points, 3, SPLIT[1]))

    @classmethod
    def sizes(cls, tensors: Tensors) -> dict:
        return {"points": tensors["mean"].shape[0]}

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        x, y = (self.pixels(coefficients) / SIZE * 2 - 1).unbind(-1)
        return torch.stack([x, -y], -1)

    def pixels(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Landmarks [N, K, 2] in pixels of the 224 crop, counted from its lower left corner."""
        identity, expression, _, angles, _, shift = coefficients.split(SPLIT, -1)
        shape = self.mean + torch.einsum("kdi,ni->nkd", self.identity, identity)
        shape = shape + torch.einsum("kde,ne->nkd", self.expression, expression)
        x, y, z = (shape @ _rotation(angles) + shift[:, None]).unbind(-1)
        depth = CAMERA - z
        return torch.stack([x, y], -1) * (FOCAL / depth)[..., None] + SIZE / 2


PUBLISHED = Entry(
    "fusion_bfm",
    "Face fusion, Basel Face Model",
    *FUSION_REPO,
    "BFM/BFM_model_front.mat",
    Licence("Basel Face Model", False, "its owners, the University of Basel, ask you to register"),
    note="only the 17 vertices of the jaw are read, and kept beside it",
)


def fuse(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Coefficients [N, 257] of the target with its identity half way to the source's."""
    count = SPLIT[0]
    return torch.cat([(source[:, :count] + target[:, :count]) / 2, target[:, count:]], 1)


def _rotation(angles: torch.Tensor) -> torch.Tensor:
    """Angles [N, 3] around x, y and z, in radians -> matrices [N, 3, 3] to multiply rows with."""
    one, zero = torch.ones_like(angles[:, 0]), torch.zeros_like(angles[:, 0])
    (sx, sy, sz), (cx, cy, cz) = angles.sin().unbind(-1), angles.cos().unbind(-1)
    around_x = torch.stack([one, zero, zero, zero, cx, -sx, zero, sx, cx], -1).view(-1, 3, 3)
    around_y = torch.stack([cy, zero, sy, zero, one, zero, -sy, zero, cy], -1).view(-1, 3, 3)
    around_z = torch.stack([cz, -sz, zero, sz, cz, zero, zero, zero, one], -1).view(-1, 3, 3)
    return (around_z @ around_y @ around_x).transpose(1, 2)
