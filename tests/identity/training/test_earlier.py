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
from facechain_impl.identity.training import looks, sheet  # noqa: E402
from facechain_impl.identity.training.looks import LookPlan  # noqa: E402
from facechain_impl.identity.training.settings import Average  # noqa: E402
from facechain_impl.identity.training.state import unfinished  # noqa: E402
from facechain_impl.photos import study as photo_study  # noqa: E402
from facechain_impl.provenance import Used  # noqa: E402

from .test_likeness import faces_of, kept, looked  # noqa: E402
from .test_train import changed, order, same, stop_at, stopped, weights  # noqa: E402


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

    @pytest.mark.parametrize("step", [8, 3])
    def test_the_sheet_is_shown_again_with_the_used_step_marked(self, home, sd15, photos, scripted, monkeypatch, step):
        drawn = [torch.full((32, 32, 3), 0.2 * number) for number in range(1, 5)]
        monkeypatch.setattr(looks.Sitting, "portraits", lambda self, seeds: drawn)
        scripted.values += [0.2, 0.5, 0.5, 0.45]
        first = train.train_face_lora(kept(sd15, photos, scripted))
        persons.rename("Ann", "Bea")
        request = kept(sd15, photos, scripted, name="Bea", use_step=step)
        again = train.train_face_lora(request)
        assert again.sheet.shape == first.sheet.shape and torch.equal(again.sheet, first.sheet) is (step == 8)
        tile = sheet.SIDE + sheet.GAP
        portraits = (slice(sheet.GAP, sheet.GAP + sheet.SIDE), slice(sheet.LABEL_WIDTH, sheet.LABEL_WIDTH + 4 * tile - sheet.GAP))
        assert torch.equal(again.sheet[portraits], first.sheet[portraits]) and first.sheet[portraits].std() > 0.1
        marked = [row for row in range(3) if tuple((again.sheet[sheet.GAP + row * tile + 9, 1] * 255).round().int().tolist()) == sheet.MARK]
        assert marked == [2 if step == 8 else 0]

    def test_without_portraits_there_are_curves(self, home, sd15, photos):
        request = changed(order(sd15, photos), looks=LookPlan(2))
        first, again = (train.train_face_lora(request) for _ in range(2))
        assert torch.equal(first.sheet, again.sheet) and len(again.losses) == 4
        assert train.train_face_lora(order(sd15, photos, name="Bea", seed=1)).sheet is None

    def test_a_full_disk_leaves_the_description_as_it_was(self, home, sd15, photos, monkeypatch):
        train.train_face_lora(order(sd15, photos))
        with monkeypatch.context() as patch:
            patch.setattr(persons.atomic, "write", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(persons.atomic.FaceChainError, match="The disk is full"):
                train.train_face_lora(changed(order(sd15, photos), trigger="<ann>"))
        one = persons.load("Ann")
        assert one.trigger == header(one.lora_file)["trigger"] == "<fcsks>, a woman"


def more_steps(request, steps: int, **policy):
    return changed(train.replace(request, settings=train.replace(request.settings, steps=steps)), **policy)


class TestLonger:
    """More steps are worth more looks, which must not make the training another one."""

    def test_a_training_of_few_looks(self, home, sd15, photos, scripted):
        scripted.values += [0.2, 0.5, 0.45] + [0.3, 0.5, 0.45]
        short = train.train_face_lora(looked(sd15, photos, scripted, count=2))
        longer = train.train_face_lora(more_steps(looked(sd15, photos, scripted), 12))
        assert any(note.startswith("Lengthened the finished training of Ann: goes on after step 8") for note in longer.report.notes)
        assert longer.losses[:8] == short.losses and len(longer.losses) == 12

    def test_the_mean_of_few_looks(self, home, sd15, photos):
        mean = order(sd15, photos, average=Average.MEAN)
        train.train_face_lora(changed(mean, looks=LookPlan(2)))
        longer = train.train_face_lora(more_steps(mean, 6, looks=LookPlan(3)))
        assert any(note.startswith("Lengthened the finished training of Ann: goes on after step 4") for note in longer.report.notes)

    def test_as_many_steps_are_no_longer_training(self, home, sd15, photos, scripted, monkeypatch):
        """The step that other looks chose, or where they were stopped, is not gone on from."""
        scripted.values += [0.2, 0.6, 0.3, 0.55]
        first = train.train_face_lora(looked(sd15, photos, scripted))
        assert first.person.report["used_step"] == 6
        scripted.values += [0.3, 0.4, 0.4]
        again = train.train_face_lora(looked(sd15, photos, scripted, count=2))
        assert not any("Lengthened" in note for note in again.report.notes) and len(again.losses) == 8
        persons.delete("Ann")
        persons.delete("Ann-2")
        scripted.values[:] = [0.2]
        stopped(monkeypatch, looked(sd15, photos, scripted), 5)
        scripted.values[:] = [0.3, 0.4, 0.4]
        third = train.train_face_lora(looked(sd15, photos, scripted, count=2))
        assert not any("Lengthened" in note for note in third.report.notes)

    def test_the_state_that_was_lengthened_goes_with_the_longer_training(self, home, sd15, photos, monkeypatch):
        stopped(monkeypatch, order(sd15, photos), 3)
        stopped(monkeypatch, order(sd15, photos[:2], name="Bea"), 3)
        stopped(monkeypatch, order(sd15, photos, steps=8), 5)
        assert len(unfinished()) == 3, "nothing is deleted before the longer one is stored"
        assert "Resumed after step 5 of 8." in train.train_face_lora(order(sd15, photos, steps=8)).report.notes
        assert [one.name for one in unfinished()] == ["Bea"]
