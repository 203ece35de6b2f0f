"""Pickles: published containers are accepted, everything else gets a message and changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random as random_generator
from types import FunctionType

import numpy as np
import pytest
import torch

from facechain_impl.errors import KeyMismatch, WeightsError
from facechain_impl.networks.flcm import FLCM
from facechain_impl.networks.published import Entry
from facechain_impl.networks.sources import CARD
from facechain_impl.types import Origin
from facechain_impl.weights import catalogue, convert, files, headers, load
from facechain_impl.weights.stand_ins import networks as stand_ins

from .conftest import container

NAME = "flcm"


def expected() -> dict:
    return stand_ins.make(FLCM.layout(), 1)


def opened() -> dict:
    return load.tensors(load.find(NAME))


def contents(folder: Path) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("prefix", ["", "module.", "module.model."])
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_published_containers(published, prefix, legacy):
    published(NAME, prefix=prefix, legacy=legacy)
    tensors = opened()
    assert tensors.keys() == expected().keys()
    assert all(torch.equal(tensors[name], value) for name, value in expected().items())


def test_without_the_documented_container(published):
    entry = catalogue.get(NAME)
    torch.save(container(entry)[entry.key], published(NAME))
    assert opened().keys() == expected().keys()


def test_half_precision_on_disk_is_float32_in_memory(published):
    path = published(NAME, half=True)
    tensors = opened()
    assert {value.dtype for value in tensors.values()} == {torch.float32, torch.int64}
    name = "rp_net.binary_cls.weight"
    assert torch.equal(tensors[name], expected()[name].half().float())
    stored = headers.read(path.with_name(f"{NAME}.safetensors")).layout
    assert torch.float16 in {dtype for _, dtype in stored.values()}


def test_the_pickle_is_opened_once(published, monkeypatch):
    path = published(NAME)
    first = load.find(NAME)
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("the pickle was opened again"))
    assert load.find(NAME) == first
    path.unlink()
    assert load.find(NAME) == first


def test_a_changed_pickle_is_converted_again(published):
    published(NAME)
    opened()
    published(NAME, seed=2)
    assert torch.equal(opened()["rp_net.binary_cls.weight"], stand_ins.make(FLCM.layout(), 2)["rp_net.binary_cls.weight"])


def test_what_is_recorded(published):
    path = published(NAME, epoch=7)
    metadata = headers.read(load.find(NAME).path).metadata
    assert metadata["sha256"] == files.sha256(path)
    assert metadata["source"] == "pytorch_model.pt"
    assert json.loads(metadata["container"]) == ["state_dict", "epoch"]
    assert load.find(NAME).origin is Origin.UNKNOWN


def test_optimiser_numbers_are_harmless(published):
    published(NAME, best=np.float64(0.5), step=np.int64(3), optimizer={"lr": np.float32(1e-3)})
    assert opened().keys() == expected().keys()


def test_optimiser_numbers_of_the_older_numpy(published):
    path = published(NAME, best=np.float64(0.5), legacy=True)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert b"numpy.core.multiarray" in path.read_bytes()
    assert convert.unpickle(path)["best"] == 0.5


def test_what_the_host_allows_neither_counts_nor_changes(published):
    """The host lets pickles name a numpy scalar that reads as None, and numpy's dtype. Which of two of one name counts is chance."""
    path = published(NAME, best=np.float64(0.5), legacy=True)
    path.write_bytes(path.read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    mute = [FunctionType((lambda *args: None).__code__, {}, "scalar") for _ in range(20)]
    for function in mute:
        function.__module__, function.__qualname__ = "numpy.core.multiarray", "scalar"
    with torch.serialization.safe_globals([*mute, np.dtype, np.dtypes.Float64DType]):
        before = set(torch.serialization.get_safe_globals())
        assert convert.unpickle(path)["best"] == 0.5
        assert set(torch.serialization.get_safe_globals()) == before > set(mute)


def test_training_leftovers_and_missing_counters(published):
    entry = Entry("x", "X", "a/b", "v1", "x.pt", CARD, network=FLCM, ignore=("criterion.",))
    tensors = expected() | {"criterion.empty_weight": torch.ones(3)}
    tensors = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    assert convert.state_dict(tensors, entry, Path("x.pt")).keys() == expected().keys()


def test_tags_are_kept(models):
    assert json.loads(_tagged(models).metadata["tags"]) == ["a", "b"]


def _tagged(models) -> headers.Header:
    entry = catalogue.get("face_frombase_c4")
    path = models / entry.path
    torch.save({"one.weight": torch.ones(2, 2), "tags": ["a", "b"]}, path)
    return headers.read(convert.convert(entry, path))


def test_shared_memory_is_separated(models):
    entry = catalogue.get("face_frombase_c4")
    path, whole = models / entry.path, torch.arange(6.0)
    torch.save({"a": whole, "b": whole, "c": whole.view(2, 3).T}, path)
    tensors = convert.headers.read(convert.convert(entry, path)).layout
    assert tensors["c"][0] == (3, 2)


class Attack:
    def __reduce__(self):
        return os.system, ("echo broken > /tmp/facechain-test-was-attacked",)


def spoiled(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "web page":
        path.write_bytes(b"<!DOCTYPE html><title>Sign in</title>")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "malicious":
        torch.save({"state_dict": expected(), "hook": Attack()}, path)
    elif how == "other architecture":
        torch.save({"state_dict": {"conv1.weight": torch.zeros(64, 3, 7, 7)}}, path)
    elif how == "other shapes":
        torch.save({"state_dict": {name: value[..., None] for name, value in expected().items()}}, path)
    elif how == "renamed safetensors":
        stand_ins.write(path, expected(), {})
    elif how == "no tensors":
        torch.save({"state_dict": {}, "epoch": 3}, path)


@pytest.mark.parametrize(
    ("how", "message"),
    [("truncated", "its end is missing"), ("web page", "it begins with b'<!'"), ("empty", "is empty"),
     ("malicious", r"calls for posix.system"), ("other architecture", "93 missing.*1 unexpected: conv1.weight"),
     ("other shapes", "of another shape"), ("renamed safetensors", "should be a PyTorch file"), ("no tensors", "contains no tensors")],
)  # fmt: skip
def test_bad_files_get_a_message_and_change_nothing(published, how, message):
    path = published(NAME)
    spoiled(path, how)
    before = contents(path.parent)
    with pytest.raises(WeightsError, match=message) as caught:
        load.find(NAME)
    assert str(path) in str(caught.value)
    assert contents(path.parent) == before
    assert not Path("/tmp/facechain-test-was-attacked").exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_flipped_bytes_are_always_refused_with_a_message(models, legacy):
    """Or read, where they changed a number only."""
    path, random = models / "x.pt", random_generator(1)
    torch.save({"a": torch.ones(5, 5), "b": [1, {"c": 1.5}]}, path, _use_new_zipfile_serialization=not legacy)
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        data = bytearray(whole)
        for place in random.sample(range(min(len(data), 700)), 2):
            data[place] = random.randrange(256)
        path.write_bytes(data)
        try:
            convert.unpickle(path)
        except WeightsError as error:
            refused += 1
            assert str(path) in str(error)
    assert refused > 20


def test_a_truncated_legacy_file(published):
    path = published(NAME, legacy=True)
    spoiled(path, "truncated")
    with pytest.raises(WeightsError, match="Delete it and get it again"):
        load.find(NAME)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_the_old_conversion_survives_a_bad_new_pickle(published):
    path = published(NAME)
    opened()
    before = contents(path.parent)[f"{NAME}.safetensors"]
    spoiled(path, "other architecture")
    with pytest.raises(KeyMismatch, match="is not Landmark confidence FLCM"):
        load.find(NAME)
    assert contents(path.parent)[f"{NAME}.safetensors"] == before


def test_a_folder_that_cannot_be_written(published, monkeypatch):
    path = published(NAME)

    def refuse(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(WeightsError, match="No space left on device"):
        load.find(NAME)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
