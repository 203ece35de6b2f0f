"""People and recordings that tests put into the folders of a host."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable
from pathlib import Path

import folder_paths
import numpy as np
import pytest
import torch

from facechain_impl.identity import persons
from facechain_impl.identity.persons import IfExists
from facechain_impl.types import Person

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
RATE, SECONDS = 22050, 0.48


def store_people(models: Path, names: Iterable[str]) -> None:
    """Persons with a LoRA of random numbers each, in the folder `models` of a host."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "models_dir", str(models))
        for seed, name in enumerate(names):
            persons.save(_someone(name, seed), {}, IfExists.REPLACE)


def _someone(name: str, seed: int) -> Person:
    generator = torch.Generator().manual_seed(seed)
    lora = {
        f"{LAYER}.lora_up.weight": torch.randn(320, 2, generator=generator),
        f"{LAYER}.lora_down.weight": torch.randn(2, 320, generator=generator),
    }
    return Person(name, lora, f"<fcsks>, a beautiful woman, {name}")


def recording(seconds: float = SECONDS) -> bytes:
    """A wave file: a tone that swells, in two channels."""
    t = np.arange(int(RATE * seconds)) / RATE
    samples = (8000 * np.sin(2 * np.pi * 220 * t) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * t))).astype("<i2")
    stored = io.BytesIO()
    with wave.open(stored, "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.repeat(samples, 2).tobytes())
    return stored.getvalue()
