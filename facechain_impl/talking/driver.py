"""The interface of a renderer of talking faces, so that another one can be added without changing a node."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch

from .audio import Speech
from .crop import Cut, Mode
from .faces import FaceFinder, Portrait
from .motion import Motion, MotionPlan
from .video import VideoSource

Step = Callable[[], None]
State = TypeVar("State")


@dataclass
class Subject(Generic[State]):
    """A face ready to be animated. cut: its place in the picture. state: private to the driver."""

    portrait: Portrait
    cut: Cut
    state: State


class Driver(ABC, Generic[State]):
    """Prepare once, plan the whole clip, then render it piece by piece.

    name: shown to the user. sizes: sides of the squares that it can render, size: of those that this one renders.
    """

    name: str
    sizes: tuple[int, ...]
    size: int

    @abstractmethod
    def __init__(self, size: int, mode: Mode):
        """Raises BadInput for a size that it cannot draw."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where it renders."""

    @abstractmethod
    def prepare(self, portrait: Portrait) -> Subject[State]:
        """Crop the face and keep what does not change over the clip."""

    @abstractmethod
    def steps(self, speech: Speech) -> int:
        """How often `plan` calls `step`."""

    @abstractmethod
    def plan(self, subject: Subject[State], speech: Speech, motion: Motion, step: Step) -> MotionPlan:
        """The motion of the whole clip, small in memory per frame."""

    @abstractmethod
    def automatic_batch(self) -> int:
        """Frames at a time that fit into free memory."""

    @abstractmethod
    def reference(self, source: VideoSource, finder: FaceFinder, count: int) -> torch.Tensor:
        """The motion of the face in the first `count` frames of another video, a path or a stream. Raises BadInput."""

    @abstractmethod
    def frames(self, subject: Subject[State], plan: MotionPlan, batch: int) -> Iterator[np.ndarray]:
        """The animated square, RGB uint8 [up to batch, S, S, 3], in order. Raises BadInput for a plan of another driver."""
