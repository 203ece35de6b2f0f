"""Speech features of the talking head: mel windows, one per video frame, computed on request.

Only the given AUDIO tensor grows with the clip.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd

import numpy as np
import torch
from scipy.signal import upfirdn

from ..errors import BadInput

FPS = 25
RATE = 16000
SAMPLES = RATE // FPS
BANDS, COLUMNS = 80, 16
FFT, HOP = 800, 200
LOWEST, HIGHEST = 55.0, 7600.0
PRE_EMPHASIS = 0.97
FLOOR_DB, REFERENCE_DB, LIMIT = -100.0, 20.0, 4.0

# the kaiser_best filter of resampy, which upstream's librosa used
ZERO_CROSSINGS, ROLLOFF, BETA = 64, 0.9475937167399596, 14.769656459379492


class Speech:
    """The sound of a clip and its frames at 25 per second.

    waveform: float [C, N] or [1, C, N] (the host's AUDIO) at sample_rate. Raises BadInput for empty audio.
    """

    def __init__(self, waveform: torch.Tensor, sample_rate: int):
        self.channels, self.rate = _channels(waveform), int(sample_rate)
        if self.rate <= 0 or self.channels.shape[-1] == 0:
            raise BadInput(
                f"The audio is empty ({self.channels.shape[-1]} samples at {self.rate} Hz). Connect a recording with sound in it."
            )
        self.samples = ceil(self.channels.shape[-1] * RATE / self.rate)
        self.frames = max(1, self.samples // SAMPLES)

    def mono(self, start: int, stop: int) -> np.ndarray:
        """Samples start..stop of the 16 kHz mono signal, float64; zero before its beginning and after its last whole frame."""
        first, last = max(start, 0), min(stop, self.samples, self.frames * SAMPLES)
        if last <= first:
            return np.zeros(stop - start)
        return np.pad(self._resampled(first, last), (first - start, stop - last))

    def mel(self, start: int, stop: int) -> np.ndarray:
        """Columns start..stop of the mel spectrogram, float64 [80, stop - start] in -4..4."""
        low = start * HOP - FFT // 2
        signal = self.mono(low - 1, (stop - 1) * HOP + FFT // 2)
        emphasised = torch.from_numpy(signal[1:] - PRE_EMPHASIS * signal[:-1])
        emphasised[: max(0, -low)] = 0.0
        if (end := self.frames * SAMPLES - low) < len(emphasised):
            emphasised[end:] = 0.0
        frames = emphasised.unfold(0, FFT, HOP) * torch.hann_window(FFT, dtype=torch.float64)
        power = torch.from_numpy(filters()) @ torch.fft.rfft(frames).abs().T
        decibels = 20 * torch.log10(power.clamp(min=1e-5)) - REFERENCE_DB
        return (2 * LIMIT * (decibels - FLOOR_DB) / -FLOOR_DB - LIMIT).clamp(-LIMIT, LIMIT).numpy()

    def windows(self, start: int, stop: int) -> torch.Tensor:
        """The mel windows of frames start..stop: float32 [stop - start, 1, 80, 16]."""
        count = self.frames * SAMPLES // HOP + 1
        columns = np.add.outer([window_start(frame) for frame in range(start, stop)], np.arange(COLUMNS)).clip(0, count - 1)
        low, high = columns.min(), columns.max() + 1
        mel = self.mel(low, high)[:, columns - low]  # [80, frames, 16]
        return torch.from_numpy(mel.astype(np.float32)).movedim(1, 0)[:, None]

    def _resampled(self, start: int, stop: int) -> np.ndarray:
        if self.rate == RATE:
            return self._mixed(start, stop)
        common = gcd(self.rate, RATE)
        up, down = RATE // common, self.rate // common
        taps = kaiser_best(up, down)
        # output t is centred on input t * down / up; the filter reaches `half` steps of the upsampled signal to either side
        half = len(taps) // 2
        low = (start * down - half) // up
        high = ((stop - 1) * down + half) // up + 1
        length = self.channels.shape[-1]
        known = self._mixed(min(max(low, 0), length), max(min(high, length), 0))
        window = np.pad(known, (max(-low, 0), max(high - max(low, length), 0)))
        # upfirdn starts its grid at the first input sample, so the first output has to fall on a multiple of `down`
        delay = start * down - low * up + half
        skip = -delay % down
        filtered = upfirdn(np.pad(taps, (skip, 0)), window, up, down)
        first = (delay + skip) // down
        return filtered[first : first + stop - start]

    def _mixed(self, start: int, stop: int) -> np.ndarray:
        return self.channels[:, start:stop].mean(0, dtype=torch.float32).double().cpu().numpy()


def _channels(waveform: torch.Tensor) -> torch.Tensor:
    if waveform.ndim == 3 and waveform.shape[0] > 1:
        raise BadInput(f"The audio is a batch of {waveform.shape[0]} recordings; one is expected. Pick one of them.")
    channels = waveform[0] if waveform.ndim == 3 else waveform
    if channels.ndim != 2 or channels.shape[0] == 0:
        raise BadInput(f"The audio has the shape {list(waveform.shape)}; [1, channels, samples] is expected.")
    return channels


def window_start(frame: int) -> int:
    """The first mel column of the window of `frame`, rounded towards zero."""
    return int(BANDS * (frame - 2) / FPS)


@lru_cache(maxsize=8)
def kaiser_best(up: int, down: int) -> np.ndarray:
    """Low-pass filter for resampling by up / down on the upsampled grid, float64, odd length, gain `up`."""
    cutoff = ROLLOFF / max(up, down)
    half = int(ZERO_CROSSINGS / cutoff)
    steps = np.arange(-half, half + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (steps * cutoff / ZERO_CROSSINGS) ** 2, 0, None))) / np.i0(BETA)
    return up * cutoff * np.sinc(steps * cutoff) * window


@lru_cache(maxsize=1)
def filters() -> np.ndarray:
    """Slaney's mel filter bank with unit areas, float64 [80, 401]."""
    edges = _hertz(np.linspace(_mel(LOWEST), _mel(HIGHEST), BANDS + 2))
    bins = np.linspace(0, RATE / 2, FFT // 2 + 1)
    slopes = (bins - edges[:, None]) / np.diff(edges, append=np.nan)[:, None]
    rising, falling = slopes[:-2], 1 - slopes[1:-1]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


# Slaney's scale: linear up to 1000 Hz (15 mel), 27 logarithmic steps per factor 6.4 above
def _mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
