"""Small random models of three families, and a place of their own for people and states."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import pytest
import torch

from facechain_impl.identity.lora.formats import Layer

from ..small_models import FixedClip, SmallClip, SmallVae, flux_model, sd15_model, sdxl_model


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Folders of the host inside a temporary directory."""
    folder_paths = importlib.import_module("folder_paths")
    models = tmp_path / "models"
    monkeypatch.setattr(folder_paths, "models_dir", str(models))
    monkeypatch.setattr(folder_paths, "user_directory", str(tmp_path / "user"))
    extensions = folder_paths.folder_names_and_paths["loras"][1]
    loras = [str(models / "loras"), str(models / "facechain" / "persons")]
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    importlib.import_module("facechain_impl.host.folders").register()
    folder_paths.folder_names_and_paths["loras"] = (loras, extensions)
    return tmp_path


@pytest.fixture
def sd15():
    return SimpleNamespace(model=sd15_model(), clip=SmallClip.sd15(), vae=SmallVae())


@pytest.fixture
def sdxl():
    return SimpleNamespace(model=sdxl_model(), clip=SmallClip.sdxl(), vae=SmallVae())


@pytest.fixture
def flux():
    return SimpleNamespace(model=flux_model(), clip=FixedClip(), vae=SmallVae(16))


@pytest.fixture
def photos() -> list[torch.Tensor]:
    """Three smooth random pictures [64, 64, 3]."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(3, 3, 8, 8, generator=generator)
    return list(torch.nn.functional.interpolate(coarse, (64, 64), mode="bicubic").clamp(0, 1).movedim(1, -1))


def added(layer: Layer) -> torch.Tensor:
    """What a layer without DoRA adds to its weight, [out, in, ...]."""
    product = layer.up.float().flatten(1) @ layer.down.float().flatten(1)
    return layer.scale * product.reshape(layer.up.shape[0], *layer.down.shape[1:])
