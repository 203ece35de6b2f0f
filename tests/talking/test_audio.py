"""The sound: any rate, any number of channels, any length."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.talking.audio import RATE, Speech, filters

from .conftest import tone


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_any_rate_is_heard_the_same(rate):
    t = torch.arange(rate, dtype=torch.float64) / rate
    wave = 0.5 * torch.sin(2 * torch.pi * 440 * t) + 0.2 * torch.sin(2 * torch.pi * 3000 * t)
    heard = Speech(wave[None, None].float(), rate)
    at = np.arange(RATE) / RATE
    expected = 0.5 * np.sin(2 * np.pi * 440 * at) + 0.2 * np.sin(2 * np.pi * 3000 * at)
    assert heard.frames == 25
    assert np.abs(heard.mono(0, RATE) - expected)[1000:-1000].max() < 1e-6


def test_resampling_does_not_depend_on_where_it_is_cut():
    heard = Speech(tone(1.3, 44100), 44100)
    pieces = [heard.mono(start, min(start + 777, heard.samples)) for start in range(0, heard.samples, 777)]
    assert np.array_equal(np.concatenate(pieces), heard.mono(0, heard.samples))


def test_stereo_is_the_mean_of_its_channels():
    both = torch.cat([tone(0.5), tone(0.5) * -0.5], 1)
    assert np.allclose(Speech(both, RATE).mono(0, 8000), Speech(both.mean(1, keepdim=True), RATE).mono(0, 8000), atol=1e-7)


def test_silence_is_the_floor():
    assert (Speech(torch.zeros(1, 1, RATE), RATE).windows(0, 25) == -4).all()


@pytest.mark.parametrize(("samples", "frames"), [(1, 1), (639, 1), (640, 1), (1280, 2), (RATE * 60, 1500)])
def test_frames(samples, frames):
    heard = Speech(torch.zeros(1, 1, samples), RATE)
    assert heard.frames == frames
    assert heard.windows(frames - 1, frames).shape == (1, 1, 80, 16)


@pytest.mark.parametrize("waveform", [torch.zeros(1, 2, 0), torch.zeros(1, 0, 100), torch.zeros(2, 1, 100), torch.zeros(100)])
def test_unusable_audio_is_refused(waveform):
    with pytest.raises(BadInput, match="audio"):
        Speech(waveform, RATE)


def test_filters_cover_the_band_with_equal_areas():
    bank = filters()
    areas = bank.sum(1) * RATE / 800
    centres = (bank * np.linspace(0, RATE / 2, 401)).sum(1) / bank.sum(1)
    assert bank.shape == (80, 401) and (bank >= 0).all()
    assert np.abs(areas[10:] - 1).max() < 0.15 and (np.diff(centres) > 0).all()
    assert 55 < centres[0] < centres[-1] < 7600
