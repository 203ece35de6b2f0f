"""A recording for the talking portrait that nobody had to speak: four vowels, made of pulses and two resonances."""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import Iterator
from pathlib import Path

RATE = 16000
PITCH = 190.0
# First and second formant of a, i, o and e in hertz, of a woman's voice, rounded.
VOWELS = ((850, 1400), (350, 2500), (500, 900), (600, 2100))
VOWEL_SECONDS, PAUSE_SECONDS = 0.34, 0.08
BANDWIDTHS = (90.0, 120.0)


def write(file: Path) -> Path:
    """A WAV file, one channel of 16 bits."""
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        for formants in VOWELS:
            samples = [*_vowel(formants), *[0.0] * int(PAUSE_SECONDS * RATE)]
            loudest = max(map(abs, samples))
            out.writeframes(b"".join(struct.pack("<h", int(20000 * sample / loudest)) for sample in samples))
    return file


def _vowel(formants: tuple[int, int]) -> list[float]:
    count = int(VOWEL_SECONDS * RATE)
    period = int(RATE / PITCH)
    samples = [float(place % period == 0) for place in range(count)]
    for frequency, bandwidth in zip(formants, BANDWIDTHS):
        samples = list(_resonance(samples, frequency, bandwidth))
    return [sample * math.sin(math.pi * place / count) for place, sample in enumerate(samples)]


def _resonance(samples: list[float], frequency: float, bandwidth: float) -> Iterator[float]:
    """The second-order filter that rings at a frequency in hertz."""
    radius = math.exp(-math.pi * bandwidth / RATE)
    first, second = 2 * radius * math.cos(2 * math.pi * frequency / RATE), -radius * radius
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + first * last + second * before
        yield last
