"""The files in which SadTalker was published before its safetensors bundle, put together into that bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..networks.published import Entry
from ..types import Origin
from . import catalogue, files
from .convert import Tensors, state_dict, unpickle, write

# part of the bundle -> file, and the entry that holds its state dict
LEGACY = {
    "keypoints": ("facevid2vid_00189-model.pth.tar", "kp_detector"),
    "generator": ("facevid2vid_00189-model.pth.tar", "generator"),
    "expression": ("auido2exp_00300-model.pth", "model"),
    "pose": ("auido2pose_00140-model.pth", "model"),
    "reconstruction": ("epoch_20.pth", "net_recon"),
}
BUNDLE = "sadtalker_256"
METADATA = {
    files.MARK: files.CONVERTED,
    "origin": Origin.UNKNOWN.value,
    "source": ", ".join(sorted({file for file, _ in LEGACY.values()})),
}


def assemble() -> Path | None:
    """The bundle for 256 pixels, written beside its four predecessors where they are all there and it is not; None otherwise.

    Each part has to fit strictly. Raises WeightsError or KeyMismatch and then leaves everything as it was."""
    entry = catalogue.get(BUNDLE)
    if files.published(entry):
        return None
    for target, _ in files.places(entry):
        if all((target.parent / name).is_file() for name, _ in LEGACY.values()):
            tensors = {name: value for part in entry.parts for name, value in _part(entry, part.name, target.parent).items()}
            write(target, tensors, METADATA)
            return target
    return None


def _part(entry: Entry, name: str, folder: Path) -> Tensors:
    file, key = LEGACY[name]
    part = catalogue.get(f"{entry.name}.{name}")
    tensors = state_dict(unpickle(folder / file), replace(part, prefix="", key=key), folder / file)
    return {part.prefix + key: value for key, value in tensors.items()}
