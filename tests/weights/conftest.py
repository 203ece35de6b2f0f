"""Model folders of their own, small published files made of random numbers, and a hub that serves a folder over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from facechain_impl.networks.published import Entry
from facechain_impl.weights import catalogue
from facechain_impl.weights.stand_ins import networks as stand_ins

from .hub import Hub, serving


@pytest.fixture
def models(tmp_path, monkeypatch) -> Path:
    """The host's models folder, empty."""
    folder_paths = pytest.importorskip("folder_paths", reason="set COMFYUI_PATH to the folder of ComfyUI")
    from facechain_impl.host import folders

    base = tmp_path / "models"
    monkeypatch.setattr(folder_paths, "models_dir", str(base))
    categories = (
        "loras", "checkpoints", "controlnet", "diffusers", "upscale_models", "diffusion_models", "text_encoders", "vae", "audio_encoders",
    )  # fmt: skip
    paths = {name: ([str(base / name)], folder_paths.supported_pt_extensions) for name in categories}
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", paths)
    folders.register()
    for category in paths:
        (base / category).mkdir(parents=True, exist_ok=True)
    return base


@pytest.fixture
def published(models):
    """Writes the file of a name as it is published, from random numbers: published("flcm", half=True)."""

    def write(name: str, folder: Path | None = None, **changes) -> Path:
        entry = catalogue.get(name)
        path = (folder / entry.repo if folder else models / "facechain" / entry.repo.split("/")[1]) / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".onnx", ".jpg", ".mat"):
            stand_ins.OTHER_FILES[name](path, 1)
        else:
            torch.save(container(entry, **changes), path, _use_new_zipfile_serialization=not changes.get("legacy"))
        return path

    return write


def container(entry: Entry, half: bool = False, prefix: str = "", seed: int = 1, legacy: bool = False, **extra) -> dict:
    """What the published pickle of `entry` holds."""
    tensors = stand_ins.make(entry.layout(), seed)
    tensors = {prefix + name: value.half() if half and value.is_floating_point() else value for name, value in tensors.items()}
    return ({entry.key: tensors} if entry.key else tensors) | extra


@pytest.fixture(scope="session")
def _hub(tmp_path_factory) -> Iterator[Hub]:
    """One for the whole session: the client reads the address once."""
    with serving(tmp_path_factory.mktemp("hub")) as (server, address), pytest.MonkeyPatch.context() as environment:
        environment.setenv("MODELSCOPE_ENDPOINT", address)
        environment.setenv("MODELSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        environment.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield server


@pytest.fixture
def hub(_hub, tmp_path, models) -> Hub:
    """A hub on this machine, and the client pointed at it. `hub.folder` is what it serves."""
    _hub.reset(tmp_path / "hub")
    return _hub
