"""Text to speech by Microsoft's online service, through the optional package edge-tts. The text leaves the machine."""

from __future__ import annotations

import importlib.util
import io

import aiohttp
import av
import numpy as np
import torch

from ..errors import BadInput, FaceChainError
from ..host.progress import check_interrupt
from ..host.protocols import Audio

PACKAGE = "edge_tts"
DEFAULT_VOICE = "zh-CN-XiaoxiaoNeural"


def is_installed() -> bool:
    return importlib.util.find_spec(PACKAGE) is not None


async def speak(text: str, voice: str, speed: int, pitch: int) -> Audio:
    """AUDIO of `text` as spoken by `voice`. speed: speaking rate, percent faster; pitch: shift in Hz. Raises BadInput, FaceChainError."""
    if not text.strip():
        raise BadInput("There is no text to speak. Write what the portrait should say.")
    import edge_tts  # an extra: this module is reached only where it is installed

    sound = io.BytesIO()
    try:
        voice_of_text = edge_tts.Communicate(text, voice.strip(), rate=f"{speed:+d}%", pitch=f"{pitch:+d}Hz")
        async for part in voice_of_text.stream():
            check_interrupt()
            if part["type"] == "audio":
                sound.write(part["data"])
    except ValueError as error:
        raise BadInput(f"The speech service does not know the voice {voice!r}: {error} Choose one such as {DEFAULT_VOICE}.") from error
    except (edge_tts.exceptions.EdgeTTSException, aiohttp.ClientError, TimeoutError) as error:
        raise FaceChainError(
            f"The speech service returned no sound ({error}). It needs the internet and can refuse; try again, or connect a recording."
        ) from error
    return decoded(sound.getvalue())


def decoded(data: bytes) -> Audio:
    """AUDIO of a sound file in memory: waveform float32 [1, C, N], sample_rate. Raises FaceChainError."""
    try:
        with av.open(io.BytesIO(data), "r") as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler(format="fltp")
            frames = [part.to_ndarray() for frame in container.decode(stream) for part in resampler.resample(frame)]
            rate = stream.rate
    except (av.FFmpegError, IndexError) as error:
        raise FaceChainError(f"The speech service sent {len(data)} bytes that are not sound. Try again, or connect a recording.") from error
    return {"waveform": torch.from_numpy(np.concatenate(frames, 1))[None], "sample_rate": rate}
