"""From photographs of a person to training crops: turned upright, cropped, retouched, on white; doubtful ones are left out.

The steps and their numbers are FaceChain's. Except detection, rotation and cropping, a step runs only when its network is open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from ..errors import FaceNotFound
from ..geometry import crop
from ..geometry.affine import WHITE, invert, scale_matrix, warp_smooth
from ..geometry.faces import moved
from ..geometry.masks import head_mask
from ..geometry.pixels import check_all, on_white, size_of
from ..host.memory import to_output
from ..host.progress import Progress
from ..perception.detection import Detector
from ..perception.faces import MAIN_FACE_RATIO, find_faces, largest
from ..perception.landmark_confidence import LandmarkConfidence
from ..perception.models import open_network, open_session, require
from ..perception.parsing import HumanParser
from ..perception.retinaface import RetinaFace
from ..perception.retouch import SkinRetouch, open_retouch
from ..perception.rotation import PhotoRotation, rotate
from ..types import Face, Faces, NoFace, Picture, Report, Status, digest_of
from ..weights import uses

LOOK_AGAIN_SIDE = 1024
CHUNK = 8
MIN_CONFIDENCE = 0.855
ENLARGED = 1.25
"""Pixels of a crop for each pixel of its photo from which the report says so."""
NEEDS = {"rotation": uses.ROTATION, "retouch": uses.RETOUCH, "white": uses.HEAD_MASK, "confidence": uses.CONFIDENCE}


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Which of the optional steps run. main_face: how many times as large as the next face the main one must be; 1 takes the largest.
    size: side of the crops in pixels, 0 for what the photos show."""

    rotation: bool = False
    retouch: bool = False
    white: bool = False
    confidence: bool = False
    min_confidence: float = MIN_CONFIDENCE
    main_face: float = MAIN_FACE_RATIO
    size: int = crop.CROP_SIZE


@dataclass
class Networks:
    """The networks of the optional steps, None for a step that does not run."""

    rotation: PhotoRotation | None = None
    retouch: SkinRetouch | None = None
    retouch_faces: RetinaFace | None = None
    parser: HumanParser | None = None
    confidence: LandmarkConfidence | None = None


@dataclass
class Cut:
    """The crop [size, size, 3] of a photograph. face: the main one, in pixels of the crop; to_crop [3, 3]: turned photograph -> crop."""

    image: torch.Tensor
    face: Face
    to_crop: np.ndarray

    @property
    def scale(self) -> float:
        """Pixels of the crop for each pixel of the photograph."""
        return float(np.sqrt(abs(np.linalg.det(self.to_crop[:2, :2]))))


@dataclass
class Photo:
    """A photograph being prepared. turned: the picture in use, `to_turned` [3, 3] original -> turned; to_crop [3, 3] turned -> crop."""

    name: str
    image: torch.Tensor
    turned: torch.Tensor
    to_turned: np.ndarray = field(default_factory=lambda: np.eye(3))
    faces: Sequence[Face] = ()
    face: Face | None = None
    angle: float = 0.0
    cut: Cut | None = None
    confidence: float | None = None
    reason: str = ""
    filtered: bool = False

    @property
    def is_good(self) -> bool:
        return not self.reason


class Frame(NamedTuple):
    """What is cut out of a photograph: the main face in pixels of the turned picture and of its upright square, and the window there."""

    photo: Photo
    main: Face
    face: Face
    square: crop.Upright
    window: crop.Window


@dataclass
class Prepared:
    """crops: [size, size, 3] each. faces: of all photographs, the chosen faces with their crop_transform, and of the crops."""

    crops: list[torch.Tensor]
    faces: Faces
    photos: list[Photo]


def open_networks(stages: Stages) -> Networks:
    """What `stages` need. Raises MissingWeights naming every missing file, or WeightsError."""
    require(*(name for stage, need in NEEDS.items() if getattr(stages, stage) for name in need.files))
    networks = Networks()
    if stages.rotation:
        networks.rotation = PhotoRotation(open_session("rot_bgr"))
    if stages.retouch:
        networks.retouch, networks.retouch_faces = open_retouch(), RetinaFace(open_network("retinaface"), bgr=True)
    if stages.white:
        networks.parser = HumanParser(open_network("m2fp"))
    if stages.confidence:
        networks.confidence = LandmarkConfidence(open_network("flcm"))
    return networks


class Preparation:
    """Runs the steps over all photographs, one network after the other."""

    def __init__(self, detector: Detector, stages: Stages, networks: Networks | None = None):
        self._detector, self._stages, self._networks = detector, stages, networks or Networks()
        self._size = stages.size or crop.CROP_SIZE

    def run(self, images: list[torch.Tensor], names: list[str], known: Faces | None = None, policy: NoFace = NoFace.STOP) -> Prepared:
        """Crop the main face of each of `images` [H, W, 3]. Raises FaceNotFound according to `policy`, BadInput for unusable pictures."""
        check_all(images, names)
        images = [image.detach().to("cpu", torch.float32) for image in images]
        photos = [Photo(name, image, image) for name, image in zip(names, images)]
        steps = self._steps(known)
        progress = Progress(len(steps))
        for step in steps:
            good = [photo for photo in photos if photo.is_good]
            if good:
                step(good)
            judge(photos, policy)
            progress.step()
        return self._prepared(photos, policy)

    def _steps(self, known: Faces | None) -> list[Callable[[list[Photo]], None]]:
        networks = self._networks
        steps: list[Callable[[list[Photo]], None]] = [partial(self._find, known), self._cut]
        if networks.rotation:
            steps.insert(0, partial(self._turn, networks.rotation))
        if networks.retouch and networks.retouch_faces:
            steps.append(partial(self._retouch, networks.retouch, networks.retouch_faces))
        if networks.parser:
            steps.append(partial(self._whiten, networks.parser))
        if networks.confidence:
            steps.append(partial(self._filter, networks.confidence))
        return steps

    @staticmethod
    def _turn(rotation: PhotoRotation, photos: list[Photo]) -> None:
        quarters = rotation.quarter_turns([photo.image for photo in photos])
        for photo, count in zip(photos, quarters):
            photo.turned, photo.to_turned = rotate(photo.image, count), quarter_matrix(size_of(photo.image), count)

    def _find(self, known: Faces | None, photos: list[Photo]) -> None:
        """All faces and the main one. Known faces of a photograph that has been turned are turned with it."""
        if not self._detector.redetects_after_rotation:
            known = find_faces([photo.image for photo in photos], self._detector, known)
        pictures = [known.of(photo.image) if known is not None else None for photo in photos]
        for photo, picture in zip(photos, pictures):
            if picture:
                photo.faces = [moved(face, photo.to_turned) for face in picture.faces]
        new = [photo for photo, picture in zip(photos, pictures) if picture is None]
        for photo, faces in zip(new, self._detector.detect([photo.turned for photo in new]) if new else []):
            photo.faces = faces
        for photo in photos:
            photo.face, photo.reason = self._main(photo.faces, "")

    def _main(self, faces: Sequence[Face], where: str) -> tuple[Face | None, str]:
        face = largest(faces, self._stages.main_face)
        if face:
            return face, ""
        if not faces:
            return None, f"no face was found{where}"
        return None, (
            f"{len(faces)} faces were found{where} and the largest is not {self._stages.main_face:g} times as large as the next. "
            "Crop the photo to one person, or lower main_face_ratio."
        )

    def _cut(self, photos: list[Photo]) -> None:
        frames = [frame for start in range(0, len(photos), CHUNK) for frame in self._frames(photos[start : start + CHUNK])]
        self._size = self._stages.size or crop.size_for([frame.window for frame in frames])
        for photo, main, face, square, window in frames:
            enlarge = window.matrix(self._size)
            to_crop = enlarge @ square.matrix
            in_crop = replace(moved(main, to_crop), box=moved(face, enlarge).box)
            photo.cut = Cut(crop.cut(photo.turned, to_crop, self._size), in_crop, to_crop)

    def _frames(self, photos: list[Photo]) -> list[Frame]:
        found = [(photo, photo.face) for photo in photos if photo.face is not None]
        squares = []
        for photo, main in found:
            photo.angle = 0.0 if main.points is None else crop.angle_of(main.points)
            squares.append(crop.upright(size_of(photo.turned), photo.angle))
        faces = self._upright_faces(found, squares)
        return [
            Frame(photo, main, face, square, crop.window_of(face.box))
            for (photo, main), square, face in zip(found, squares, faces)
            if face is not None
        ]

    def _upright_faces(self, found: list[tuple[Photo, Face]], squares: list[crop.Upright]) -> list[Face | None]:
        """The main face of each photograph on its upright square, None (and a reason) where it is not found there again."""
        if not self._detector.redetects_after_rotation:
            return [moved(main, square.matrix) for (_, main), square in zip(found, squares)]
        scales = [LOOK_AGAIN_SIDE / square.side for square in squares]
        size = (LOOK_AGAIN_SIDE, LOOK_AGAIN_SIDE)
        images = [
            warp_smooth(photo.turned, scale_matrix(scale) @ square.matrix, size, WHITE)
            for (photo, _), square, scale in zip(found, squares, scales)
        ]
        faces = []
        for (photo, _), scale, seen in zip(found, scales, self._detector.detect(images)):
            face, photo.reason = self._main(seen, " after turning the photo upright")
            faces.append(face and replace(face, box=face.box / scale))
        return faces

    @staticmethod
    def _retouch(retouch: SkinRetouch, finder: RetinaFace, photos: list[Photo]) -> None:
        cuts = _cuts(photos)
        images = [cut.image for _, cut in cuts]
        boxes = [np.array([face.box for face in faces]).reshape(-1, 4) for faces in finder.detect(images)]
        for (photo, cut), result in zip(cuts, retouch.retouch(images, boxes)):
            if result is None:
                photo.reason = "RetinaFace finds no face in the crop, so it cannot be retouched. Switch the retouch off for this photo."
            else:
                cut.image = result

    @staticmethod
    def _whiten(parser: HumanParser, photos: list[Photo]) -> None:
        cuts = _cuts(photos)
        for (photo, cut), parsing in zip(cuts, parser.parse([cut.image for _, cut in cuts])):
            parts = {label: parsing.largest(label) for label in ("Face", "Hair", "Human")}
            masks = {label.lower(): mask.numpy() for label, mask in parts.items() if mask is not None}
            try:
                if "face" not in masks:
                    raise FaceNotFound("M2FP finds no face in the crop")
                masks["head"] = head_mask(masks["face"], masks.get("hair"), masks.get("human"))
            except FaceNotFound as problem:
                photo.reason = f"{problem} Switch white_background off for this photo."
                continue
            cut.face = replace(cut.face, masks=masks)
            cut.image = on_white(cut.image, torch.from_numpy(masks["head"]))

    def _filter(self, confidence: LandmarkConfidence, photos: list[Photo]) -> None:
        cuts = _cuts(photos)
        scores = confidence.score([cut.image for _, cut in cuts], [cut.face.box for _, cut in cuts])
        for (photo, _), score in zip(cuts, scores):
            photo.confidence = score
            photo.filtered = not score >= self._stages.min_confidence
            if photo.filtered:
                photo.reason = f"landmark confidence {score:.3f} is below {self._stages.min_confidence:g}: the face is hidden or unclear"

    def _prepared(self, photos: list[Photo], policy: NoFace) -> Prepared:
        kept = [photo for photo in photos if photo.is_good or (policy is NoFace.PASS and not photo.filtered)]
        if not kept:
            raise FaceNotFound(f"No photo is left: {_reasons(photos)}. Use photos that show the face large, alone and from the front.")
        crops = [to_output(_shown(photo, self._size)) for photo in kept]
        pictures = tuple(_picture(photo, self._detector.name) for photo in photos)
        return Prepared(crops, Faces(pictures, tuple(map(_crop_picture, kept, crops))), photos)


def _cuts(photos: list[Photo]) -> list[tuple[Photo, Cut]]:
    return [(photo, photo.cut) for photo in photos if photo.cut is not None]


def _shown(photo: Photo, size: int) -> torch.Tensor:
    """The crop of a good photograph, all of any other one."""
    if photo.cut is not None and photo.is_good:
        return photo.cut.image
    return crop.cut(photo.image, crop.contain(size_of(photo.image), size), size)


def judge(photos: list[Photo], policy: NoFace) -> None:
    """Raise FaceNotFound when a photograph has no usable face and the policy is Stop."""
    missing = [photo for photo in photos if photo.reason and not photo.filtered]
    if policy is NoFace.STOP and missing:
        raise FaceNotFound(
            f"{len(missing)} of {len(photos)} photos have no usable face: {_reasons(missing)}. "
            "Take them out, or set no_face to Skip or Pass through."
        )


def fill(report: Report, prepared: Prepared, policy: NoFace) -> None:
    """One row of `report` per photograph, and a note about crops that show less than their size promises."""
    for photo in prepared.photos:
        values: dict[str, float] = {"faces": len(photo.faces)}
        if photo.face is not None and photo.cut is not None:
            longer = photo.face.longer_side
            values |= {"face_px": round(longer), "turned": round(float(np.degrees(photo.angle)), 1), "score": photo.face.score}
        if photo.confidence is not None:
            values["confidence"] = photo.confidence
        passed = policy is NoFace.PASS and not photo.filtered
        status = Status.ALIGNED if photo.is_good else Status.PASSED_THROUGH if passed else Status.REJECTED
        report.add(photo.name, status, photo.reason, **values)
    _note_enlarged(report, prepared)


def _note_enlarged(report: Report, prepared: Prepared) -> None:
    cuts = [photo.cut for photo in prepared.photos if photo.cut is not None and photo.is_good]
    enlarged = [cut.scale for cut in cuts if cut.scale > ENLARGED]
    if enlarged:
        side = len(cuts[0].image)
        report.notes.append(
            f"{len(enlarged)} of {len(cuts)} crops of {side} pixels are enlarged, up to {max(enlarged):.1f} times: their photos show the "
            "face smaller than that. Photos taken closer, or in full size, train sharper faces."
        )


def quarter_matrix(size: tuple[int, int], quarters: int) -> np.ndarray:
    """(height, width) picture -> the same picture after `quarters` clockwise quarter turns [3, 3]."""
    matrix, (height, width) = np.eye(3), size
    for _ in range(quarters % 4):
        matrix = np.array([[0, -1, height - 1], [1, 0, 0], [0, 0, 1.0]]) @ matrix
        height, width = width, height
    return matrix


def _reasons(photos: list[Photo]) -> str:
    return "; ".join(f"{photo.name}: {photo.reason}" for photo in photos)


def _picture(photo: Photo, detector: str) -> Picture:
    """What is known about the original photograph."""
    back = invert(photo.to_turned)
    to_crop = None if photo.cut is None else photo.cut.to_crop @ photo.to_turned
    faces = tuple(
        replace(moved(face, back), crop_transform=to_crop) if face is photo.face and to_crop is not None else moved(face, back)
        for face in photo.faces
    )
    return Picture(faces, size_of(photo.image), digest_of(photo.image), photo.name, detector)


def _crop_picture(photo: Photo, image: torch.Tensor) -> Picture:
    """What is known about the crop: the main face first, and the others inside it."""
    size, digest, cut = size_of(image), digest_of(image), photo.cut
    source = digest_of(photo.image)
    if cut is None or not photo.is_good:
        return Picture((), size, digest, photo.name, source=source)
    others = [moved(face, cut.to_crop) for face in photo.faces if face is not photo.face]
    inside = [face for face in others if _is_inside(face, size)]
    return Picture((cut.face, *inside), size, digest, photo.name, source=source)


def _is_inside(face: Face, size: tuple[int, int]) -> bool:
    """Whether the centre of `face` is in a (height, width) picture."""
    x, y = (face.box[:2] + face.box[2:]) / 2
    return bool(0 <= x < size[1] and 0 <= y < size[0])
