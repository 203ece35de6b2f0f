"""The older files of SadTalker become the bundle."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import KeyMismatch
from facechain_impl.networks.published import Entry
from facechain_impl.weights import catalogue, legacy_talking, load
from facechain_impl.weights.stand_ins import networks as stand_ins


@pytest.fixture
def folder(models, monkeypatch):
    monkeypatch.setattr(Entry, "layout", Entry.narrow_layout)
    place = models / "facechain" / catalogue.get("sadtalker_256").place
    place.parent.mkdir(parents=True)
    return place.parent


def write(folder, wrap: str = "", leave_out: str = "") -> dict:
    """The four files, from the tensors of one bundle, which is returned."""
    bundle = stand_ins.make(catalogue.get("sadtalker_256").narrow_layout(), 1)
    contents: dict[str, dict] = {"facevid2vid_00189-model.pth.tar": {"he_estimator": {"x": torch.ones(1)}, "epoch": 189}}
    for part, (file, key) in legacy_talking.LEGACY.items():
        prefix = catalogue.get(f"sadtalker_256.{part}").prefix
        found = {wrap + name.removeprefix(prefix): value for name, value in bundle.items() if name.startswith(prefix)}
        contents.setdefault(file, {})[key] = {name: value for name, value in found.items() if name != leave_out}
    for file, content in contents.items():
        torch.save(content, folder / file)
    return bundle


@pytest.mark.parametrize("wrap", ["", "module."])
def test_four_files_become_the_bundle(folder, wrap):
    bundle = write(folder, wrap)
    assert legacy_talking.assemble().name == "SadTalker_V0.0.2_256.safetensors"
    found = load.tensors(load.find("sadtalker_256.generator"))
    assert torch.equal(found["decoder.fc.weight"], bundle["generator.decoder.fc.weight"])
    assert legacy_talking.assemble() is None


def test_three_files_are_not_enough(folder):
    write(folder)
    (folder / "epoch_20.pth").unlink()
    assert legacy_talking.assemble() is None and not list(folder.glob("*.safetensors"))


def test_a_missing_tensor_is_named(folder):
    write(folder, leave_out="kp.weight")
    with pytest.raises(KeyMismatch, match=r"kp\.weight"):
        legacy_talking.assemble()
    assert not list(folder.glob("*.safetensors"))
