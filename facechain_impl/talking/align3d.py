"""The face of the picture as coefficients: expression, head pose, and how the picture was aligned to the 3-D template."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..host.memory import ManagedModel
from ..networks.recon import FaceReconstruction
from ..networks.sadtalker.audio import EXPRESSION
from ..perception.landmarks import five_points_by_corners

# left eye, right eye, nose tip, left and right mouth corner of the reconstruction network's template (Deep3DFaceRecon, MIT)
MEAN_FACE = np.array(
    [
        [-0.311486572, 0.290360779, 0.133779526],
        [0.309798867, 0.289720356, 0.131795257],
        [0.00325349881, -0.0461793244, 0.552442431],
        [-0.252169281, -0.381339163, 0.224057317],
        [0.248466194, -0.381282359, 0.22235769],
    ],
    np.float32,
)
SIDE, RESCALE = 224, 102.0
ANGLE, SHIFT = slice(224, 227), slice(254, 257)


@dataclass(frozen=True)
class Alignment:
    """A picture of (width, height) scaled by `scale`, with `centre` (y upwards) in the middle of 224x224 pixels."""

    size: tuple[int, int]
    centre: tuple[float, float]
    scale: float

    @property
    def parameters(self) -> np.ndarray:
        """float64 [5]: width, height, scale, centre."""
        return np.array([*self.size, self.scale, *self.centre])

    def crop(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] -> [224, 224, 3], black outside the picture."""
        width, height = self._scaled()
        left, top = self._corner()
        picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)))

    def points(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] of the picture, y upwards, in the crop before its corner is rounded, y upwards."""
        half = np.array(self.size) / 2
        middle = (np.array(self._scaled()) - SIDE) / 2
        return (points - self.centre + half) * self.scale - middle

    def _scaled(self) -> tuple[int, int]:
        return int(self.size[0] * self.scale), int(self.size[1] * self.scale)

    def _corner(self) -> tuple[int, int]:
        (width, height), (w0, h0), (x, y) = self._scaled(), self.size, self.centre
        left = width / 2 - SIDE / 2 + (x - w0 / 2) * self.scale
        return int(left), int(height / 2 - SIDE / 2 + (h0 / 2 - y) * self.scale)


def flipped(landmarks: np.ndarray, height: int) -> np.ndarray:
    """The same points with y upwards."""
    return np.stack([landmarks[:, 0], height - 1 - landmarks[:, 1]], 1)


def mean_face_points(size: tuple[int, int]) -> np.ndarray:
    """Where the template's five points lie in a picture of (width, height) without a face, y upwards."""
    return (MEAN_FACE[:, :2] + 1) / 2 * np.array(size)


def align(points: np.ndarray, size: tuple[int, int]) -> Alignment:
    """The alignment of five points [5, 2], y upwards, to the template: weak perspective, least squares."""
    rows = np.zeros((10, 8))
    rows[0::2, :3] = rows[1::2, 4:7] = MEAN_FACE
    rows[0::2, 3] = rows[1::2, 7] = 1
    solved = np.linalg.lstsq(rows, points.reshape(-1).astype(np.float64), rcond=None)[0]
    scale = (np.linalg.norm(solved[:3]) + np.linalg.norm(solved[4:7])) / 2
    return Alignment(size, (float(solved[3]), float(solved[7])), RESCALE / float(scale))


class FaceCoefficients:
    """The reconstruction network in the ManagedModel `managed`."""

    def __init__(self, managed: ManagedModel[FaceReconstruction]):
        self.managed = managed

    def read(self, pixels: np.ndarray, landmarks: np.ndarray | None) -> torch.Tensor:
        """float32 [73] of a square crop, RGB uint8 [S, S, 3]: expression 64, angles 3, translation 3, scale and centre of the
        alignment. landmarks: [68, 2] in the crop, or None where no face was found in it: then the template's place is taken."""
        size = pixels.shape[1::-1]
        points = mean_face_points(size) if landmarks is None else five_points_by_corners(flipped(landmarks, size[1]))
        alignment = align(points, size)
        found = self.network_output(alignment.crop(pixels))
        return torch.cat([found[80 : 80 + EXPRESSION], found[ANGLE], found[SHIFT], torch.tensor(alignment.parameters[2:]).float()])

    def network_output(self, crop: np.ndarray) -> torch.Tensor:
        """[257] of an aligned crop, RGB uint8 [224, 224, 3]."""
        picture = torch.from_numpy(crop.transpose(2, 0, 1).copy())[None].float() / 255
        network = self.managed.load()
        return network(picture.to(self.managed.device))[0].float().cpu()
