"""LoRAs by their source (a listed file, a trained LoRA, a person), and merged LoRAs on disk."""

from __future__ import annotations

import json

import torch

from ... import __version__, provenance
from ...errors import BadInput
from ...host import lora
from ...host.protocols import Clip, Model
from ...types import LoraEntry, Person, Report, Status
from ..names import check_name
from . import formats as lora_files
from . import merge


def entry(file: str | None, tensors: dict[str, torch.Tensor] | None, person: Person | None, role: str, weight: float = 1.0) -> LoraEntry:
    """One LoRA to merge: a person takes precedence over a trained LoRA, and that over a file. Raises BadInput when there is none."""
    if person is not None:
        return LoraEntry(person.name, weight, weight, role, person=person)
    if tensors is not None:
        return LoraEntry("trained LoRA", weight, weight, role, tensors=tensors)
    if file is None:
        raise BadInput("No LoRA is chosen: the file is 'None' and nothing is connected. Choose a file or connect a person or a LoRA.")
    return LoraEntry(file, weight, weight, role, file=lora.path_of(file))


def save_merged(model: Model, clip: Clip | None, entries: list[LoraEntry], *, name: str, rank: int, report: Report) -> None:
    """Write the weighted sum of all LoRAs as one file and report it.

    It is written to the folder of the person in it, so that deleting the person deletes it, else to the host's LoRA folder."""
    name = check_name(name)
    merged = merge.merge(model, clip, entries, rank)
    owner = next((person.folder for person in (one.person for one in entries) if person is not None and person.folder), None)
    path = (owner or lora.own_folder()) / f"{name}.safetensors"
    if owner is not None and path.stem == owner.name:
        raise BadInput(f"{path.name} is the person's own LoRA. Give the merged LoRA another name in 'save_as'.")
    parts = [{"name": one.name, "role": one.role, "model": one.strength_model, "text": one.strength_clip} for one in entries]
    lora_files.write(path, merged.tensors, {"facechain_merged": json.dumps(parts), "facechain_studio": __version__, **_header()})
    exact = "exactly" if not merged.error else f"with a relative error of {merged.error:.2%}"
    report.add(path.name, Status.WRITTEN, folder=str(path.parent), rank=merged.rank)
    report.notes.append(f"{path.name} in {path.parent} holds the sum {exact}, at rank {merged.rank}.")


def _header() -> dict[str, str]:
    return {lora_files.USED: json.dumps(provenance.current().plain())}
