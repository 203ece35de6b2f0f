"""Opening files: the real one, a stand-in, or the error that says how to get it."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest
import torch

from facechain_impl.errors import KeyMismatch, MissingWeights, WeightsError
from facechain_impl.networks.damofd import DamoFD
from facechain_impl.types import Origin
from facechain_impl.weights import catalogue, convert, files, load
from facechain_impl.weights.stand_ins import networks as stand_ins


@pytest.fixture
def stand_in(models):
    return lambda name, seed=1: stand_ins.write_stand_in(name, models / "facechain_stand_ins", seed)


def test_missing_weights_say_everything(models):
    with pytest.raises(MissingWeights) as caught:
        load.find("rts")
    message = str(caught.value)
    for part in (
        "Rank by Likeness (RTS)", "pytorch_model.pt", str(models / "facechain" / "cv_ir_face-recognition-ood_rts"), "about 192.9 MB",
        "non-commercial use only", "python run.py models get rts", "damo/cv_ir_face-recognition-ood_rts v2.5",
    ):  # fmt: skip
        assert part in message


def test_stand_in_then_published(stand_in, published):
    stand_in("damofd")
    found = load.find("damofd")
    assert found.origin is Origin.STAND_IN
    published("damofd", seed=3)
    better = load.find("damofd")
    assert better.origin is Origin.UNKNOWN
    assert better.key != found.key
    weight = stand_ins.make(DamoFD.layout(), 3)["bbox_head.stride_cls.0.weight"]
    assert torch.equal(load.network(better).state_dict()["bbox_head.stride_cls.0.weight"], weight)


def test_a_stand_in_in_the_wrong_folder_stays_a_stand_in(models, stand_in):
    path = stand_in("damofd")
    place = models / "facechain" / catalogue.get("damofd").converted_place
    place.parent.mkdir(parents=True)
    os.replace(path, place)
    assert load.find("damofd").origin is Origin.STAND_IN


def test_networks_are_ready_to_run(published):
    published("damofd", half=True)
    network = load.network(load.find("damofd"))
    assert isinstance(network, DamoFD)
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_network_of_another_kind_under_the_right_name(models):
    place = models / "facechain" / catalogue.get("damofd").converted_place
    place.parent.mkdir(parents=True)
    stand_ins.write(place, {"conv.weight": torch.zeros(1)}, {})
    with pytest.raises(KeyMismatch, match=r"damofd\.safetensors is not Face detector DamoFD.* It holds 1 tensors: conv\.weight"):
        load.network(load.find("damofd"))


def test_one_network_of_a_file_with_several(models):
    entry = catalogue.get("sadtalker_256")
    part = entry.part("keypoints")
    place = models / "facechain" / entry.place
    place.parent.mkdir(parents=True)
    stand_ins.write(place, stand_ins.make(part.layout(), 1), {})
    network = load.network(load.find("sadtalker_256.keypoints"))
    assert isinstance(network, part.network)
    with pytest.raises(KeyMismatch, match=r"no tensors under 'generator\.'"):
        load.network(load.find("sadtalker_256.generator"))


def test_published_only_when_recorded_at_this_revision(published):
    path = published("fusion_alpha")
    assert load.find("fusion_alpha").origin is Origin.UNKNOWN
    files.write_record(path, files.sha256(path), "v0.9")
    assert load.find("fusion_alpha").origin is Origin.UNKNOWN
    files.write_record(path, files.sha256(path), catalogue.get("fusion_alpha").revision)
    assert load.find("fusion_alpha").origin is Origin.PUBLISHED
    path.write_bytes(path.read_bytes() + b"\0")
    assert load.find("fusion_alpha").origin is Origin.UNKNOWN


def test_a_damaged_record_makes_the_origin_unknown(published):
    path = published("fusion_alpha")
    path.with_name(files.RECORD).write_text("{", "utf-8")
    assert load.find("fusion_alpha").origin is Origin.UNKNOWN


def test_documented_hashes(published, monkeypatch):
    """Of some files only both ends of the hash are documented."""
    entry = catalogue.get("flcm")
    path = published("flcm")
    digest = files.sha256(path)
    for documented, origin in ((f"{digest[:8]}…{digest[-4:]}", Origin.PUBLISHED), (f"{digest[:8]}…0000x", Origin.UNKNOWN)):
        monkeypatch.setitem(catalogue._BY_NAME, "flcm", entry.__class__(**{**entry.__dict__, "sha256": documented}))
        convert.convert(catalogue.get("flcm"), path)
        assert load.find("flcm").origin is origin


def test_tags(models, stand_in):
    tagged = models / "facechain_stand_ins" / "deepdanbooru.safetensors"
    stand_ins.write(tagged, {"a": torch.ones(1)}, {"tags": '["hat", "smile"]'})
    assert load.tags(load.find("deepdanbooru")) == ["hat", "smile"]
    stand_ins.write(tagged, {"a": torch.ones(1)}, {})
    with pytest.raises(WeightsError, match="contains no list of tags"):
        load.tags(load.find("deepdanbooru"))


def test_onnx_sessions(stand_in):
    stand_in("rot_bgr")
    session = load.session(load.find("rot_bgr"))
    rows = session.run(None, {session.get_inputs()[0].name: np.ones((1, 3, 224, 224), np.float32)})[0]
    assert rows.shape == (1, 4)
    assert np.isfinite(rows).all()


def test_bad_onnx(models, published):
    path = published("rot_bgr")
    path.write_bytes(b"\x08\x08\x12\x03abc")
    with pytest.raises(WeightsError, match=r"rot_bgr\.onnx cannot be opened by onnxruntime"):
        load.session(load.find("rot_bgr"))
    path.write_bytes(b"not a protocol buffer")
    with pytest.raises(WeightsError, match="should be an ONNX file"):
        load.session(load.find("rot_bgr"))


def test_without_onnxruntime(stand_in, monkeypatch):
    stand_in("rot_bgr")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install onnxruntime"):
        load.session(load.find("rot_bgr"))


def test_without_the_gpu_build_of_onnxruntime(stand_in, monkeypatch, caplog):
    stand_in("rot_bgr")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert load.session(load.find("rot_bgr")).get_providers() == ["CPUExecutionProvider"]
    assert "pip install onnxruntime-gpu" in caplog.text
