"""The whole making: pictures, autoencoder, UNet, file. Each stage is kept in a folder and begun again only where its plan changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from facechain_impl import atomic
from facechain_impl.host import checkpoints
from facechain_impl.weights import convert, files

from . import autoencoder, denoiser, pictures
from .captions import Words, captions
from .training import Plan, say

LARGEST = 60_000_000
"""Of the file, in bytes."""


@dataclass(frozen=True)
class Recipe:
    """autoencoder, unet: how they are trained, on which numbers of pictures. crop: side of what the autoencoder sees at once."""

    autoencoder: Plan
    crop: int
    unet: Plan
    numbers: pictures.Numbers = pictures.Numbers()


# On two cores about five hours: 0.25 s a step, then 1.3 s a step.
ON_CPU = Recipe(Plan(8000, 16, 6e-4, seed=1), crop=32, unet=Plan(12000, 8, 3e-4, seed=2, average=True, level=0.5))
# Ten minutes on an H200, which made the file in assets: pictures 90 s, autoencoder 220 s, UNet 290 s.
ON_GPU = Recipe(Plan(8000, 64, 1e-3, seed=1), crop=64, unet=Plan(5800, 192, 4e-4, seed=2, average=True, level=0.58))


def make(folder: Path, source: Path, out: Path, recipe: Recipe | None = None) -> Path:
    """Make the pocket model `out` of the listed pictures in `source`, with the way so far in `folder`. Raises WrongPictures."""
    listed = pictures.paintings()
    pictures.check(source, listed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = recipe or (ON_GPU if device.type == "cuda" else ON_CPU)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    seen, words = _pictures(folder, source, listed, recipe.numbers)
    shown = torch.from_numpy(seen).permute(0, 3, 1, 2).to(device)
    vae = autoencoder.teach(shown, recipe.autoencoder, recipe.crop, folder / "autoencoder.pt")
    say(f"Autoencoder: {autoencoder.decibels(vae, shown[::20]):.1f} dB on its own pictures")
    latents = autoencoder.encode(vae, shown)
    unet = denoiser.teach(latents, [captions(one) for one in words], recipe.unet, folder / "unet.pt")
    _write(out, vae, unet, listed, recipe, device)
    say(f"{out}: {out.stat().st_size / 1e6:.1f} MB, sha256 {files.sha256(out)}")
    return out


def _pictures(folder: Path, source: Path, listed: list[pictures.Painting], numbers: pictures.Numbers) -> tuple[np.ndarray, list[Words]]:
    """Made once for each state of the list and of the code that draws."""
    parts = [pictures.LIST, *(Path(pictures.__file__).with_name(name) for name in ("pictures.py", "drawn.py", "captions.py"))]
    code = b"".join(part.read_bytes() for part in parts)
    key = hashlib.sha256(code + repr(numbers).encode()).hexdigest()[:16]
    kept, shows = folder / f"pictures-{key}.npy", folder / f"pictures-{key}.json"
    if not (kept.is_file() and shows.is_file()):
        say(f"Cropping {len(listed)} paintings, drawing {numbers.people} people")
        seen, words = pictures.make(source, listed, numbers)
        atomic.write(shows, json.dumps([[one.medium, one.sex, one.extras] for one in words]))
        with atomic.replacing(kept) as partial, partial.open("wb") as file:
            np.save(file, seen)
    words = [Words(medium, sex, tuple(extras)) for medium, sex, extras in json.loads(shows.read_text(encoding="utf-8"))]
    return np.load(kept), words


def _write(
    out: Path, vae: torch.nn.Module, unet: torch.nn.Module, listed: list[pictures.Painting], recipe: Recipe, device: torch.device
) -> None:
    parts = {"unet": unet, "vae": vae}
    tensors = {
        checkpoints.PREFIXES[part] + name: tensor.detach().to("cpu", torch.float16)
        for part, network in parts.items()
        for name, tensor in network.state_dict().items()
    }
    metadata = {
        files.MARK: files.POCKET,
        "what": "pocket model: a toy for demonstrations",
        "licence": "Apache-2.0; trained on public-domain paintings and drawn people only",
        "paintings": str(len(listed)),
        "recipe": json.dumps({"autoencoder": vars(recipe.autoencoder), "crop": recipe.crop, "unet": vars(recipe.unet)}),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
    }
    convert.write(out, tensors, metadata)
    if (size := out.stat().st_size) > LARGEST:
        raise ValueError(f"{out} has {size} bytes, more than {LARGEST}")
