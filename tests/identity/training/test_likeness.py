"""Choosing the best step by likeness, masked loss, and class pictures."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

train = pytest.importorskip("facechain_impl.identity.training.train", reason="set COMFYUI_PATH")
from facechain_impl.errors import BadInput  # noqa: E402
from facechain_impl.geometry.affine import ARCFACE_112  # noqa: E402
from facechain_impl.identity.lora.formats import Layer  # noqa: E402
from facechain_impl.identity.training import likeness as train_likeness  # noqa: E402
from facechain_impl.identity.training.dataset import Batch  # noqa: E402
from facechain_impl.identity.training.likeness import LikenessPlan, LikenessWatch, held_out  # noqa: E402
from facechain_impl.identity.training.previews import Preview  # noqa: E402
from facechain_impl.photos import study as photo_study  # noqa: E402
from facechain_impl.types import Face, Faces, Picture, digest_of  # noqa: E402

from .test_train import changed, order, same, stop_at, weights  # noqa: E402

PREVIEW = Preview(2, "a", 1, 64, sampling_steps=1)


def faces_of(photos, masks=None, person=0) -> Faces:
    """Every photo holds one face whose embedding is known."""
    pictures = []
    for index, photo in enumerate(photos):
        embedding = np.eye(512, dtype=np.float32)[person]
        given = {} if masks is None else {"head": masks[index]}
        points = (ARCFACE_112 / 2).astype(np.float32)
        face = Face(np.array([8, 8, 56, 56], np.float32), 1.0, points, embedding=embedding, masks=given)
        pictures.append(Picture([face], tuple(photo.shape[:2]), digest_of(photo)))
    return Faces(pictures)


@pytest.fixture
def scripted(monkeypatch):
    """Likeness values in the order in which looks happen; None is a portrait without a face."""
    values: list = []
    monkeypatch.setattr(LikenessWatch, "_likeness", lambda self, pictures: values.pop(0))
    return values


@pytest.fixture
def more(photos):
    return [*photos, photos[0].flip(0), photos[1].flip(0)]


def likeness_order(objects, photos, every=2, patience=3, **changes):
    wanted = order(objects, photos, steps=8, **changes)
    return changed(wanted, faces=faces_of(photos), likeness=LikenessPlan(every, 1, patience), preview=PREVIEW)


def test_the_best_step_is_returned(home, sd15, photos, scripted):
    scripted += [0.2, 0.5, 0.3, 0.4]
    best = train.train_face_lora(likeness_order(sd15, photos))
    assert any(
        note == "Likeness 0.500 at step 4 was the best of 4 checks, measured on training photos, so it is optimistic."
        for note in best.report.notes
    )
    assert best.person.report["likeness"] == 0.5
    assert [list(pair) for pair in best.person.report["likeness_curve"]] == [[2, 0.2], [4, 0.5], [6, 0.3], [8, 0.4]]
    stopped = {}

    def catch(self, step, adapters, *rest, real=LikenessWatch.at):
        real(self, step, adapters, *rest)
        if step == 4:
            stopped.update(adapters[0].layers())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LikenessWatch, "at", catch)
        scripted += [0.2, 0.5, 0.3, 0.4]
        train.train_face_lora(likeness_order(sd15, photos, name="Bea"))
    ours = {key for key in weights(best) if key.endswith("lora_up.weight")}
    assert len(ours) == len(stopped)
    norms = sorted(float(weights(best)[key].norm()) for key in ours)
    assert norms == pytest.approx(sorted(float(layer.up.norm()) for layer in stopped.values()))


def test_stops_when_likeness_no_longer_rises(home, sd15, photos, scripted):
    scripted += [0.5, 0.4]
    result = train.train_face_lora(likeness_order(sd15, photos, patience=1))
    assert len(result.losses) == 4 and any("the likeness stopped rising" in note for note in result.report.notes)


def test_no_portrait_with_a_face_falls_back_to_the_last_step(home, sd15, photos, scripted):
    scripted += [None] * 4
    result = train.train_face_lora(likeness_order(sd15, photos))
    assert any("so the last step was used" in note for note in result.report.notes) and len(result.losses) == 8
    plain = train.train_face_lora(order(sd15, photos, name="Plain", steps=8))
    assert same(weights(plain), weights(result))


def test_where_opencv_has_no_cascades_the_training_ends_with_the_last_step(home, sd15, photos, monkeypatch):
    """Measuring would stop it half-way, after hours."""
    monkeypatch.delattr(cv2, "CascadeClassifier")
    result = train.train_face_lora(likeness_order(sd15, photos))
    assert any("Likeness was not measured" in note for note in result.report.notes) and len(result.losses) == 8
    plain = train.train_face_lora(changed(order(sd15, photos, name="Plain", steps=8), faces=faces_of(photos)))
    assert not any("Likeness" in note for note in plain.report.notes)
    assert same(weights(plain), weights(result))


def test_interrupted_with_likeness_resumes_to_the_same(home, sd15, photos, scripted, monkeypatch):
    scripted += [0.2, 0.5, 0.3, 0.4] + [0.2, 0.5, 0.3, 0.4]
    whole = train.train_face_lora(likeness_order(sd15, photos, name="Whole"))
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(likeness_order(sd15, photos))
    resumed = train.train_face_lora(likeness_order(sd15, photos))
    assert same(weights(whole), weights(resumed)) and not scripted


def test_photos_are_held_out_from_the_fourth_on(home, sd15, more, scripted):
    scripted += [0.1, 0.2, 0.3, 0.4]
    result = train.train_face_lora(likeness_order(sd15, more))
    assert sd15.vae.encodings == 4 * 2 and any("held out of the training" in note for note in result.report.notes)


def test_what_is_held_out(more):
    found = photo_study.study(more, faces_of(more))
    plan = LikenessPlan(100)
    assert held_out(5, plan, 1000, found) == [4] and held_out(5, plan, 50, found) == []
    assert held_out(3, plan, 1000, found) == [] and held_out(5, LikenessPlan(0), 1000, found) == []
    assert held_out(5, plan, 1000, photo_study.Study(found.facts)) == []


def test_looks_embed_the_portraits(monkeypatch):
    """The mean cosine of every face found with every reference; portraits without a face do not count."""
    portraits = [torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    first, second, third = faces_of(portraits).pictures
    other = replace(third.faces[0], embedding=np.eye(512, dtype=np.float32)[1])
    found = Faces([first, replace(second, faces=[]), replace(third, faces=[other])])
    monkeypatch.setattr(train_likeness, "find_faces", lambda pictures, detector: found)
    monkeypatch.setattr(train_likeness.models, "open_network", lambda name: None)
    watch = LikenessWatch(LikenessPlan(2), [np.eye(512, dtype=np.float32)[0]], PREVIEW, True)
    assert watch._likeness(portraits) == 0.5


def test_state_of_the_watch():
    watch = LikenessWatch(LikenessPlan(2), [], PREVIEW, True, [(2, 0.5)], [{"a": Layer(torch.ones(2, 1), torch.ones(1, 2), 4.0)}])
    again = LikenessWatch(LikenessPlan(2), [], PREVIEW, True)
    again.restore(watch.state())
    assert again.curve == [(2, 0.5)] and torch.equal(again.best[0]["a"].up, torch.ones(2, 1)) and again.best[0]["a"].alpha == 4.0


class TestMaskedLoss:
    def test_places_outside_count_less(self, home, sd15, photos):
        masks = [np.zeros((64, 64), np.float32) for _ in photos]
        for mask in masks:
            mask[16:48, 16:48] = 1
        masked = changed(order(sd15, photos, masked_loss=1.0), faces=faces_of(photos, masks))
        first, second = train.train_face_lora(masked), train.train_face_lora(order(sd15, photos, name="Bea"))
        assert not same(weights(first), weights(second))

    def test_a_full_mask_changes_nothing(self, home, sd15, photos):
        full = [np.ones((64, 64), np.float32) for _ in photos]
        masked = changed(order(sd15, photos, masked_loss=1.0), faces=faces_of(photos, full))
        first, second = train.train_face_lora(masked), train.train_face_lora(order(sd15, photos, name="Bea"))
        assert first.losses == pytest.approx(second.losses, rel=1e-5)

    def test_arithmetic(self):
        """Only the weighted places count, as a mean over them."""

        class Opened:
            device = torch.device("cpu")

            class objective:
                add_noise = staticmethod(lambda latents, noise, sigmas: latents)
                target = staticmethod(lambda latents, noise, sigmas: torch.zeros_like(latents))

            @staticmethod
            def predict(noisy, sigmas, conditions):
                return noisy

        latents = torch.zeros(1, 2, 2, 2)
        latents[:, :, 0, 0], latents[:, :, 1, 1] = 3.0, 100.0
        mask = torch.zeros(1, 1, 2, 2)
        mask[..., 0, 0] = 1
        trainer = object.__new__(train.Trainer)
        trainer._model, trainer._dtype = Opened(), torch.float32
        trainer.settings = train.TrainSettings(
            steps=1, learning_rate=1e-4, rank=4, alpha=4.0, schedule="constant", optimiser="AdamW", augmentation="Face crop"
        )
        assert trainer.loss(Batch(latents, latents, torch.ones(1), [0], [False], mask), []).item() == pytest.approx(9.0)

    def test_without_a_mask_it_is_refused(self, home, sd15, photos):
        with pytest.raises(BadInput, match="needs a head mask for every photo"):
            train.train_face_lora(changed(order(sd15, photos, masked_loss=0.5), faces=faces_of(photos)))


class TestPriorPreservation:
    def test_class_pictures_change_the_result_and_not_the_reported_loss_of_step_one(self, home, sd15, photos):
        plain = train.train_face_lora(order(sd15, photos))
        kept = changed(order(sd15, photos, name="Bea"), class_photos=[photos[0].flip(1)[:48]], class_caption="a woman")
        kept = train.train_face_lora(kept)
        assert kept.losses[0] == plain.losses[0] and kept.losses[1:] != plain.losses[1:]
        assert not same(weights(plain), weights(kept))

    def test_weight_zero_is_no_prior(self, home, sd15, photos):
        plain = train.train_face_lora(order(sd15, photos))
        zero = changed(order(sd15, photos, name="Bea", prior_weight=0.0), class_photos=[photos[0]], class_caption="a woman")
        for key, value in weights(train.train_face_lora(zero)).items():
            torch.testing.assert_close(value, weights(plain)[key])
