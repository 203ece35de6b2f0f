"""FaceChain's inpainting of one person onto faces: pose-guided generation, warping, repainting, refinement, fusion.

Everything happens on square crops of one size. All crops of a person run through a stage together, since they share a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...geometry import affine
from ...host.sampling import Control, DiffusionSampler, InpaintInput, SamplingSettings, Text
from ...perception.landmarks import five_points
from ...types import Face
from ..fusion import pasting
from ..fusion.face_fusion import FaceFusion, SourceFace, TargetFace
from . import geometry, masks
from .control_pictures import face_control
from .targets import FaceAnalyzer, Regions, Target

STAGE_STRIDE = 1_000_003


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
    """The two CONTROL_NETs."""

    pose: object
    canny: object


@dataclass(frozen=True)
class FusionSource:
    """The person's face, read from a photograph for the face fusion."""

    fusion: FaceFusion
    source: SourceFace


@dataclass
class FaceJob:
    """One face in one variant of the picture, and its state.

    crop: of the picture [S, S, 3]. generated: the picture of stage 1, of any size; given: it is the user's and is not fused.
    five [5, 2], landmarks [70, 2] and warped [S, S]: that face brought onto the picture's, in pixels of the crop. result
    [S, S, 3], new where painted [S, S] is 1. problem: why it cannot be edited.
    """

    target: Target
    variant: int
    seed: int
    crop: torch.Tensor
    generated: torch.Tensor | None = None
    given: bool = False
    five: np.ndarray | None = None
    landmarks: np.ndarray | None = None
    warped: torch.Tensor | None = None
    result: torch.Tensor | None = None
    painted: torch.Tensor | None = None
    problem: str = ""


class TwoStage:
    """The stages for one person. `likeness` is None where no face is fused."""

    def __init__(
        self, sampler: DiffusionSampler, text: Text, nets: Nets, analyzer: FaceAnalyzer, likeness: FusionSource | None, settings: Settings
    ):
        self._sampler, self._text, self._nets = sampler, text, nets
        self._analyzer, self._likeness, self._settings = analyzer, likeness, settings

    def run(self, jobs: Sequence[FaceJob]) -> None:
        """Fill `result` of all jobs, or their `problem`."""
        self._generate([job for job in jobs if not job.given])
        ready = self._place(jobs)
        if not ready:
            return
        self._inpaint(ready)
        if self._settings.refine or self._likeness:
            seen = self._regions(ready)
            if self._settings.refine:
                self._refine(ready, seen)
            if self._likeness:
                self._fuse_results(ready, seen)

    def _generate(self, jobs: Sequence[FaceJob]) -> None:
        """Stage 1: a new picture of the person, in the pose of the picture."""
        size = self._settings.size
        latents = []
        for some in _chunks(jobs, self._settings.batch):
            poses = torch.stack([job.target.pose_control(size) for job in some])
            control = Control(self._nets.pose, poses, self._settings.pose_scale)
            latents.append(self._sampler.new(self._text, size, [job.seed for job in some], [control]))
        if latents:
            for job, image in zip(jobs, self._sampler.decode(torch.cat(latents))):
                job.generated = image

    def _place(self, jobs: Sequence[FaceJob]) -> list[FaceJob]:
        """Align the generated faces to those of the picture; returns the jobs for which that was possible."""
        faces = self._analyzer.largest([job.generated for job in jobs])
        for job, face in zip(jobs, faces):
            if face is None:
                job.problem = f"no face was found in the {'given' if job.given else 'generated'} stage-1 picture"
        found = [(job, face) for job, face in zip(jobs, faces) if face is not None]
        regions = self._generated_masks(found)
        if self._likeness:
            self._fuse_generated(found, regions)
        landmarks = self._analyzer.landmarks([job.generated for job, _ in found], [face for _, face in found]) if found else []
        for (job, face), mask, points in zip(found, regions, landmarks):
            _bring(job, face, mask, points, self._settings.size)
        return [job for job, _ in found]

    def _generated_masks(self, found: list[tuple[FaceJob, Face]]) -> list[torch.Tensor]:
        """The face masks of the generated pictures; from the picture's face where there is no parser or it finds nothing."""
        if self._analyzer.parser and found:
            seen = [region.face for region in self._analyzer.regions([job.generated for job, _ in found])]
        else:
            seen = [None] * len(found)
        return [mask if mask is not None and mask.any() else _mask_from_target(*pair) for pair, mask in zip(found, seen)]

    def _fuse_generated(self, found: list[tuple[FaceJob, Face]], regions: list[torch.Tensor]) -> None:
        fresh = [(job, face, region) for (job, face), region in zip(found, regions) if not job.given]
        images = self._fused([job.generated for job, _, _ in fresh], [face for _, face, _ in fresh], [region for *_, region in fresh])
        for (job, _, _), image in zip(fresh, images):
            job.generated = image

    def _inpaint(self, jobs: list[FaceJob]) -> None:
        """Stage 2: repaint the face, guided by the landmarks of the generated one and by the edges around it."""
        settings = self._settings
        paint, hidden = zip(*(self._paint_masks(job) for job in jobs))
        crops = [job.crop for job in jobs]
        edges = [masks.edges(image, mask) for image, mask in zip(crops, hidden)]
        poses = [face_control(job.landmarks, job.five, settings.size) for job in jobs]
        scales = (settings.pose_scale, settings.canny_scale)
        humans = [job.target.regions.human for job in jobs]
        for job, image in zip(jobs, self._repaint(jobs, crops, paint, (poses, edges), scales, settings.strength, humans, 1)):
            job.result = image
        _remember(jobs, paint)

    def _paint_masks(self, job: FaceJob) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the crop is repainted, and where its edges are ignored."""
        regions, eyes = job.target.regions, geometry.eye_line(job.target.five)
        neck = regions.neck if self._settings.neck else None
        paint = masks.repaint(regions.face, masks.PAINT_GROWTH, masks.PAINT_FIRST_GROWTH, eyes, job.warped, neck)
        return paint, masks.repaint(regions.face, masks.EDGE_GROWTH, eyes=eyes, neck=neck)

    def _refine(self, jobs: list[FaceJob], seen: list[Regions]) -> None:
        """Stage 3: a light second repainting, guided by body, face and all edges."""
        settings = self._settings
        images = [job.result for job in jobs]
        paint = [masks.repaint(region.face, masks.REFINE_GROWTH) for region in seen]
        controls = ([self._full_pose(job) for job in jobs], [masks.edges(image) for image in images])
        scales = (settings.refine_scale, settings.refine_scale)
        humans = [region.human for region in seen]
        for job, image in zip(jobs, self._repaint(jobs, images, paint, controls, scales, settings.refine_strength, humans, 2)):
            job.result = image
        _remember(jobs, paint)

    def _full_pose(self, job: FaceJob) -> torch.Tensor:
        face = face_control(job.landmarks, job.five, self._settings.size, job.target.body)
        return face if job.target.drawing is None else torch.maximum(face, job.target.drawing)

    def _repaint(self, jobs, images, paint, controls, scales, strength: float, humans, stage: int) -> list[torch.Tensor]:
        """One repainting of all crops; outside people the VAE's round-trip error is cancelled."""
        stacked = torch.stack(list(images))
        encoded = self._sampler.encode(stacked)
        small = torch.stack([masks.latent_mask(mask, self._sampler.base.factor) for mask in paint])
        latents = []
        for index in _chunks(range(len(jobs)), self._settings.batch):
            pose, canny = (torch.stack([pictures[i] for i in index]) for pictures in controls)
            nets = [Control(self._nets.pose, pose, scales[0]), Control(self._nets.canny, canny, scales[1])]
            start = InpaintInput(stacked[index], encoded[index], small[index])
            seeds = [jobs[i].seed + stage * STAGE_STRIDE for i in index]
            latents.append(self._sampler.repaint(self._text, start, seeds, strength, nets))
        painted, plain = self._sampler.decode(torch.cat(latents)), self._sampler.decode(encoded)
        return [masks.add_back(*three, masks.soft_human(human)) for *three, human in zip(painted, stacked, plain, humans)]

    def _regions(self, jobs: list[FaceJob]) -> list[Regions]:
        """Face and people in the results; those of the picture where there is no parser or it finds no face."""
        if not self._analyzer.parser:
            return [job.target.regions for job in jobs]
        seen = self._analyzer.regions([job.result for job in jobs])
        return [region if region.face.any() else job.target.regions for job, region in zip(jobs, seen)]

    def _fuse_results(self, jobs: list[FaceJob], seen: list[Regions]) -> None:
        images = [job.result for job in jobs]
        found = self._analyzer.largest(images)
        faces = [face or Face(_box_of(job), 0.0, job.five) for job, face in zip(jobs, found)]
        for job, image in zip(jobs, self._fused(images, faces, [region.face for region in seen])):
            job.result = image
        _remember(jobs, [masks.fusion_region(region.face) for region in seen])

    def _fused(self, images: list[torch.Tensor], faces: list[Face], regions: list[torch.Tensor]) -> list[torch.Tensor]:
        """The person's face fused into `images`, inside the grown face masks."""
        targets = [TargetFace(index, face.points, min(face.width, face.height)) for index, face in enumerate(faces)]
        fused = self._likeness.fusion.replace(images, targets, self._likeness.source, self._settings.enhance)
        return [pasting.within(masks.fusion_region(region), new, old) for region, new, old in zip(regions, fused, images)]


def steps_of(count: int, given: bool, settings: Settings, schedule: SamplingSettings) -> int:
    """The total number of sampling steps for `count` crops of one person."""
    chunks = -(-count // settings.batch)
    steps = (0 if given else schedule.steps) + schedule.kept(settings.strength)
    return chunks * (steps + (schedule.kept(settings.refine_strength) if settings.refine else 0))


def _bring(job: FaceJob, face: Face, mask: torch.Tensor, landmarks: np.ndarray | None, size: int) -> None:
    """Align the generated face to the picture's by a similarity: its points, landmarks and mask."""
    both = landmarks is not None and job.target.landmarks is not None
    points = five_points(landmarks) if both else face.points
    matrix = affine.similarity_transform(points, job.target.five if both or job.target.points is None else job.target.points)
    job.five = affine.transform_points(points, matrix)
    job.landmarks = None if landmarks is None else affine.transform_points(landmarks, matrix)
    job.warped = geometry.warp_mask(geometry.face_only(mask, face.box), matrix, size)


def _remember(jobs: Sequence[FaceJob], paint: Sequence[torch.Tensor]) -> None:
    for job, mask in zip(jobs, paint):
        job.painted = mask if job.painted is None else torch.maximum(job.painted, mask)


def _box_of(job: FaceJob) -> np.ndarray:
    """The box of the picture's face, in pixels of the crop."""
    target = job.target
    return affine.transform_points(target.face.box.reshape(2, 2), target.square.to_crop(len(job.crop))).reshape(4)


def _mask_from_target(job: FaceJob, face: Face) -> torch.Tensor:
    """The shape of the picture's face, placed on the generated one."""
    matrix = affine.similarity_transform(job.target.five, face.points)
    return affine.warp(job.target.regions.face, matrix, tuple(job.generated.shape[:2]))


def _chunks(items: Sequence, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
