"""Stands for the package edge-tts: the same interface, a tone for a voice, and nothing leaves the machine.

Servers that tests and builds start find it before a real one, so that what they see does not depend on what is installed."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from types import SimpleNamespace

import av
import numpy as np

RATE = 24000


class EdgeTTSException(Exception):
    """Base of what the real one raises."""


exceptions = SimpleNamespace(EdgeTTSException=EdgeTTSException)


def sound() -> bytes:
    """A second of a tone, MP3."""
    stored = io.BytesIO()
    with av.open(stored, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=RATE, layout="mono")
        wave = (0.4 * np.sin(2 * np.pi * 300 * np.arange(RATE) / RATE)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return stored.getvalue()


class Communicate:
    """asked: what every one was asked for. parts: what comes back. error: what is raised instead."""

    asked: list[tuple] = []
    parts: list[bytes] | None = None
    error: Exception | None = None

    def __init__(self, text: str, voice: str, **options: str):
        if voice == "nobody":
            raise ValueError("Invalid voice 'nobody'.")
        self.asked.append((text, voice, options))

    async def stream(self) -> AsyncIterator[dict]:
        if self.error:
            raise self.error
        for data in [sound()] if self.parts is None else self.parts:
            yield {"type": "audio", "data": data}
            yield {"type": "SentenceBoundary"}
