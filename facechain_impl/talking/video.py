"""Clips on disk: written once during rendering, and read frame by frame."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import av
import numpy as np
import torch
from av.container import InputContainer, OutputContainer

from .. import atomic
from ..errors import BadInput
from .audio import FPS

AAC_RATES = (7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
QUALITY = {"crf": "18"}
VideoSource = str | Path | BinaryIO


class VideoWriter:
    """An H.264/AAC file that grows with the frames. A context manager: if the block fails, no file is left behind.

    size: (width, height) of the frames; odd sizes are padded by one pixel. channels: float [C, N] at `rate`, cut or filled with
    silence to the length of the picture. After the block, `path` is the finished file.
    """

    def __init__(self, folder: Path, size: tuple[int, int], channels: torch.Tensor, rate: int, frames: int, fps: int = FPS):
        self.path = folder / f"facechain_talking_{uuid.uuid4().hex}.mp4"
        self._sound = _Sound(channels, rate, frames, fps)
        self._fps, self._frames = fps, 0
        self._padding = ((0, 0), (0, size[1] % 2), (0, size[0] % 2), (0, 0))
        self._size = (size[0] + size[0] % 2, size[1] + size[1] % 2)

    @property
    def notes(self) -> list[str]:
        return self._sound.notes

    def __enter__(self) -> VideoWriter:
        with ExitStack() as stack:
            part = stack.enter_context(atomic.replacing(self.path))
            self._container = stack.enter_context(av.open(str(part), "w", format="mp4"))
            self._video = self._container.add_stream("h264", rate=self._fps, options=QUALITY)
            self._video.width, self._video.height = self._size
            self._video.pix_fmt = "yuv420p"
            self._sound.open(self._container)
            stack.push(self._finish)
            self._opened = stack.pop_all()
        return self

    def write(self, frames: np.ndarray) -> None:
        """RGB uint8 [N, H, W, 3], and the sound that belongs to them."""
        for pixels in np.pad(frames, self._padding, mode="edge"):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, self._fps)
            self._container.mux(self._video.encode(frame))
            self._frames += 1
        self._sound.write_until(self._container, self._frames)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._opened.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._container.mux(self._video.encode())
            self._sound.close(self._container)


class _Sound:
    """The sound track of a clip, encoded alongside its frames."""

    def __init__(self, channels: torch.Tensor, rate: int, frames: int, fps: int):
        self.notes: list[str] = []
        self._channels, self._rate, self._fps = channels, rate, fps
        if channels.shape[0] > 2:
            self.notes.append(f"The {channels.shape[0]} channels of the audio were mixed into one.")
            self._channels = channels.mean(0, keepdim=True)
        self._target = next((known for known in AAC_RATES if known >= rate), AAC_RATES[-1])
        if self._target != rate:
            self.notes.append(f"AAC does not support {rate} Hz; the sound in the file has {self._target} Hz.")
        self._layout = "mono" if self._channels.shape[0] == 1 else "stereo"
        self._total, self._written = self._sample(frames), 0

    def _sample(self, frame: int) -> int:
        return round(frame * self._rate / self._fps)

    def open(self, container: OutputContainer) -> None:
        self._stream = container.add_stream("aac", rate=self._target, layout=self._layout)
        self._resampler = av.AudioResampler(format="fltp", layout=self._layout, rate=self._target)

    def write_until(self, container: OutputContainer, frame: int) -> None:
        """The samples of the frames before `frame`."""
        stop = min(self._sample(frame), self._total)
        samples = self._channels[:, self._written : stop].float().cpu().numpy()
        if stop > self._written:
            samples = np.pad(samples, ((0, 0), (0, stop - self._written - samples.shape[1])))
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
            sound.sample_rate, sound.pts, sound.time_base = self._rate, self._written, Fraction(1, self._rate)
            self._encode(container, sound)
        self._written = max(stop, self._written)

    def close(self, container: OutputContainer) -> None:
        self._encode(container, None)
        container.mux(self._stream.encode())

    def _encode(self, container: OutputContainer, sound: av.AudioFrame | None) -> None:
        for frame in self._resampler.resample(sound):
            container.mux(self._stream.encode(frame))


def frames_at(source: VideoSource, fps: int = FPS) -> Iterator[np.ndarray]:
    """The pictures that `source` (a path or a binary stream) shows at 0, 1/fps, 2/fps... seconds, RGB uint8 [H, W, 3].

    Only one frame is held at a time. Raises BadInput for a file without a readable video."""
    try:
        with av.open(source, "r") as container:
            yield from _shown(container, fps)
    except av.FFmpegError as error:
        raise BadInput(f"The reference video cannot be read ({error.strerror}). Connect an intact video file.") from error


def _shown(container: InputContainer, fps: int) -> Iterator[np.ndarray]:
    shown, step = 0, Fraction(1, fps)
    for frame, end in _timed(container):
        # half a step of tolerance: a clip that has this rate already keeps all its frames
        while shown * step + step / 2 <= end:
            yield frame.to_ndarray(format="rgb24")
            shown += 1


def _timed(container: InputContainer) -> Iterator[tuple[av.VideoFrame, float]]:
    """Every frame and its end in seconds, counted from the first one."""
    if not container.streams.video:
        raise BadInput("The reference video has no picture track. Connect a video that shows a face.")
    stream = container.streams.video[0]
    before: av.VideoFrame | None = None
    first = 0.0
    for frame in container.decode(stream):
        if before is None:
            first = frame.time
        else:
            yield before, frame.time - first
        before = frame
    if before is None:
        raise BadInput("The reference video has no frames. Connect a video that shows a face.")
    yield before, before.time - first + 1 / float(stream.average_rate or FPS)
