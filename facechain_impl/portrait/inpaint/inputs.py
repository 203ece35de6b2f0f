"""The inputs of the inpainting node, prepared: the analysing networks, the pictures, and the known faces in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from ...errors import BadInput, MissingWeights
from ...geometry import pixels
from ...host.protocols import FaceDetectionModel, PoseFrame
from ...perception import landmarks98, models
from ...perception.detection import BUILT_IN, DAMOFD, Detector, open_detector
from ...perception.faces import find_faces, left_to_right
from ...perception.parsing import HumanParser
from ...perception.recognition import FaceRecognition, with_embeddings
from ...picture_names import numbered
from ...types import Face, Faces, Person, updated
from ..fusion import face_fusion as fusion
from ..people import Assign
from .group import TargetPicture
from .landmarkers import Landmarker, Landmarks98, MediaPipe, MeshDetector
from .targets import FaceAnalyzer, GivenMasks, Pose

MESH = "MediaPipe"
DETECTORS = (BUILT_IN, DAMOFD, MESH)
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InpaintInputs:
    """Everything about the pictures, lists in the order of `images`; a list of one holds for all of them, an empty one for none.

    faces: what is known about faces already. poses: POSE_KEYPOINT frames; drawings: drawn poses. generated: stage-1 pictures.
    """

    images: Sequence[torch.Tensor]
    names: Sequence[str]
    faces: Faces | None = None
    face_masks: Sequence[torch.Tensor] = ()
    human_masks: Sequence[torch.Tensor] = ()
    neck_masks: Sequence[torch.Tensor] = ()
    poses: Sequence[PoseFrame] = ()
    drawings: Sequence[torch.Tensor] = ()
    generated: Sequence[torch.Tensor] = ()

    def check(self) -> None:
        """Raises BadInput for unusable pictures, and for lists of another length."""
        pixels.check_all(list(self.images), list(self.names))
        for image, name in zip(self.generated, numbered("stage-1 picture", self.generated)):
            pixels.check(image, name)
        lists: dict[str, Sequence] = {"face_mask": self.face_masks, "human_mask": self.human_masks, "skin_mask": self.neck_masks}
        lists |= {"pose_keypoint": self.poses, "pose_image": self.drawings}
        for name, values in lists.items():
            if len(values) not in (0, 1, len(self.images)):
                raise BadInput(f"{name} has {len(values)} entries for {len(self.images)} pictures. Connect one, or one for each picture.")

    def target_pictures(self, faces: list[list[Face]]) -> list[TargetPicture]:
        return [self._target_picture(index, found) for index, found in enumerate(faces)]

    def _target_picture(self, index: int, faces: list[Face]) -> TargetPicture:
        def of(values: Sequence[T]) -> T | None:
            return values[index % len(values)] if values else None

        given = GivenMasks(of(self.face_masks), of(self.human_masks), of(self.neck_masks))
        pose = Pose(of(self.poses), of(self.drawings))
        return TargetPicture(
            name=self.names[index],
            image=self.images[index].to("cpu", torch.float32),
            faces=faces,
            given=given,
            pose=pose,
            generated=[image.to("cpu", torch.float32) for image in self.generated],
        )

    def all_masks(self, neck: bool) -> bool:
        """Whether every needed mask is connected, so that no parsing is needed."""
        return bool(self.face_masks and self.human_masks and (self.neck_masks or not neck))


@dataclass
class OpenedModels:
    """The opened networks. idle: nothing will be painted."""

    analyzer: FaceAnalyzer
    fusion: fusion.FaceFusion | None
    notes: list[str] = field(default_factory=list)
    idle: bool = False


def open_detector_only(choice: str, face_model: FaceDetectionModel | None, inputs: InpaintInputs) -> OpenedModels:
    """Check the pictures and open the detector only, where nothing will be painted. Raises BadInput, WeightsError."""
    inputs.check()
    detector = _detector(choice, face_model)
    return OpenedModels(FaceAnalyzer(detector), None, idle=True)


def open_models(
    choice: str, face_model: FaceDetectionModel | None, inputs: InpaintInputs, *, neck: bool, fuse: bool, enhance: bool
) -> OpenedModels:
    """Check the pictures and open the networks that analyse them. `face_model` is the host's FACE_DETECTION_MODEL or None.

    Raises BadInput, WeightsError.
    """
    opened = open_detector_only(choice, face_model, inputs)
    parser = None if inputs.all_masks(neck) else HumanParser(models.open_network("m2fp"))
    landmarker = _landmarker(face_model)
    fuser = fusion.open_fusion(enhance) if fuse else None
    notes = [f"Landmarks: {landmarker.name}."] if landmarker else []
    if parser is None:
        notes.append("The generated faces are assumed to have the shape of those in the picture: the parsing network was not needed.")
    return OpenedModels(FaceAnalyzer(opened.analyzer.detector, landmarker, parser), fuser, notes)


def find_known(inputs: InpaintInputs, persons: Sequence[Person], how: Assign, opened: OpenedModels) -> list[list[Face]]:
    """The faces of every picture from left to right, with embeddings where persons are matched by likeness."""
    found = find_faces(list(inputs.images), opened.analyzer.detector, inputs.faces, list(inputs.names))
    faces = [left_to_right(picture.faces) for picture in found.pictures]
    compared = how in (Assign.AUTO, Assign.LIKENESS) and not opened.idle
    if compared and any(person.embedding is not None for person in persons):
        return _embedded(inputs.images, faces, how, opened)
    return faces


def _embedded(images: Sequence[torch.Tensor], faces: list[list[Face]], how: Assign, opened: OpenedModels) -> list[list[Face]]:
    if all(face.embedding is not None for some in faces for face in some):
        return faces
    try:
        recognition = FaceRecognition(models.open_network("rts"))
    except MissingWeights as missing:
        if how is Assign.LIKENESS:
            raise
        opened.notes.append(f"Likeness was not compared. {missing}")
        return faces
    return [_with_embeddings(recognition, image, some) for image, some in zip(images, faces)]


def _with_embeddings(recognition: FaceRecognition, image: torch.Tensor, faces: list[Face]) -> list[Face]:
    able = [index for index, face in enumerate(faces) if face.points is not None]
    found = with_embeddings(recognition, [image] * len(able), [faces[index] for index in able])
    return updated(faces, dict(zip(able, found)))


def _detector(choice: str, face_model: FaceDetectionModel | None) -> Detector:
    if choice != MESH:
        return open_detector(choice)
    if face_model is None:
        raise BadInput(f"The detector {MESH} needs a FACE_DETECTION_MODEL. Connect ComfyUI's own loader, or choose another detector.")
    return MeshDetector(face_model)


def _landmarker(face_model: FaceDetectionModel | None) -> Landmarker | None:
    """The best available source of landmarks."""
    if face_model is not None:
        return MediaPipe(face_model)
    try:
        return Landmarks98(landmarks98.Landmarks98(models.open_network("sadtalker_fan")))
    except MissingWeights:
        return None
