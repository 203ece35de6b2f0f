"""Text to speech without the internet: a package that behaves like edge-tts."""

from __future__ import annotations

import asyncio
import sys

import pytest

from facechain_impl.errors import BadInput, FaceChainError
from facechain_impl.talking import speech_service

from ..host.packages import edge_tts


@pytest.fixture
def service(monkeypatch):
    """What is asked for, and what comes back or is raised."""
    monkeypatch.setitem(sys.modules, "edge_tts", edge_tts)
    monkeypatch.setattr(edge_tts.Communicate, "asked", [])
    monkeypatch.setattr(edge_tts.Communicate, "parts", None)
    monkeypatch.setattr(edge_tts.Communicate, "error", None)
    return edge_tts.Communicate


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
    service.error = edge_tts.EdgeTTSException("403")
    with pytest.raises(FaceChainError, match="403"):
        speak("Hello", "en-US-AriaNeural", 0, 0)


@pytest.mark.parametrize("parts", [[], [b"no sound at all" * 20]])
def test_no_sound(service, parts):
    service.parts = parts
    with pytest.raises(FaceChainError, match="not sound"):
        speak("Hello", "en-US-AriaNeural", 0, 0)
