"""SadTalker as a driver: its networks, opened on first use, and their state for one face."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch

from ..errors import BadInput
from ..host.memory import ManagedModel
from ..host.progress import check_interrupt
from ..networks.sadtalker.generator import Source
from ..perception.models import open_network
from ..weights import legacy_talking
from . import motion, renderer
from .align3d import FaceCoefficients
from .audio import Speech
from .crop import Cut, Mode, cut
from .driver import Driver, Step, Subject
from .faces import FaceFinder, Portrait
from .keypoints import PointPlanner
from .motion import Motion, MotionPlan, Planner
from .renderer import FaceRenderer
from .video import VideoSource, frames_at

REFERENCE_SIDE = 256


@dataclass
class FaceState:
    """coefficients: float32 [73]. canonical: key points [1, 15, 3]. source: see the generator."""

    coefficients: torch.Tensor
    canonical: torch.Tensor
    source: Source


class SadTalker(Driver[FaceState]):
    """The published networks for squares of `size` pixels, 256 or 512. The mapping network depends on the mode."""

    name, sizes = "SadTalker", (256, 512)

    def __init__(self, size: int, mode: Mode):
        if size not in self.sizes:
            raise BadInput(f"SadTalker renders squares of {' or '.join(map(str, self.sizes))} pixels, not of {size}.")
        self.size, self.mode = size, mode
        self.bundle = f"sadtalker_{size}"
        self.mapping_name = "sadtalker_mapping_full" if mode.pastes else "sadtalker_mapping_crop"
        self._opened: dict[str, ManagedModel] = {}

    @property
    def device(self) -> torch.device:
        return self.renderer.generator.device

    def _managed(self, name: str) -> ManagedModel:
        if name not in self._opened:
            self._opened[name] = open_part(name)
        return self._opened[name]

    @cached_property
    def coefficients(self) -> FaceCoefficients:
        return FaceCoefficients(self._managed(f"{self.bundle}.reconstruction"))

    @cached_property
    def renderer(self) -> FaceRenderer:
        return FaceRenderer(self._managed(f"{self.bundle}.keypoints"), self._managed(f"{self.bundle}.generator"))

    def prepare(self, portrait: Portrait) -> Subject[FaceState]:
        crop = cut(portrait.landmarks, portrait.size, self.mode)
        square = crop.square(portrait.pixels, self.size)
        coefficients = self.coefficients.read(square, crop.to_square(portrait.landmarks, self.size).astype(np.float32))
        canonical = self.renderer.canonical(square)
        points = PointPlanner(self._managed(self.mapping_name)).source(coefficients, canonical)
        return Subject(portrait, crop, FaceState(coefficients, canonical, self.renderer.source(square, points)))

    def steps(self, speech: Speech) -> int:
        return motion.steps(speech.frames)

    def plan(self, subject: Subject[FaceState], speech: Speech, motion: Motion, step: Step = lambda: None) -> MotionPlan:
        planner = Planner(self._managed(f"{self.bundle}.expression"), self._managed(f"{self.bundle}.pose"), step)
        return planner.plan(speech, subject.state.coefficients[:70], motion)

    def automatic_batch(self) -> int:
        return renderer.automatic_batch(self.device, self.size)

    def frames(self, subject: Subject[FaceState], plan: MotionPlan, batch: int) -> Iterator[np.ndarray]:
        state = subject.state
        points = PointPlanner(self._managed(self.mapping_name)).driving(plan, state.coefficients, state.canonical)
        return self.renderer.frames(state.source, points, batch)

    def reference(self, source: VideoSource, finder: FaceFinder, count: int) -> torch.Tensor:
        """Coefficients [up to count, 70] of the first frames of another video, taken at 25 frames a second. The face is cut where
        it is in the first frame; a frame without a face repeats the previous one. Raises BadInput when the first frame has none."""
        crop: Cut | None = None
        rows: list[torch.Tensor] = []
        for index, pixels in enumerate(frames_at(source)):
            if index == count:
                break
            check_interrupt()
            if crop is None:
                crop = self._reference_crop(pixels, finder)
            square = cv2.resize(crop.framed(pixels), (REFERENCE_SIDE, REFERENCE_SIDE))
            portrait = finder.portrait(torch.from_numpy(square).float() / 255)
            if portrait or not rows:
                rows.append(self.coefficients.read(square, portrait.landmarks if portrait else None)[:70])
            else:
                rows.append(rows[-1])
        return torch.stack(rows)

    def _reference_crop(self, pixels: np.ndarray, finder: FaceFinder) -> Cut:
        portrait = finder.portrait(torch.from_numpy(pixels).float() / 255)
        if portrait is None:
            raise BadInput(
                "No face was found in the first frame of the reference video. Let it begin with a face that looks at the camera."
            )
        return cut(portrait.landmarks, portrait.size, Mode.CROP)


def open_part(name: str) -> ManagedModel:
    """A network of SadTalker in a ManagedModel, from the bundle or from its predecessors. Raises WeightsError."""
    legacy_talking.assemble()
    return open_network(name)
