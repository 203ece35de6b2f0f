"""Text to speech without the internet: a package that behaves like edge-tts."""

from __future__ import annotations

import asyncio
import io
import sys
import types

import av
import numpy as np
import pytest

from facechain_impl.errors import BadInput, FaceChainError
from facechain_impl.talking import speech_service


def sound() -> bytes:
    stored = io.BytesIO()
    with av.open(stored, "w", format="mp3") as container:
        stream = container.add_stream("mp3", rate=24000, layout="mono")
        wave = (0.4 * np.sin(2 * np.pi * 300 * np.arange(24000) / 24000)).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate = 24000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return stored.getvalue()


@pytest.fixture
def service(monkeypatch):
    """What was asked for, and what comes back or is raised."""
    state = types.SimpleNamespace(asked=[], parts=[sound()], error=None)

    class Communicate:
        def __init__(self, text, voice, **options):
            if voice == "nobody":
                raise ValueError("Invalid voice 'nobody'.")
            state.asked.append((text, voice, options))

        async def stream(self):
            if state.error:
                raise state.error
            for data in state.parts:
                yield {"type": "audio", "data": data}
                yield {"type": "SentenceBoundary"}

    package = types.ModuleType("edge_tts")
    package.Communicate, package.exceptions = (
        Communicate,
        types.SimpleNamespace(EdgeTTSException=type("EdgeTTSException", (Exception,), {})),
    )
    monkeypatch.setitem(sys.modules, "edge_tts", package)
    state.package = package
    return state


def speak(*arguments) -> dict:
    return asyncio.run(speech_service.speak(*arguments))


def test_a_text_becomes_audio(service):
    audio = speak("Hello", "en-US-AriaNeural ", 10, -5)
    assert service.asked == [("Hello", "en-US-AriaNeural", {"rate": "+10%", "pitch": "-5Hz"})]
    assert audio["sample_rate"] == 24000 and audio["waveform"].shape[:2] == (1, 1)
    assert abs(audio["waveform"].shape[2] - 24000) < 3000 and 0.3 < audio["waveform"].abs().max() < 0.5


def test_no_text_is_refused(service):
    with pytest.raises(BadInput, match="no text"):
        speak(" \n", "en-US-AriaNeural", 0, 0)
    assert not service.asked


def test_an_unknown_voice_is_named(service):
    with pytest.raises(BadInput, match="nobody"):
        speak("Hello", "nobody", 0, 0)


def test_a_service_that_refuses(service):
    service.error = service.package.exceptions.EdgeTTSException("403")
    with pytest.raises(FaceChainError, match="403"):
        speak("Hello", "en-US-AriaNeural", 0, 0)


@pytest.mark.parametrize("parts", [[], [b"no sound at all" * 20]])
def test_no_sound(service, parts):
    service.parts = parts
    with pytest.raises(FaceChainError, match="not sound"):
        speak("Hello", "en-US-AriaNeural", 0, 0)
