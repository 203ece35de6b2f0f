"""The store of trained persons: one folder each, the only place of their LoRA, so that deleting it deletes everything."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .. import atomic, provenance
from ..errors import BadInput
from ..geometry.pixels import to_bytes
from ..host import folders
from ..provenance import Record, Used
from ..types import Person, thawed
from .lora import formats as lora_files
from .names import check_name

_CARD, _PHOTO, _STEPS, _LOOKS = "person.json", "template.png", "steps", "looks.png"
HEADER = "facechain"
"""Key in the header of a trained LoRA for what its training reports, as JSON."""
# What a folder beside the store was on the way to, before its own name.
_REPLACED, _DELETED = "replaced ", "deleted "


class IfExists(str, Enum):
    """What to do when a person of that name is already stored."""

    KEEP_BOTH = "Keep both"
    REPLACE = "Replace"
    STOP = "Stop"


def folder_of(name: str) -> Path:
    return folders.persons_folder() / check_name(name)


def lora_name(name: str) -> str:
    """The person's LoRA as the host's LoRA list shows it."""
    return str(Path(name) / f"{name}.safetensors")


def names() -> list[str]:
    """All stored persons, in alphabetical order."""
    _recover()
    root = folders.persons_folder()
    return sorted(path.parent.name for path in root.glob(f"*/{_CARD}")) if root.is_dir() else []


def card(name: str) -> dict:
    """A person's card: trigger, embedding, training report. Raises BadInput for an unknown name."""
    _recover()
    path = folder_of(name) / _CARD
    if not path.is_file():
        raise BadInput(f"There is no person {name!r}. Stored persons: {', '.join(names()) or 'none'}. Train or save one first.")
    return json.loads(path.read_text("utf-8"))


def load(name: str) -> Person:
    """A stored person with the LoRA read. Raises BadInput for an unknown name, WeightsError when the LoRA is damaged."""
    about, folder = card(name), folder_of(name)
    path = folder / f"{folder.name}.safetensors"
    if not path.is_file():
        raise BadInput(f"{path} is missing: only the description of {name!r} is left. Delete the person or train again.")
    embedding = about.get("embedding")
    return Person(
        name=folder.name,
        lora=lora_files.read(path).tensors,
        trigger=about.get("trigger", ""),
        photo=_read_picture(folder / _PHOTO),
        embedding=None if embedding is None else np.asarray(embedding, np.float32),
        report=about.get("report", {}),
        folder=folder,
        lora_file=path,
        used=tuple(Used.from_plain(one) for one in about.get("report", {}).get("used", ())),
    )


def _read_picture(path: Path) -> torch.Tensor | None:
    if not path.is_file():
        return None
    with Image.open(path) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)


def _write_picture(path: Path, picture: torch.Tensor) -> None:
    with atomic.replacing(path) as partial:
        Image.fromarray(to_bytes(picture)).save(partial, format="png")


def looks(name: str) -> torch.Tensor | None:
    """What was drawn during a person's training, [H, W, 3] in 0..1, if anything was."""
    return _read_picture(folder_of(name) / _LOOKS)


def step_file(name: str, step: int) -> Path:
    """Where the LoRA of an intermediate step of a person's training is, if it was kept."""
    return folder_of(name) / _STEPS / f"step {step}.safetensors"


def save(
    person: Person,
    metadata: dict[str, str],
    if_exists: IfExists = IfExists.KEEP_BOTH,
    steps: Mapping[int, Mapping[str, torch.Tensor]] | None = None,
    looks: torch.Tensor | None = None,
) -> Person:
    """Store a person completely or not at all: the returned person has the final name, folder and file. steps: LoRAs of intermediate
    steps, stored beside the person's. looks: what was drawn during the training, [H, W, 3] in 0..1.

    The card and the header of the LoRA file record what the person was made with. Raises BadInput for a name that cannot be used,
    FaceChainError when the disk is full."""
    used = Record((*person.used, *provenance.current())).plain()
    name = free_name(person.name, if_exists)
    target = folder_of(name)
    work = _work_folder() / uuid.uuid4().hex
    try:
        with atomic.explained(target):
            _write(work, name, person, metadata, used)
            if looks is not None:
                _write_picture(work / _LOOKS, looks)
            for step, tensors in (steps or {}).items():
                lora_files.write(work / _STEPS / step_file(name, step).name, tensors, metadata | {"facechain_step": str(step)})
            _move_in(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    with provenance.recording():  # what is read back was not used for the work
        return load(name)


def _write(folder: Path, name: str, person: Person, metadata: dict[str, str], used: list) -> None:
    lora_files.write(folder / f"{name}.safetensors", person.lora, metadata | _used_header(used))
    _write_card(folder, name, person, used)


def _used_header(used: list) -> dict[str, str]:
    return {lora_files.USED: json.dumps(used)} if used else {}


def _write_card(folder: Path, name: str, person: Person, used: list) -> None:
    if person.photo is not None:
        _write_picture(folder / _PHOTO, person.photo)
    embedding = None if person.embedding is None else [float(value) for value in person.embedding]
    report = thawed(person.report) | ({"used": used} if used else {})
    about = {"name": name, "trigger": person.trigger, "embedding": embedding, "report": report}
    atomic.write(folder / _CARD, json.dumps(about, indent=1))


def describe(person: Person) -> Person:
    """Put the trigger, photo, embedding and `used` of a stored person in the place of those on the card and in the headers of the LoRA
    files, all or none; weights stay. Raises FaceChainError when the disk is full."""
    name, target, used = person.name, folder_of(person.name), Record(person.used).plain()
    work = _work_folder() / uuid.uuid4().hex
    try:
        with atomic.explained(target), provenance.recording():
            shutil.copytree(target, work, copy_function=_linked)
            for path in work.rglob("*.safetensors"):
                file = lora_files.read(path)
                about = json.loads(file.metadata.get(HEADER, "{}")) | {"trigger": person.trigger}
                lora_files.write(path, file.tensors, file.metadata | {HEADER: json.dumps(about)} | _used_header(used))
            _write_card(work, name, person, used)
            _move_in(work, target)
            return load(name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def use_step(name: str, step: int) -> Person:
    """Put the LoRA of a kept step in the place of the person's. Raises BadInput where it was not kept."""
    about, source, target = card(name), step_file(name, step), folder_of(name) / f"{name}.safetensors"
    if not source.is_file():
        kept = sorted(int(path.stem.removeprefix("step ")) for path in source.parent.glob("step *.safetensors"))
        steps = ", ".join(map(str, kept)) or "none; switch keep_steps on and train again with Start over"
        raise BadInput(f"Step {step} of {name} was not kept. Kept steps: {steps}.")
    with atomic.replacing(target) as partial:
        shutil.copyfile(source, partial)
    atomic.write(folder_of(name) / _CARD, json.dumps(about | {"report": about["report"] | {"used_step": step, "averaged": []}}, indent=1))
    return load(name)


def free_name(name: str, if_exists: IfExists) -> str:
    """The name under which a person will be stored. Raises BadInput when the name is taken and the policy is Stop."""
    _recover()
    name = check_name(name)
    if if_exists is IfExists.REPLACE or not folder_of(name).exists():
        return name
    if if_exists is IfExists.STOP:
        raise BadInput(f"A person {name!r} is already stored. Choose another name, or set 'if_person_exists' to Replace or Keep both.")
    number = 2
    while folder_of(f"{name}-{number}").exists():
        number += 1
    return f"{name}-{number}"


def _work_folder() -> Path:
    """Next to the store, on the same disk, and outside the folders that the host lists."""
    return folders.persons_folder().parent / ".persons-unfinished"


def _move_in(work: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        os.replace(work, target)
        return
    old = _work_folder() / f"{_REPLACED}{target.name}"
    os.replace(target, old)
    os.replace(work, target)
    _discard(old)


def _discard(folder: Path) -> None:
    """Delete a folder that is no longer used: now or, if this is interrupted, the next time the store is read."""
    gone = _work_folder() / f"{_DELETED}{uuid.uuid4().hex}"
    gone.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, gone)
    shutil.rmtree(gone)


def _recover() -> None:
    """Finish what a killed process left half done: the person who was about to be replaced is restored, deleted ones are removed."""
    for left in _work_folder().glob(f"{_REPLACED}*"):
        place = folders.persons_folder() / left.name.removeprefix(_REPLACED)
        if place.exists():
            _discard(left)
        else:
            os.replace(left, place)
    for left in _work_folder().glob(f"{_DELETED}*"):
        shutil.rmtree(left, ignore_errors=True)


def rename(name: str, new_name: str) -> None:
    """Rename a stored person: all exists under the new name before the old one is deleted. Raises BadInput when the name is taken."""
    about, source = card(name), folder_of(name)
    target = folder_of(free_name(new_name, IfExists.STOP))
    work = _work_folder() / uuid.uuid4().hex
    try:
        with atomic.explained(target):
            shutil.copytree(source, work, copy_function=_linked)
            os.replace(work / f"{source.name}.safetensors", work / f"{target.name}.safetensors")
            atomic.write(work / _CARD, json.dumps(about | {"name": target.name}, indent=1))
            _move_in(work, target)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    _discard(source)


def _linked(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def delete(name: str) -> None:
    """Delete everything that is stored about a person, the LoRA included."""
    _recover()
    folder = folder_of(name)
    if not folder.is_dir():
        raise BadInput(f"There is no person {name!r}. Stored persons: {', '.join(names()) or 'none'}.")
    _discard(folder)


class FileWatch:
    """Counts how often the LoRA of a name went missing after this process had stored it, for the host's cache: a node whose
    output file was deleted must run again, one whose file is there must not."""

    def __init__(self) -> None:
        self._stored: dict[str, Path] = {}
        self._missing_counts: dict[str, int] = {}

    def stored(self, asked: str, file: Path | None) -> None:
        if file is not None:
            self._stored[asked] = file

    def missing_count(self, asked: str) -> int:
        if asked in self._stored and not self._stored[asked].is_file():
            del self._stored[asked]
            self._missing_counts[asked] = self._missing_counts.get(asked, 0) + 1
        return self._missing_counts.get(asked, 0)
