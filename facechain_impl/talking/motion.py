"""The motion of the face: expression, head pose and blinking, planned for the whole clip before rendering."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.signal import savgol_filter

from ..errors import BadInput
from ..host.memory import ManagedModel
from ..networks.sadtalker.audio import EXPRESSION, LATENT, POSE, SEQUENCE, ExpNet, PoseVAE
from ..types import Used, Wire, register_wire
from .audio import FPS, Speech

SPACE = "sadtalker.bfm70"
BATCH = 100  # frames per call of the audio encoders
BLINK = (0.5, 0.9, 1.0, 0.9, 0.5)
SHORTEST_GAP, LONGEST_GAP = 10, 70  # frames between two blinks
SMOOTHING = 13  # frames, second-order polynomial
STYLES = 46
AXES = ("yaw", "pitch", "roll")


@register_wire
@dataclass(frozen=True, eq=False)
class MotionPlan(Wire):
    """FACECHAIN_MOTION: one row of coefficients per frame, small enough to edit.

    coefficients: float32 [T, 70], expression 0:64, angles 64:67, translation 67:70. angles: axis -> degrees float32 [T], which
    replace the angle of that axis in the picture. space names the meaning of the numbers, so that a renderer refuses foreign plans.
    """

    coefficients: torch.Tensor
    angles: Mapping[str, torch.Tensor] = field(default_factory=dict)
    fps: int = FPS
    space: str = SPACE
    used: tuple[Used, ...] = ()

    def __len__(self) -> int:
        return len(self.coefficients)

    def edited(self, expression_scale: float, pose_scale: float, curves: dict[str, tuple[float, ...]]) -> MotionPlan:
        """A plan with the expression scaled, the pose scaled around that of its first frame, and `curves` of angles replacing it."""
        pose = self.pose[:1] + (self.pose - self.pose[:1]) * pose_scale
        laid = {axis: angle_curve(degrees, len(self)) for axis, degrees in curves.items() if degrees}
        return replace(self, coefficients=torch.cat([self.expression * expression_scale, pose], 1), angles={**self.angles, **laid})

    @property
    def expression(self) -> torch.Tensor:
        return self.coefficients[:, :EXPRESSION]

    @property
    def pose(self) -> torch.Tensor:
        return self.coefficients[:, EXPRESSION:]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """The user's settings of the motion. reference: float32 [F, 70] of another video at 25 frames a second."""

    style: int = 0
    seed: int = 0
    expression_scale: float = 1.0
    pose_amplitude: float = 1.0
    still: bool = False
    blink_rate: float = 1.0
    blink_strength: float = 1.0
    yaw: tuple[float, ...] = ()
    pitch: tuple[float, ...] = ()
    roll: tuple[float, ...] = ()
    reference: torch.Tensor | None = None
    reference_pose: bool = False
    reference_blink: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.style < STYLES:
            raise BadInput(f"Pose style {self.style} does not exist; the styles are 0 to {STYLES - 1}.")

    @property
    def driving(self) -> torch.Tensor:
        """`reference` of a motion that follows one. Raises BadInput when it has none."""
        if self.reference is None:
            raise BadInput("The motion is to follow another video, and there is none. Connect one, or do not follow any.")
        return self.reference


class Planner:
    """Plans a clip with the networks of SadTalker; `expression` and `pose` are ManagedModels, `step` is called for every batch."""

    def __init__(self, expression: ManagedModel[ExpNet], pose: ManagedModel[PoseVAE], step: Callable[[], None] = lambda: None):
        self.expression, self.pose, self.step = expression, pose, step

    def plan(self, speech: Speech, source: torch.Tensor, motion: Motion) -> MotionPlan:
        """source: float32 [70], the coefficients of the picture."""
        blinks = torch.from_numpy(blink_curve(speech.frames, motion.seed, motion.blink_rate, motion.blink_strength))
        reference = source[None, :EXPRESSION]
        if motion.reference_blink:
            reference, blinks = looped(motion.driving[:, :EXPRESSION], speech.frames), torch.zeros_like(blinks)
        expression = self.expressions(speech, reference, blinks) * motion.expression_scale
        pose = source[EXPRESSION:].expand(speech.frames, -1)
        if not motion.still:
            pose = self.poses(speech, source[EXPRESSION:], motion)
        curves = {axis: getattr(motion, axis) for axis in AXES}
        angles = {axis: angle_curve(degrees, speech.frames) for axis, degrees in curves.items() if degrees}
        return MotionPlan(torch.cat([expression, pose], 1), angles)

    def expressions(self, speech: Speech, reference: torch.Tensor, blinks: torch.Tensor) -> torch.Tensor:
        """reference: [T or 1, 64]; blinks: [T] -> expression [T, 64]."""
        reference, parts = reference.expand(speech.frames, -1), []
        for start, windows in self._windows(speech, 0, speech.frames):
            part = slice(start, start + len(windows))
            device = self.expression.device
            found = self.expression.load()(windows.to(device), reference[part].to(device), blinks[part, None].to(device))
            parts.append(found.cpu())
        return torch.cat(parts)

    def poses(self, speech: Speech, source: torch.Tensor, motion: Motion) -> torch.Tensor:
        """Head pose [T, 6] around that of the picture, float32 [6]."""
        latents = torch.randn(chunks(speech.frames), LATENT, generator=torch.Generator().manual_seed(motion.seed))
        changes = self.pose_changes(speech, source, latents, motion.style) * motion.pose_amplitude
        pose = smoothed(source + changes)
        if motion.reference_pose:
            driven = looped(motion.driving[:, EXPRESSION:], speech.frames)
            pose = pose + driven - driven[:1]
        return pose

    def pose_changes(self, speech: Speech, source: torch.Tensor, latents: torch.Tensor, style: int) -> torch.Tensor:
        """The changes by PoseVAE to the pose `source`, [T, 6]; frame 0 is the picture itself. latents: one row per chunk of 32 frames,
        whole chunks first; the remainder is the end of a chunk that ends with the clip."""
        parts, moving = [torch.zeros(1, POSE)], speech.frames - 1
        for index, latent in enumerate(latents):
            rest = moving - index * SEQUENCE
            start = 1 + index * SEQUENCE if rest >= SEQUENCE else max(1, speech.frames - SEQUENCE)
            decoded = self._decode(speech, start, min(start + SEQUENCE, speech.frames), source, latent, style)
            parts.append(decoded[-min(rest, SEQUENCE) :])
        return torch.cat(parts)

    def _decode(self, speech: Speech, start: int, stop: int, source: torch.Tensor, latent: torch.Tensor, style: int) -> torch.Tensor:
        network, device = self.pose.load(), self.pose.device
        sound = network.embed(speech.windows(start, stop).to(device))
        sound = torch.cat([sound[:1].expand(SEQUENCE - len(sound), -1), sound])
        self.step()
        return network(sound[None], source[None].to(device), latent[None].to(device), torch.tensor([style], device=device))[0].cpu()

    def _windows(self, speech: Speech, start: int, stop: int) -> Iterator[tuple[int, torch.Tensor]]:
        for first in range(start, stop, BATCH):
            yield first, speech.windows(first, min(first + BATCH, stop))
            self.step()


def chunks(frames: int) -> int:
    """The number of latents of a clip."""
    return -(-(frames - 1) // SEQUENCE)


def steps(frames: int) -> int:
    """How often the planner calls `step` for a clip."""
    return -(-frames // BATCH) + chunks(frames)


def blink_curve(frames: int, seed: int, rate: float = 1.0, strength: float = 1.0) -> np.ndarray:
    """How far the eyes are closed, float32 [T]. Rate 1 is 33 blinks a minute on average; clips of up to 20 frames have none."""
    curve, dice = np.zeros(frames, np.float32), random.Random(seed)
    if frames <= 2 * SHORTEST_GAP or rate <= 0:
        return curve
    gaps = gap_range(frames)
    frame = round(dice.choice(gaps) / rate)
    while frame + len(BLINK) < frames:
        curve[frame : frame + len(BLINK)] = np.array(BLINK) * strength
        frame += len(BLINK) + max(1, round(dice.choice(gaps) / rate))
    return curve


def gap_range(frames: int) -> range:
    """The possible gaps between blinks of a clip."""
    return range(SHORTEST_GAP, max(min(frames // 2, LONGEST_GAP), SHORTEST_GAP + 1))


def smoothed(pose: torch.Tensor) -> torch.Tensor:
    """`pose` [T, 6] without jitter; clips of one or two frames have none."""
    window = min(SMOOTHING, len(pose) - 1 + len(pose) % 2)
    if window < 3:
        return pose
    return torch.from_numpy(savgol_filter(pose.double().numpy(), window, 2, axis=0).astype(np.float32))


def looped(rows: torch.Tensor, count: int) -> torch.Tensor:
    """The first `count` rows of `rows` repeated over and over."""
    return rows[torch.arange(count) % len(rows)]


def angle_curve(degrees: tuple[float, ...], frames: int) -> torch.Tensor:
    """The angle in every frame, float32 [T], moving through all `degrees` at constant speed; a single value is held."""
    return angles_at(degrees, np.linspace(0, travelled(degrees)[-1], frames))


def angles_at(degrees: tuple[float, ...], distances: np.ndarray) -> torch.Tensor:
    """The angle after each of `distances` [T] in degrees on the way through all `degrees`, float32 [T]."""
    return torch.from_numpy(np.interp(distances, travelled(degrees), degrees).astype(np.float32))


def travelled(degrees: tuple[float, ...]) -> np.ndarray:
    """How far each of `degrees` is from the first on the way through all of them."""
    return np.cumsum(np.abs(np.diff(degrees, prepend=degrees[0])))
