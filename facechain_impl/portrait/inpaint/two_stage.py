"""FaceChain's inpainting of one person onto faces: pose-steered generation, warping, repainting, refinement, fusion.

Everything happens on square crops of one size. All crops of a person go through a stage together, since they share a model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...geometry import affine
from ...host.sampling import Control, Painter, Schedule, Start, Text
from ...types import Face
from ..fusion import pasting
from ..fusion.face_fusion import FaceFusion, User
from ..fusion.face_fusion import Target as FusionTarget
from . import geometry, masks
from .landmarks import face_control, five_of
from .targets import Regions, Sight, Target

STAGE_STRIDE = 1_000_003


@dataclass(frozen=True)
class Settings:
    """Numbers of the published code. size: side of the crops in pixels. batch: crops that are sampled at once."""

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
class Likeness:
    """The face of the person, as the face fusion reads it from a photograph."""

    fusion: FaceFusion
    user: User


@dataclass
class Work:
    """One face in one variant of the picture, and what has become of it.

    template: its crop [S, S, 3]. generated: the picture of stage 1, of any size; given: it came from the user and is not fused.
    five [5, 2], landmarks [70, 2] and warped [S, S]: that face brought onto the picture's, in pixels of the crop. result
    [S, S, 3], new where painted [S, S] is 1. problem: why it cannot be edited.
    """

    target: Target
    variant: int
    seed: int
    template: torch.Tensor
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

    def __init__(self, painter: Painter, text: Text, nets: Nets, sight: Sight, likeness: Likeness | None, settings: Settings):
        self._painter, self._text, self._nets = painter, text, nets
        self._sight, self._likeness, self._settings = sight, likeness, settings

    def run(self, works: Sequence[Work]) -> None:
        """Fill `result` of all works, or their `problem`."""
        self._generate([work for work in works if not work.given])
        ready = self._place(works)
        if not ready:
            return
        self._inpaint(ready)
        if self._settings.refine or self._likeness:
            seen = self._regions(ready)
            if self._settings.refine:
                self._refine(ready, seen)
            if self._likeness:
                self._fuse_results(ready, seen)

    def _generate(self, works: Sequence[Work]) -> None:
        """Stage 1: a new picture of the person, in the pose of the picture."""
        size = self._settings.size
        latents = []
        for some in _chunks(works, self._settings.batch):
            poses = torch.stack([work.target.pose_control(size) for work in some])
            control = Control(self._nets.pose, poses, self._settings.pose_scale)
            latents.append(self._painter.new(self._text, size, [work.seed for work in some], [control]))
        if latents:
            for work, image in zip(works, self._painter.decode(torch.cat(latents))):
                work.generated = image

    def _place(self, works: Sequence[Work]) -> list[Work]:
        """Bring the generated faces onto those of the picture; returns the works for which that was possible."""
        faces = self._sight.largest([work.generated for work in works])
        for work, face in zip(works, faces):
            if face is None:
                work.problem = f"no face was found in the {'given' if work.given else 'generated'} stage-1 picture"
        found = [(work, face) for work, face in zip(works, faces) if face is not None]
        regions = self._generated_masks(found)
        if self._likeness:
            self._fuse_generated(found, regions)
        landmarks = self._sight.landmarks([work.generated for work, _ in found], [face for _, face in found]) if found else []
        for (work, face), mask, points in zip(found, regions, landmarks):
            _bring(work, face, mask, points, self._settings.size)
        return [work for work, _ in found]

    def _generated_masks(self, found: list[tuple[Work, Face]]) -> list[torch.Tensor]:
        """The face masks of the generated pictures; from the picture's own face where there is no parser or it sees nothing."""
        if self._sight.parser and found:
            seen = [region.face for region in self._sight.regions([work.generated for work, _ in found])]
        else:
            seen = [None] * len(found)
        return [mask if mask is not None and mask.any() else _mask_from_target(*pair) for pair, mask in zip(found, seen)]

    def _fuse_generated(self, found: list[tuple[Work, Face]], regions: list[torch.Tensor]) -> None:
        fresh = [(work, face, region) for (work, face), region in zip(found, regions) if not work.given]
        images = self._fused([work.generated for work, _, _ in fresh], [face for _, face, _ in fresh], [region for *_, region in fresh])
        for (work, _, _), image in zip(fresh, images):
            work.generated = image

    def _inpaint(self, works: list[Work]) -> None:
        """Stage 2: the face painted anew, steered by the landmarks of the generated one and by the edges around it."""
        settings = self._settings
        paint, hidden = zip(*(self._paint_masks(work) for work in works))
        templates = [work.template for work in works]
        edges = [masks.edges(image, mask) for image, mask in zip(templates, hidden)]
        poses = [face_control(work.landmarks, work.five, settings.size) for work in works]
        scales = (settings.pose_scale, settings.canny_scale)
        humans = [work.target.regions.human for work in works]
        for work, image in zip(works, self._repaint(works, templates, paint, (poses, edges), scales, settings.strength, humans, 1)):
            work.result = image
        _remember(works, paint)

    def _paint_masks(self, work: Work) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the crop is painted anew, and where its edges do not steer."""
        regions, eyes = work.target.regions, geometry.eye_line(work.target.five)
        neck = regions.neck if self._settings.neck else None
        paint = masks.repaint(regions.face, masks.PAINT_GROWTH, masks.PAINT_FIRST_GROWTH, eyes, work.warped, neck)
        return paint, masks.repaint(regions.face, masks.EDGE_GROWTH, eyes=eyes, neck=neck)

    def _refine(self, works: list[Work], seen: list[Regions]) -> None:
        """Stage 3: a light second painting, steered by body, face and all edges."""
        settings = self._settings
        images = [work.result for work in works]
        paint = [masks.repaint(region.face, masks.REFINE_GROWTH) for region in seen]
        controls = ([self._full_pose(work) for work in works], [masks.edges(image) for image in images])
        scales = (settings.refine_scale, settings.refine_scale)
        humans = [region.human for region in seen]
        for work, image in zip(works, self._repaint(works, images, paint, controls, scales, settings.refine_strength, humans, 2)):
            work.result = image
        _remember(works, paint)

    def _full_pose(self, work: Work) -> torch.Tensor:
        face = face_control(work.landmarks, work.five, self._settings.size, work.target.body)
        return face if work.target.drawing is None else torch.maximum(face, work.target.drawing)

    def _repaint(self, works, images, paint, controls, scales, strength: float, humans, stage: int) -> list[torch.Tensor]:
        """One repainting of all crops, with what the VAE alone would change put right outside people."""
        stacked = torch.stack(list(images))
        encoded = self._painter.encode(stacked)
        small = torch.stack([masks.latent_mask(mask, self._painter.base.factor) for mask in paint])
        latents = []
        for index in _chunks(range(len(works)), self._settings.batch):
            pose, canny = (torch.stack([pictures[i] for i in index]) for pictures in controls)
            nets = [Control(self._nets.pose, pose, scales[0]), Control(self._nets.canny, canny, scales[1])]
            start = Start(stacked[index], encoded[index], small[index])
            seeds = [works[i].seed + stage * STAGE_STRIDE for i in index]
            latents.append(self._painter.repaint(self._text, start, seeds, strength, nets))
        painted, plain = self._painter.decode(torch.cat(latents)), self._painter.decode(encoded)
        return [masks.add_back(*three, masks.soft_human(human)) for *three, human in zip(painted, stacked, plain, humans)]

    def _regions(self, works: list[Work]) -> list[Regions]:
        """Face and people in the results; the picture's own where there is no parser or it sees no face."""
        if not self._sight.parser:
            return [work.target.regions for work in works]
        seen = self._sight.regions([work.result for work in works])
        return [region if region.face.any() else work.target.regions for work, region in zip(works, seen)]

    def _fuse_results(self, works: list[Work], seen: list[Regions]) -> None:
        images = [work.result for work in works]
        found = self._sight.largest(images)
        faces = [face or Face(_box_of(work), 0.0, work.five) for work, face in zip(works, found)]
        for work, image in zip(works, self._fused(images, faces, [region.face for region in seen])):
            work.result = image
        _remember(works, [masks.fusion_region(region.face) for region in seen])

    def _fused(self, images: list[torch.Tensor], faces: list[Face], regions: list[torch.Tensor]) -> list[torch.Tensor]:
        """The person's own face fused into `images`, inside the grown face masks."""
        targets = [FusionTarget(index, face.points, min(face.width, face.height)) for index, face in enumerate(faces)]
        fused = self._likeness.fusion.replace(images, targets, self._likeness.user, self._settings.enhance)
        return [pasting.within(masks.fusion_region(region), new, old) for region, new, old in zip(regions, fused, images)]


def steps_of(count: int, given: bool, settings: Settings, schedule: Schedule) -> int:
    """How many sampling steps `count` crops of one person take in all."""
    chunks = -(-count // settings.batch)
    steps = (0 if given else schedule.steps) + schedule.kept(settings.strength)
    return chunks * (steps + (schedule.kept(settings.refine_strength) if settings.refine else 0))


def _bring(work: Work, face: Face, mask: torch.Tensor, landmarks: np.ndarray | None, size: int) -> None:
    """The similarity that lays the generated face on the picture's, applied to its points, landmarks and mask."""
    both = landmarks is not None and work.target.landmarks is not None
    points = five_of(landmarks) if both else face.points
    matrix = affine.similarity(points, work.target.five if both or work.target.points is None else work.target.points)
    work.five = affine.transform(points, matrix)
    work.landmarks = None if landmarks is None else affine.transform(landmarks, matrix)
    work.warped = geometry.warp_mask(geometry.face_only(mask, face.box), matrix, size)


def _remember(works: Sequence[Work], paint: Sequence[torch.Tensor]) -> None:
    for work, mask in zip(works, paint):
        work.painted = mask if work.painted is None else torch.maximum(work.painted, mask)


def _box_of(work: Work) -> np.ndarray:
    """The box of the picture's own face, in pixels of the crop."""
    target = work.target
    return affine.transform(target.face.box.reshape(2, 2), target.square.to_crop(len(work.template))).reshape(4)


def _mask_from_target(work: Work, face: Face) -> torch.Tensor:
    """The shape of the picture's face, laid on the generated one."""
    matrix = affine.similarity(work.target.five, face.points)
    return affine.warp(work.target.regions.face, matrix, tuple(work.generated.shape[:2]))


def _chunks(items: Sequence, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
