"""The pipeline of a talking clip: memory does not grow with its length, except for requested frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..host import folders
from ..host.progress import Progress
from . import enhance
from .audio import Speech
from .driver import Driver, Subject
from .motion import MotionPlan
from .paste import PoissonPaste
from .renderer import finished_size, resized
from .video import VideoWriter

Finish = Callable[[np.ndarray], np.ndarray]


@dataclass
class Clip:
    """A finished file. frames: RGB float32 [T, H, W, 3] where requested. size: (width, height)."""

    path: Path
    size: tuple[int, int]
    count: int
    notes: list[str]
    frames: torch.Tensor | None = None


@dataclass
class Stage:
    """The processing of the animated square before it is written. size: (width, height) of the result."""

    finish: Finish
    size: tuple[int, int]

    def enhanced(self, enhancer: Finish | None) -> Stage:
        if enhancer is None:
            return self
        finish, (width, height) = self.finish, self.size
        return Stage(lambda faces: enhancer(finish(faces)), (width * enhance.SCALE, height * enhance.SCALE))


def stage(subject: Subject, driver: Driver, enhancer: Finish | None) -> Stage:
    """Paste the square into the whole picture, or restore the crop's aspect ratio, then enhance it."""
    if subject.cut.mode.pastes:
        work = Stage(PoissonPaste(subject.portrait.pixels, subject.cut.box, driver.device), subject.portrait.size)
    else:
        size = finished_size(subject.cut.aspect, driver.size)
        work = Stage(lambda faces: resized(faces, size), size)
    return work.enhanced(enhancer)


def render(
    driver: Driver, subject: Subject, plan: MotionPlan, speech: Speech, enhancer: Finish | None, batch: int, keep: bool, progress: Progress
) -> Clip:
    """Render a plan. batch: frames at a time, 0 for as many as fit. keep: also return the frames, in memory."""
    work = stage(subject, driver, enhancer)
    frames = driver.frames(subject, plan, batch or driver.automatic_batch())
    return write(map(work.finish, frames), work.size, len(plan), speech, keep, progress)


def unchanged(pixels: np.ndarray, speech: Speech, keep: bool, progress: Progress) -> Clip:
    """The picture, uint8 [H, W, 3], for the length of the sound."""
    pictures = (pixels[None] for _ in range(speech.frames))
    return write(pictures, pixels.shape[1::-1], speech.frames, speech, keep, progress)


def write(batches: Iterable[np.ndarray], size: tuple[int, int], count: int, speech: Speech, keep: bool, progress: Progress) -> Clip:
    """Encode once, while the frames are rendered. An interruption or an error leaves no file behind."""
    writer = VideoWriter(folders.temp_folder(), size, speech.channels, speech.rate, count)
    kept = []
    with writer:
        for frames in batches:
            writer.write(frames)
            progress.step(preview=torch.from_numpy(frames[-1]).float() / 255, count=len(frames))
            if keep:
                kept.append(frames)
    whole = torch.from_numpy(np.concatenate(kept)).float() / 255 if keep else None
    return Clip(writer.path, size, count, writer.notes, whole)
