"""A talking clip for the nodes, from one picture and one sound, with its report."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..errors import BadInput, FaceNotFound
from ..geometry.pixels import to_bytes
from ..host.progress import Progress
from ..host.protocols import Audio, FaceLandmarks
from ..host.upscaling import UpscaleModel
from ..perception.landmarks import FIVE_POINTS
from ..perception.models import open_network
from ..types import Faces, NoFace, Report, Status
from . import pipeline
from .audio import FPS, Speech
from .crop import Mode
from .driver import Driver, Subject
from .enhance import FaceRestorer, FrameUpscaler
from .faces import FaceFinder, Portrait, from_face_landmarks
from .motion import Motion, MotionPlan
from .pipeline import Clip
from .sadtalker import SadTalker
from .video import VideoSource

DRIVERS: dict[str, type[Driver]] = {SadTalker.name: SadTalker}
FIVE_NOTE = "The 68 landmarks are a schematic face fitted to the five points. A 98-point network is more accurate."


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Another video whose motion is used: a path or a stream, and which part of the motion."""

    source: VideoSource
    pose: bool
    blink: bool


@dataclass(frozen=True, kw_only=True)
class Output:
    """enhancer: the host's UPSCALE_MODEL or None. batch: frames at a time, 0 for as many as fit. keep: return the frames too."""

    enhancer: UpscaleModel | None = None
    batch: int = 0
    keep: bool = False


class Scene:
    """A picture [1, H, W, 3] or [H, W, 3] and an AUDIO, with the driver that animates it.

    Raises BadInput for unusable input, and FaceNotFound unless `policy` says otherwise."""

    def __init__(self, image: torch.Tensor, audio: Audio, driver: Driver, finder: FaceFinder, policy: NoFace = NoFace.STOP):
        self.image, self.speech = one_picture(image), Speech(audio["waveform"], audio["sample_rate"])
        self.driver, self.finder = driver, finder
        self.portrait: Portrait | None = finder.portrait(self.image)
        self.report = Report("Talking portrait")
        if self.portrait is None and policy is NoFace.STOP:
            raise FaceNotFound(self._missing() + " Choose another detector, another face number, or a larger picture.")

    def subject(self) -> Subject:
        if self.portrait is None:
            raise FaceNotFound(self._missing())
        return self.driver.prepare(self.portrait)

    def plan(self, subject: Subject, motion: Motion, reference: Reference | None, progress: Progress) -> MotionPlan:
        if reference:
            rows = self.driver.reference(reference.source, self.finder.of_other_pictures(), self.speech.frames)
            motion = replace(motion, reference=rows, reference_pose=reference.pose, reference_blink=reference.blink)
        return self.driver.plan(subject, self.speech, motion, progress.step)

    def clip(self, subject: Subject, plan: MotionPlan, output: Output, progress: Progress) -> Clip:
        if len(plan) != self.speech.frames:
            raise BadInput(
                f"The motion plan has {len(plan)} frames, the audio has {self.speech.frames} at {FPS} per second. "
                "Connect the audio from which the plan was made."
            )
        enhancer = self._enhancer(output.enhancer)
        clip = pipeline.render(self.driver, subject, plan, self.speech, enhancer, output.batch, output.keep, progress)
        self._describe(subject, clip)
        return clip

    def without_face(self, policy: NoFace, output: Output) -> Clip | None:
        """The picture for the length of the sound, or nothing, according to the policy."""
        if policy is NoFace.SKIP:
            self.skipped()
            return None
        self.report.add("picture", Status.PASSED_THROUGH, self._missing())
        return pipeline.unchanged(to_bytes(self.image), self.speech, output.keep, Progress(self.speech.frames))

    def skipped(self) -> Report:
        self.report.add("picture", Status.SKIPPED, self._missing())
        return self.report

    def planned(self, plan: MotionPlan) -> Report:
        self.report.add("picture", Status.PLANNED, driver=self.driver.name, frames=len(plan), seconds=len(plan) / plan.fps)
        return self.report

    def _enhancer(self, model: UpscaleModel | None) -> pipeline.Finish | None:
        if model is None or not model.restores_faces:
            return FrameUpscaler(model) if model else None
        return FaceRestorer(model, open_network("parsenet"), self.finder.points)

    def _missing(self) -> str:
        number = self.finder.number
        wanted = "No face was found in the picture." if number == 1 else f"The picture has fewer than {number} faces."
        return f"{wanted} It has {self.image.shape[1]}x{self.image.shape[0]} pixels."

    def _describe(self, subject: Subject, clip: Clip) -> None:
        left, top, right, bottom = subject.cut.box
        self.report.add(
            "picture",
            Status.ANIMATED,
            driver=self.driver.name,
            landmarks=subject.portrait.source,
            face=f"{right - left}x{bottom - top} at {left},{top}",
            video=f"{clip.size[0]}x{clip.size[1]}",
            frames=clip.count,
            seconds=clip.count / FPS,
        )
        self.report.notes += clip.notes
        if subject.portrait.source == FIVE_POINTS:
            self.report.notes.append(FIVE_NOTE)


def open_driver(name: str, size: int, mode: str) -> Driver:
    """The driver called `name`. Raises BadInput when it does not render that size."""
    return DRIVERS[name](size, Mode(mode))


def known_faces(image: torch.Tensor, faces: Faces | None, face_landmarks: FaceLandmarks | None) -> Faces | None:
    """Faces from either input, FACECHAIN_FACES first; None where both are empty."""
    if faces is not None or face_landmarks is None:
        return faces
    return from_face_landmarks(face_landmarks, one_picture(image))


def one_picture(image: torch.Tensor) -> torch.Tensor:
    """[1, H, W, C] as [H, W, 3]. Raises BadInput for several pictures."""
    if image.ndim == 4 and len(image) != 1:
        raise BadInput(f"{len(image)} pictures are connected; one portrait is expected. Pick one of them first.")
    return (image[0] if image.ndim == 4 else image)[..., :3]


def angles(text: str, name: str) -> tuple[float, ...]:
    """Degrees separated by commas or spaces. Raises BadInput."""
    words = text.replace(",", " ").split()
    try:
        return tuple(float(word) for word in words)
    except ValueError as error:
        raise BadInput(f"{name} is {text!r}; numbers of degrees are expected, such as '0, 20, -20'. Empty keeps the motion.") from error


def progress_for(driver: Driver, speech: Speech) -> Progress:
    return Progress(driver.steps(speech) + speech.frames)
