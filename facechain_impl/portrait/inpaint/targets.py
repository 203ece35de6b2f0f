"""The faces of a picture to be replaced, each in its square crop, with everything known before painting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...errors import BadInput
from ...geometry import affine
from ...host.protocols import PoseFrame
from ...perception.detection import Detector
from ...perception.landmarks import five_points
from ...perception.parsing import HumanParser
from ...types import Face
from . import geometry
from .control_pictures import CANVAS, Body, body_of, face_control
from .landmarkers import Landmarker

FACE, HUMAN, NECK = "Face", "Human", "Torso-skin"
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class Regions:
    """Masks of face, people and the skin below the face: 0 or 1, [H, W]."""

    face: torch.Tensor
    human: torch.Tensor
    neck: torch.Tensor


@dataclass(frozen=True)
class GivenMasks:
    """Masks [H, W] of the whole picture that the user connected; None is filled by the parsing network."""

    face: torch.Tensor | None = None
    human: torch.Tensor | None = None
    neck: torch.Tensor | None = None


@dataclass(frozen=True)
class Pose:
    """The body pose of the whole picture: one POSE_KEYPOINT frame or a drawn picture [H, W, 3]; the frame takes precedence."""

    frame: PoseFrame | None = None
    drawing: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Target:
    """One face to edit. number: from the left, from 1. face is in pixels of the picture, all else in pixels of the crop.

    others: boxes [4] of the faces that must stay. points [5, 2] from the detector, landmarks [70, 2] or None.
    """

    number: int
    face: Face
    square: geometry.Square
    others: list[np.ndarray]
    points: np.ndarray | None
    landmarks: np.ndarray | None
    regions: Regions
    body: Body | None = None
    drawing: torch.Tensor | None = None

    def pixels(self, image: torch.Tensor) -> torch.Tensor:
        """The square of `image` [H, W, ...] at full resolution, with the other faces black."""
        pixels = geometry.cut(image, self.square).to("cpu", torch.float32)
        mine = geometry.territory(self.face.box, self.others, self.square.box)
        return pixels * mine.reshape(*mine.shape, *(1,) * (pixels.ndim - 2))

    def crop(self, image: torch.Tensor, size: int) -> torch.Tensor:
        """`pixels` in `size` x `size`."""
        return geometry.resize(self.pixels(image), size, size)

    @property
    def five(self) -> np.ndarray:
        """The five points [5, 2], of the landmarks where they are known. Raises BadInput where there is neither."""
        if self.landmarks is not None:
            return five_points(self.landmarks)
        if self.points is None:
            raise BadInput(f"The eyes, nose and mouth of face {self.number} were not found. Choose another detector or a larger picture.")
        return self.points

    def pose_control(self, size: int) -> torch.Tensor:
        """The control picture of stage 1: the body, or the face where no pose is known."""
        if self.drawing is not None:
            return self.drawing
        return face_control(None if self.body else self.landmarks, self.five, size, self.body)


class FaceAnalyzer:
    """The networks that analyse crops. Without a parser, generated faces take the shapes of the picture's faces."""

    def __init__(self, detector: Detector, landmarker: Landmarker | None = None, parser: HumanParser | None = None):
        self.detector = detector
        self.landmarker = landmarker
        self.parser = parser

    def largest(self, images: Sequence[torch.Tensor]) -> list[Face | None]:
        """The largest face of every picture that has its five points."""
        found = self.detector.detect(list(images))
        return [max((face for face in faces if face.points is not None), key=lambda face: face.area, default=None) for faces in found]

    def landmarks(self, images: Sequence[torch.Tensor], faces: Sequence[Face]) -> list[np.ndarray | None]:
        return self.landmarker.find(images, faces) if self.landmarker else [None] * len(faces)

    def regions(self, images: Sequence[torch.Tensor]) -> Sequence[Regions | None]:
        """The parser's result. Only with a parser."""
        if self.parser is None or not images:
            return [None] * len(images)
        parsed = self.parser.parse(list(images))
        return [Regions(*(_floats(parsing.total([label])) for label in (FACE, HUMAN, NECK))) for parsing in parsed]


def prepare(
    image: torch.Tensor, faces: list[Face], indices: list[int], given: GivenMasks, pose: Pose, analyzer: FaceAnalyzer, size: int
) -> tuple[list[Target], dict[int, str]]:
    """Targets for the faces (from left to right) at `indices`, and the reason for those that cannot be edited.

    Raises BadInput when a connected mask or pose does not belong to this picture.
    """
    given, pose = _fitted(given, image), _fitted_pose(pose, image)
    places = [_place(image, faces, index, size) for index in indices]
    found = analyzer.landmarks([place.crop(image, size) for place in places], [_moved(place, size) for place in places]) if places else []
    targets = [replace(place, landmarks=landmarks) for place, landmarks in zip(places, found)]
    targets = [_with_pose(target, pose, size) for target in targets]
    targets = _with_regions(image, targets, given, analyzer, size)
    reasons = {target.number: reason for target in targets if (reason := _problem(target))}
    return [target for target in targets if target.number not in reasons], reasons


def _place(image: torch.Tensor, faces: list[Face], index: int, size: int) -> Target:
    face = faces[index]
    square = geometry.face_square(face.box)
    others = [other.box for other in faces if other is not face]
    points = None if face.points is None else affine.transform_points(face.points, square.to_crop(size))
    nothing = torch.zeros(0, 0)
    return Target(
        number=index + 1,
        face=face,
        square=square,
        others=others,
        points=points,
        landmarks=None,
        regions=Regions(nothing, nothing, nothing),
    )


def _moved(target: Target, size: int) -> Face:
    """The face of a target in pixels of its crop."""
    corners = affine.transform_points(target.face.box.reshape(2, 2), target.square.to_crop(size))
    return replace(target.face, box=corners.reshape(4), points=target.points)


def _with_pose(target: Target, pose: Pose, size: int) -> Target:
    if pose.frame is not None:
        return replace(target, body=body_of(pose.frame, target.face, target.square.to_crop(CANVAS)))
    if pose.drawing is None:
        return target
    drawing = target.crop(pose.drawing, size)
    if not drawing.any():
        raise BadInput(f"The connected pose picture is black around face {target.number}. Make it from this picture, or disconnect it.")
    return replace(target, drawing=drawing)


def _with_regions(image: torch.Tensor, targets: list[Target], given: GivenMasks, analyzer: FaceAnalyzer, size: int) -> list[Target]:
    seen = analyzer.regions([target.crop(image, size) for target in targets])
    return [replace(target, regions=_regions(target, given, parsed, size)) for target, parsed in zip(targets, seen)]


def _regions(target: Target, given: GivenMasks, parsed: Regions | None, size: int) -> Regions:
    def region(mask: torch.Tensor | None, own: torch.Tensor | None) -> torch.Tensor:
        if mask is not None:
            return (target.crop(mask, size) >= 0.5).float()
        return torch.zeros(size, size) if own is None else own

    own = (None, None, None) if parsed is None else (parsed.face, parsed.human, parsed.neck)
    return Regions(*(region(mask, part) for mask, part in zip((given.face, given.human, given.neck), own)))


def _problem(target: Target) -> str:
    if target.points is None and target.landmarks is None:
        return "its eyes, nose and mouth were not found"
    if not target.regions.face.any():
        return "the face mask, or the parsing network's output, is empty there"
    return ""


def _fitted(given: GivenMasks, image: torch.Tensor) -> GivenMasks:
    masks = {"face": given.face, "human": given.human, "neck": given.neck}
    for name, mask in masks.items():
        if mask is not None and mask.shape[:2] != image.shape[:2]:
            raise BadInput(
                f"The {name} mask is {mask.shape[1]}x{mask.shape[0]}, the picture is {image.shape[1]}x{image.shape[0]}. "
                "Connect a mask of the whole picture."
            )
    return given


def _fitted_pose(pose: Pose, image: torch.Tensor) -> Pose:
    """`pose` in pixels of `image`: another resolution is scaled, another aspect ratio refused."""
    height, width = image.shape[:2]
    if pose.frame is not None:
        given = int(pose.frame["canvas_width"]), int(pose.frame["canvas_height"])
    elif pose.drawing is not None:
        given = pose.drawing.shape[1], pose.drawing.shape[0]
    else:
        return pose
    across, down = width / given[0], height / given[1]
    if abs(across / down - 1) > _SAME_SHAPE:
        raise BadInput(f"The pose is {given[0]}x{given[1]}, the picture is {width}x{height}. Make the pose from this picture.")
    if pose.frame is not None:
        return replace(pose, frame=_scaled(pose.frame, across, down))
    if pose.drawing is None or given == (width, height):
        return pose
    return replace(pose, drawing=geometry.resize(pose.drawing, height, width))


def _scaled(frame: PoseFrame, across: float, down: float) -> PoseFrame:
    def stretch(values: list[float]) -> list[float]:
        return (np.asarray(values, np.float64).reshape(-1, 3) * [across, down, 1]).ravel().tolist()

    people = [{key: stretch(value) if value else value for key, value in person.items()} for person in frame.get("people", [])]
    return {**frame, "people": people}


def _floats(mask: torch.Tensor | np.ndarray) -> torch.Tensor:
    return torch.as_tensor(mask).float().clamp(0, 1).cpu()
