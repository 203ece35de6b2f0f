"""What was trained before and is asked for again: the same, with another description, or longer."""

from __future__ import annotations

import json

import numpy as np
import pytest
import safetensors
import torch

train = pytest.importorskip("facechain_impl.identity.training.train", reason="set COMFYUI_PATH")
from facechain_impl import provenance  # noqa: E402
from facechain_impl.geometry.pixels import to_bytes  # noqa: E402
from facechain_impl.identity import persons  # noqa: E402
from facechain_impl.photos import study as photo_study  # noqa: E402
from facechain_impl.provenance import Used  # noqa: E402

from .test_likeness import faces_of, kept  # noqa: E402
from .test_train import changed, order, same, stop_at, weights  # noqa: E402


def header(path) -> dict:
    with safetensors.safe_open(path, "pt") as file:
        return json.loads(file.metadata()["facechain"])


class TestFinished:
    """The weights stay, and what a training decides beside them is what was asked for now."""

    def test_another_trigger_is_taken(self, home, sd15, photos, monkeypatch):
        first = train.train_face_lora(order(sd15, photos))
        stop_at(monkeypatch, 0, AssertionError("trained again"))
        again = train.train_face_lora(changed(order(sd15, photos), trigger="<ann>, a woman"))
        assert again.person.trigger == persons.load("Ann").trigger == "<ann>, a woman"
        assert "The trigger is now '<ann>, a woman'; before it was '<fcsks>, a woman'." in again.report.notes
        assert header(again.person.lora_file) == header(first.person.lora_file) | {"trigger": "<ann>, a woman"}
        assert same(weights(first), weights(again)) and persons.names() == ["Ann"]
        assert {path.name for path in first.person.folder.iterdir()} == {"Ann.safetensors", "person.json", "template.png"}
        assert len(train.train_face_lora(changed(order(sd15, photos), trigger="<ann>, a woman")).report.notes) == 1

    def test_kept_steps_take_it_too(self, home, sd15, photos, scripted):
        scripted.values += [0.2, 0.5, 0.5, 0.45]
        train.train_face_lora(kept(sd15, photos, scripted))
        persons.describe(train.replace(persons.load("Ann"), trigger="<ann>"))
        assert header(persons.step_file("Ann", 3))["trigger"] == "<ann>"
        assert persons.use_step("Ann", 3).trigger == header(persons.folder_of("Ann") / "Ann.safetensors")["trigger"] == "<ann>"

    def test_another_recognition_network(self, home, sd15, photos, monkeypatch):
        first = train.train_face_lora(changed(order(sd15, photos), faces=faces_of(photos)))
        with provenance.recording():
            old, new = (Used("network", "rts", sha256=digit * 64) for digit in "12")
            persons.describe(train.replace(first.person, used=(old, Used("MODEL", "base"))))
            provenance.register(new)
            stop_at(monkeypatch, 0, AssertionError("trained again"))
            again = train.train_face_lora(changed(order(sd15, photos), faces=faces_of(photos, person=1)))
        assert np.array_equal(persons.load("Ann").embedding, np.eye(512, dtype=np.float32)[1])
        assert any(note.startswith("The person's embedding was computed anew") for note in again.report.notes)
        assert [one for one in again.person.used if one.name in ("rts", "base")] == [Used("MODEL", "base"), new]

    def test_without_recognition_the_embedding_stays(self, home, sd15, photos):
        train.train_face_lora(changed(order(sd15, photos), faces=faces_of(photos)))
        again = train.train_face_lora(changed(order(sd15, photos), trigger="<ann>"))
        assert np.array_equal(again.person.embedding, np.eye(512, dtype=np.float32)[0]) and again.person.trigger == "<ann>"

    def test_another_best_photo(self, home, sd15, photos, monkeypatch):
        train.train_face_lora(order(sd15, photos))
        monkeypatch.setattr(photo_study, "best", lambda photos, found: 2)
        stop_at(monkeypatch, 0, AssertionError("trained again"))
        again = train.train_face_lora(order(sd15, photos))
        assert np.array_equal(to_bytes(again.person.photo), to_bytes(photos[2]))
        assert any(note.startswith("Another photo stands for the person now") for note in again.report.notes)

    def test_a_full_disk_leaves_the_description_as_it_was(self, home, sd15, photos, monkeypatch):
        train.train_face_lora(order(sd15, photos))
        with monkeypatch.context() as patch:
            patch.setattr(persons.atomic, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(persons.atomic.FaceChainError, match="The disk is full"):
                train.train_face_lora(changed(order(sd15, photos), trigger="<ann>"))
        one = persons.load("Ann")
        assert one.trigger == header(one.lora_file)["trigger"] == "<fcsks>, a woman"
