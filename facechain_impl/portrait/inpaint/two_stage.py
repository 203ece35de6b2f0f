"""FaceChain's inpainting of one person onto faces: pose-guided generation, warping, repainting, refinement, fusion.

Everything happens on square crops of one size. All crops of a person run through a stage together, since they share a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from ...geometry import affine
from ...geometry.pixels import size_of
from ...host.protocols import ControlNet
from ...host.sampling import Control, DiffusionSampler, InpaintInput, SamplingSettings, Text
from ...perception.landmarks import five_points
from ...types import Face
from ..fusion import pasting
from ..fusion.face_fusion import FaceFusion, SourceFace, target
from . import geometry, masks
from .control_pictures import face_control
from .targets import FaceAnalyzer, Regions, Target

STAGE_STRIDE = 1_000_003
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Numbers of the published code. size: side of the crops in pixels. batch: crops sampled at once."""

    size: int = 512
    strength: float = 0.65
    pose_scale: float = 1.0
    canny_scale: float = 0.2
    refine: bool = True
    refine_strength: float = 0.1
    refine_scale: float = 0.8
    enhance: bool = True
    neck: bool = False
    batch: int = 4


@dataclass(frozen=True)
class Nets:
    """The CONTROL_NETs. Without one nothing steers the pose of the face, or the edges around it."""

    pose: ControlNet | None = None
    canny: ControlNet | None = None

    def notes(self) -> list[str]:
        """What is missing, for the report."""
        missing = {
            "pose": (self.pose, "the new face may look in another direction than the one in the picture"),
            "canny": (self.canny, "the new face may not fit what surrounds it"),
        }
        return [f"No {kind} ControlNet is connected: {effect}." for kind, (network, effect) in missing.items() if network is None]


@dataclass(frozen=True)
class FusionSource:
    """The person's face, read from a photograph for the face fusion."""

    fusion: FaceFusion
    source: SourceFace


@dataclass(frozen=True)
class Painted:
    """A finished crop [S, S, 3], new where mask [S, S] is not 0. has_landmarks: whether it was steered by 70 landmarks."""

    image: torch.Tensor
    mask: torch.Tensor
    has_landmarks: bool


@dataclass
class FaceJob:
    """One face in one variant of the picture. crop: of the picture [S, S, 3]. given: a stage-1 picture of the user's, of any size.

    result: what came out, or problem: why it cannot be edited.
    """

    target: Target
    variant: int
    seed: int
    crop: torch.Tensor
    given: torch.Tensor | None = None
    result: Painted | None = None
    problem: str = ""


@dataclass
class _Found:
    """The face in a stage-1 picture [H, W, 3]."""

    job: FaceJob
    image: torch.Tensor
    face: Face


@dataclass
class _Placed:
    """A stage-1 face brought onto the picture's: five [5, 2], landmarks [70, 2] and its mask warped [S, S], in pixels of the crop.

    image [S, S, 3] is the crop so far, new where painted [S, S] is not 0.
    """

    job: FaceJob
    five: np.ndarray
    landmarks: np.ndarray | None
    warped: torch.Tensor
    image: torch.Tensor
    painted: torch.Tensor

    def paint(self, image: torch.Tensor, mask: torch.Tensor) -> None:
        self.image, self.painted = image, torch.maximum(self.painted, mask)


@dataclass(frozen=True)
class _Guide:
    """A ControlNet with a control picture [S, S, 3] for every crop."""

    network: ControlNet
    pictures: list[torch.Tensor]
    strength: float

    def control(self, index: Sequence[int]) -> Control:
        return Control(self.network, torch.stack([self.pictures[i] for i in index]), self.strength)


class TwoStage:
    """The stages for one person. `likeness` is None where no face is fused."""

    def __init__(
        self, sampler: DiffusionSampler, text: Text, nets: Nets, analyzer: FaceAnalyzer, likeness: FusionSource | None, settings: Settings
    ):
        self._sampler, self._text, self._nets = sampler, text, nets
        self._analyzer, self._likeness, self._settings = analyzer, likeness, settings

    def run(self, jobs: Sequence[FaceJob]) -> None:
        """Fill `result` of all jobs, or their `problem`."""
        placed = self._place(jobs, self._first_pictures(jobs))
        if not placed:
            return
        self._inpaint(placed)
        if self._settings.refine or self._likeness:
            seen = self._regions(placed)
            if self._settings.refine:
                self._refine(placed, seen)
            if self._likeness:
                self._fuse_results(self._likeness, placed, seen)
        for face in placed:
            face.job.result = Painted(face.image, face.painted, face.landmarks is not None)

    def _first_pictures(self, jobs: Sequence[FaceJob]) -> list[torch.Tensor]:
        """Stage 1: pictures of the person in the pose of the picture, generated where none are given."""
        generated = iter(self._generate([job for job in jobs if job.given is None]))
        return [next(generated) if job.given is None else job.given for job in jobs]

    def _generate(self, jobs: Sequence[FaceJob]) -> Sequence[torch.Tensor]:
        size = self._settings.size
        guides = self._guides(pose=((job.target.pose_control(size) for job in jobs), self._settings.pose_scale))
        latents = []
        for index in _chunks(range(len(jobs)), self._settings.batch):
            controls = [guide.control(index) for guide in guides]
            latents.append(self._sampler.new(self._text, size, [jobs[i].seed for i in index], controls))
        return list(self._sampler.decode(torch.cat(latents))) if latents else []

    def _place(self, jobs: Sequence[FaceJob], images: list[torch.Tensor]) -> list[_Placed]:
        """Align the generated faces to those of the picture; returns the jobs for which that was possible."""
        found = []
        for job, image, face in zip(jobs, images, self._analyzer.largest(images)):
            if face is None:
                job.problem = f"no face was found in the {'generated' if job.given is None else 'given'} stage-1 picture"
            else:
                found.append(_Found(job, image, face))
        regions = self._generated_masks(found)
        if self._likeness:
            self._fuse_generated(self._likeness, found, regions)
        landmarks = self._analyzer.landmarks([one.image for one in found], [one.face for one in found]) if found else []
        return [_placed(one, mask, points, self._settings.size) for one, mask, points in zip(found, regions, landmarks)]

    def _generated_masks(self, found: list[_Found]) -> list[torch.Tensor]:
        """The face masks of the generated pictures; from the picture's face where there is no parser or it finds nothing."""
        seen = self._analyzer.regions([one.image for one in found])
        return [parts.face if parts is not None and parts.face.any() else _mask_from_target(one) for one, parts in zip(found, seen)]

    def _fuse_generated(self, likeness: FusionSource, found: list[_Found], regions: list[torch.Tensor]) -> None:
        fresh = [(one, region) for one, region in zip(found, regions) if one.job.given is None]
        images, faces = [one.image for one, _ in fresh], [one.face for one, _ in fresh]
        for (one, _), image in zip(fresh, self._fused(likeness, images, faces, [region for _, region in fresh])):
            one.image = image

    def _inpaint(self, faces: list[_Placed]) -> None:
        """Stage 2: repaint the face, guided by the landmarks of the generated one and by the edges around it."""
        settings = self._settings
        paint, hidden = zip(*(self._paint_masks(face) for face in faces))
        edges = (masks.edges(face.image, mask) for face, mask in zip(faces, hidden))
        poses = (face_control(face.landmarks, face.five, settings.size) for face in faces)
        guides = self._guides(pose=(poses, settings.pose_scale), canny=(edges, settings.canny_scale))
        humans = [face.job.target.regions.human for face in faces]
        self._repaint(faces, paint, guides, settings.strength, humans, 1)

    def _paint_masks(self, face: _Placed) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the crop is repainted, and where its edges are ignored."""
        target = face.job.target
        regions, eyes = target.regions, geometry.eye_line(target.five)
        neck = regions.neck if self._settings.neck else None
        paint = masks.repaint(regions.face, masks.PAINT_GROWTH, masks.PAINT_FIRST_GROWTH, eyes, face.warped, neck)
        return paint, masks.repaint(regions.face, masks.EDGE_GROWTH, eyes=eyes, neck=neck)

    def _refine(self, faces: list[_Placed], seen: list[Regions]) -> None:
        """Stage 3: a light second repainting, guided by body, face and all edges."""
        settings = self._settings
        paint = [masks.repaint(region.face, masks.REFINE_GROWTH) for region in seen]
        poses, edges = (self._full_pose(face) for face in faces), (masks.edges(face.image) for face in faces)
        guides = self._guides(pose=(poses, settings.refine_scale), canny=(edges, settings.refine_scale))
        self._repaint(faces, paint, guides, settings.refine_strength, [region.human for region in seen], 2)

    def _full_pose(self, face: _Placed) -> torch.Tensor:
        target = face.job.target
        control = face_control(face.landmarks, face.five, self._settings.size, target.body)
        return control if target.drawing is None else torch.maximum(control, target.drawing)

    def _guides(self, **kinds: tuple[Iterable[torch.Tensor], float]) -> list[_Guide]:
        """Of control pictures and weights by the name of their ControlNet, those that are connected. Others are not drawn."""
        guides = ((getattr(self._nets, name), pictures, strength) for name, (pictures, strength) in kinds.items())
        return [_Guide(network, list(pictures), strength) for network, pictures, strength in guides if network is not None]

    def _repaint(
        self,
        faces: list[_Placed],
        paint: Sequence[torch.Tensor],
        guides: Sequence[_Guide],
        strength: float,
        humans: list[torch.Tensor],
        stage: int,
    ) -> None:
        """One repainting of all crops; outside people the VAE's round-trip error is cancelled."""
        stacked = torch.stack([face.image for face in faces])
        encoded = self._sampler.encode(stacked)
        small = torch.stack([masks.latent_mask(mask, self._sampler.base.factor) for mask in paint])
        latents = []
        for index in _chunks(range(len(faces)), self._settings.batch):
            start = InpaintInput(stacked[index], encoded[index], small[index])
            seeds = [faces[i].job.seed + stage * STAGE_STRIDE for i in index]
            controls = [guide.control(index) for guide in guides]
            latents.append(self._sampler.repaint(self._text, start, seeds, strength, controls))
        painted, plain = self._sampler.decode(torch.cat(latents)), self._sampler.decode(encoded)
        for face, mask, new, old, rebuilt, human in zip(faces, paint, painted, stacked, plain, humans):
            face.paint(masks.add_back(new, old, rebuilt, masks.soft_human(human)), mask)

    def _regions(self, faces: list[_Placed]) -> list[Regions]:
        """Face and people in the results; those of the picture where there is no parser or it finds no face."""
        seen = self._analyzer.regions([face.image for face in faces])
        return [parts if parts is not None and parts.face.any() else face.job.target.regions for face, parts in zip(faces, seen)]

    def _fuse_results(self, likeness: FusionSource, placed: list[_Placed], seen: list[Regions]) -> None:
        images = [face.image for face in placed]
        found = self._analyzer.largest(images)
        faces = [face or Face(_box_of(one.job), 0.0, one.five) for one, face in zip(placed, found)]
        fused = self._fused(likeness, images, faces, [region.face for region in seen])
        for one, image, region in zip(placed, fused, seen):
            one.paint(image, masks.fusion_region(region.face))

    def _fused(
        self, likeness: FusionSource, images: list[torch.Tensor], faces: list[Face], regions: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """The person's face fused into `images`, inside the grown face masks."""
        targets = [target(index, face) for index, face in enumerate(faces)]
        fused = likeness.fusion.replace(images, targets, likeness.source, self._settings.enhance)
        return [pasting.within(masks.fusion_region(region), new, old) for region, new, old in zip(regions, fused, images)]


def steps_of(count: int, given: bool, settings: Settings, schedule: SamplingSettings) -> int:
    """The total number of sampling steps for `count` crops of one person."""
    chunks = -(-count // settings.batch)
    steps = (0 if given else schedule.steps) + schedule.kept(settings.strength)
    return chunks * (steps + (schedule.kept(settings.refine_strength) if settings.refine else 0))


def _placed(found: _Found, mask: torch.Tensor, landmarks: np.ndarray | None, size: int) -> _Placed:
    """Align the generated face to the picture's by a similarity: its points, landmarks and mask."""
    face, target = found.face, found.job.target
    if landmarks is not None and target.landmarks is not None:
        points, goal = five_points(landmarks), target.five
    else:
        points, goal = face.five, target.five if target.points is None else target.points
    matrix = affine.similarity_transform(points, goal)
    warped = geometry.warp_mask(geometry.face_only(mask, face.box), matrix, size)
    moved = None if landmarks is None else affine.transform_points(landmarks, matrix)
    crop = found.job.crop
    return _Placed(found.job, affine.transform_points(points, matrix), moved, warped, crop, torch.zeros(size_of(crop)))


def _box_of(job: FaceJob) -> np.ndarray:
    """The box of the picture's face, in pixels of the crop."""
    target = job.target
    return affine.transform_points(target.face.box.reshape(2, 2), target.square.to_crop(len(job.crop))).reshape(4)


def _mask_from_target(found: _Found) -> torch.Tensor:
    """The shape of the picture's face, placed on the generated one."""
    target = found.job.target
    matrix = affine.similarity_transform(target.five, found.face.five)
    return affine.warp(target.regions.face, matrix, size_of(found.image))


def _chunks(items: Sequence[T], size: int) -> Iterator[list[T]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
