"""Narrow networks of the talking head, a face and a sound to try them on."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl import provenance
from facechain_impl.networks.published import Entry
from facechain_impl.perception.landmarks import five_to_68
from facechain_impl.provenance import Origin, Used
from facechain_impl.talking.crop import Mode
from facechain_impl.talking.faces import Portrait
from facechain_impl.talking.sadtalker import SadTalker
from facechain_impl.weights import catalogue
from facechain_impl.weights.stand_ins import networks as stand_ins


class Held:
    """A ManagedModel without a host."""

    origin, device = Origin.STAND_IN, torch.device("cpu")

    def __init__(self, name: str, network: torch.nn.Module):
        self.name, self.network, self.loads = name, network, 0

    def load(self) -> torch.nn.Module:
        self.loads += 1
        return self.network


def is_narrow(entry: Entry) -> bool:
    """Whether its stand-in has narrow sizes."""
    return entry.narrow is not None or any(part.narrow for part in entry.parts)


def narrow_networks():
    """Opens the networks that the catalogue names, narrow and random, through their strict loaders."""
    tensors = {entry.name: stand_ins.make(entry.narrow_layout(), 1) for entry in catalogue.TALKING if is_narrow(entry)}

    def open_network(name: str) -> Held:
        entry = catalogue.get(name)
        provenance.register(Used("network", name, Origin.STAND_IN))
        found = {key.removeprefix(entry.prefix): value for key, value in tensors[entry.name].items() if key.startswith(entry.prefix)}
        return Held(name, entry.network.from_state_dict(found))

    return open_network


@pytest.fixture(scope="session")
def narrow():
    return narrow_networks()


@pytest.fixture
def sadtalker(narrow, monkeypatch):
    """A SadTalker of 256 pixels for a mode."""
    monkeypatch.setattr("facechain_impl.talking.sadtalker.open_part", narrow)
    return lambda mode=Mode.CROP, size=256: SadTalker(size, mode)


def portrait_of(width: int, height: int, scale: float = 0.12) -> Portrait:
    """A picture with a face whose eyes are 2 * `scale` of its width apart."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns * 255 // width, rows * 255 // height, (rows + columns) % 256], -1).astype(np.uint8)
    five = np.array([(-1, 0), (1, 0), (0.1, 1.1), (-0.8, 2.0), (0.9, 1.95)]) * width * scale + [width / 2, height * 0.4]
    return Portrait(pixels, five_to_68(five), "five points")


def tone(seconds: float, rate: int = 16000, channels: int = 1) -> torch.Tensor:
    """[1, channels, N]: a vowel-like sound that swells and falls."""
    t = torch.arange(int(seconds * rate)) / rate
    wave = 0.3 * (0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * t)) * sum(torch.sin(2 * torch.pi * f * t) / f * 200 for f in (200, 700, 2300))
    return wave.expand(1, channels, -1).clone()
