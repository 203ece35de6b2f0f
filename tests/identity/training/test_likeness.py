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
from facechain_impl.host import live  # noqa: E402
from facechain_impl.host.models import Sampling  # noqa: E402
from facechain_impl.identity import persons  # noqa: E402
from facechain_impl.identity.lora import formats as lora_files  # noqa: E402
from facechain_impl.identity.lora.formats import Layer  # noqa: E402
from facechain_impl.identity.training import likeness as train_likeness  # noqa: E402
from facechain_impl.identity.training import order as train_order  # noqa: E402
from facechain_impl.identity.training import presets, sheet  # noqa: E402
from facechain_impl.identity.training.dataset import Batch  # noqa: E402
from facechain_impl.identity.training.judge import LOOKS, Look, steps_of_looks  # noqa: E402
from facechain_impl.identity.training.likeness import Reference, RtsScorer, references  # noqa: E402
from facechain_impl.identity.training.looks import LookPlan, Watch  # noqa: E402
from facechain_impl.identity.training.previews import Preview  # noqa: E402
from facechain_impl.identity.training.settings import IfState  # noqa: E402
from facechain_impl.identity.training.state import unfinished  # noqa: E402
from facechain_impl.photos import study as photo_study  # noqa: E402
from facechain_impl.types import Face, Faces, Picture, digest_of  # noqa: E402

from .conftest import Scripted  # noqa: E402
from .test_train import changed, order, same, stop_at, weights  # noqa: E402


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


def test_of_one_look_nothing_was_chosen_so_it_measures_the_result(home, sd15, photos, scripted):
    scripted.values += [0.3]
    result = train.train_face_lora(looked(sd15, photos, scripted, count=1))
    assert looks_of(result) == [(8, 0.305)] and result.person.report["likeness"] == pytest.approx(0.305) and not scripted.values


def test_portraits_are_drawn_from_fixed_prompts_and_seeds(home, sd15, photos, monkeypatch):
    """And not from captions, nor those by which the step is chosen the ones by which it is judged."""
    drawn, looks = [], []
    real = Preview.portrait

    def portrait(self, *rest):
        drawn.append((self.text, self.seed))
        return real(replace(self, sampling=Sampling(1, 1.0)), *rest)

    monkeypatch.setattr(Preview, "portrait", portrait)

    class Pixels:
        def __call__(self, pictures):
            looks.append(torch.stack(pictures))
            return [float(picture.mean()) for picture in pictures]

    train.train_face_lora(looked(sd15, photos, Pixels(), count=2))
    first, last, other = (drawn[start : start + 4] for start in (0, 4, 8))
    assert len(drawn) == 12 and first == last and not set(first) & set(other)
    assert all(text.startswith("<fcsks>, a woman, ") and "photo 0" not in text for text, _ in drawn)
    assert looks[0].shape == (4, 64, 64, 3) and not torch.equal(looks[0], looks[1])


@pytest.fixture
def more(photos):
    return [*photos, photos[0].flip(0), photos[1].flip(0)]


def looked(objects, photos, scorer, count=3, **changes):
    """An order of eight steps with looks after some of them."""
    wanted = order(objects, photos, steps=8, **changes)
    return changed(wanted, faces=faces_of(photos), looks=LookPlan(count, scorer))


def looks_of(result) -> list[tuple[int, float]]:
    return [(look["step"], round(sum(look["scores"]) / len(look["scores"]), 3)) for look in result.person.report["looks"]]


def test_the_last_step_is_used_where_no_earlier_one_is_better(home, sd15, photos, scripted):
    scripted.values += [0.2, 0.5, 0.5, 0.45]
    result = train.train_face_lora(looked(sd15, photos, scripted))
    assert looks_of(result) == [(3, 0.205), (6, 0.505), (8, 0.505)] and result.person.report["used_step"] == 8
    assert result.person.report["likeness"] == pytest.approx(0.455), "measured on portraits that no step was chosen by"
    assert any(
        note.startswith("The last step was used: no earlier one was better by more than chance (3 looks)") for note in result.report.notes
    )
    plain = train.train_face_lora(order(sd15, photos, name="Plain", steps=8))
    assert same(weights(plain), weights(result))


def test_an_earlier_step_is_used_where_it_is_better(home, sd15, photos, scripted):
    scripted.values += [0.2, 0.6, 0.3, 0.55]
    result = train.train_face_lora(looked(sd15, photos, scripted))
    assert result.person.report["used_step"] == 6 and len(result.losses) == 8
    assert any(
        note.startswith("Step 6 of 8 was used: its portraits have likeness 0.605, those of the last step 0.305")
        for note in result.report.notes
    )
    rows = {row.name: row for row in result.report.rows}
    assert rows["after step 6"].status.value == "trained" and rows["after step 8"].status.value == "left out"
    kept, real = {}, Watch.look

    def look(self, step, adapters, drawn):
        if step == 6:
            kept.update(adapters[0].layers())
        real(self, step, adapters, drawn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Watch, "look", look)
        scripted.values += [0.2, 0.6, 0.3, 0.55]
        train.train_face_lora(looked(sd15, photos, scripted, name="Bea"))
    ups = [value for key, value in weights(result).items() if key.endswith("lora_up.weight")]
    assert len(ups) == len(kept)
    assert sorted(float(value.norm()) for value in ups) == pytest.approx(sorted(float(layer.up.norm()) for layer in kept.values()))


@pytest.mark.parametrize("count", range(3, 21))
def test_no_number_of_photos_has_its_last_steps_thrown_away(count):
    """Of 18 numbers from 3 to 20, 15 lost up to 499 steps of 200 a photo."""
    steps = presets.from_preset("FaceChain", count, {}, has_common_start=True).steps
    assert steps == 200 * count and steps_of_looks(steps, LOOKS)[-1] == steps


def test_a_portrait_without_a_face_counts_as_a_failure(home, sd15, photos, scripted):
    scripted.values += [0.4, None, 0.4, 0.4]
    result = train.train_face_lora(looked(sd15, photos, scripted))
    assert looks_of(result)[1] == (6, 0.0)


def test_no_portrait_with_a_face_at_all(home, sd15, photos, scripted):
    scripted.values += [None] * 4
    result = train.train_face_lora(looked(sd15, photos, scripted))
    assert "No face was found in any sample portrait, so the last step was used." in result.report.notes and len(result.losses) == 8


def test_a_loss_on_fixed_noise_needs_no_recognition(home, sd15, photos):
    result = train.train_face_lora(changed(order(sd15, photos, steps=8), looks=LookPlan(3)))
    losses = [look["validation_loss"] for look in result.person.report["looks"]]
    assert [look["step"] for look in result.person.report["looks"]] == [3, 6, 8] and all(0 < loss < 5 for loss in losses)
    assert len(set(losses)) == 3 and result.person.report["likeness"] is None
    again = train.train_face_lora(
        changed(order(sd15, photos, steps=8, name="Bea", seed=42), looks=LookPlan(3), if_state=IfState.START_OVER)
    )
    assert [look["validation_loss"] for look in again.person.report["looks"]] == losses


def test_looks_change_nothing_of_the_training(home, sd15, photos):
    plain = train.train_face_lora(order(sd15, photos, dropout=0.3))
    seen = train.train_face_lora(changed(order(sd15, photos, name="Bea", dropout=0.3), looks=LookPlan(3)))
    assert same(weights(plain), weights(seen)) and plain.losses == seen.losses


def test_where_opencv_has_no_cascades_the_training_ends_with_the_last_step(home, sd15, photos, monkeypatch):
    """Measuring would stop it half-way, after hours."""
    monkeypatch.delattr(cv2, "CascadeClassifier")
    result = train.train_face_lora(looked(sd15, photos, None))
    assert any("Likeness was not measured" in note for note in result.report.notes) and len(result.losses) == 8
    plain = train.train_face_lora(changed(order(sd15, photos, name="Plain", steps=8), faces=faces_of(photos)))
    assert not any("Likeness" in note for note in plain.report.notes)
    assert same(weights(plain), weights(result))


def test_interrupted_with_looks_resumes_to_the_same(home, sd15, photos, scripted, monkeypatch):
    scripted.values += [0.2, 0.5, 0.3, 0.4] * 2
    whole = train.train_face_lora(looked(sd15, photos, scripted, name="Whole"))
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(looked(sd15, photos, scripted))
    resumed = train.train_face_lora(looked(sd15, photos, scripted))
    assert same(weights(whole), weights(resumed)) and not scripted.values and looks_of(whole) == looks_of(resumed)


def test_looks_may_be_switched_on_before_a_stopped_training_goes_on(home, sd15, photos, monkeypatch):
    """Without face recognition they are no part of the training's identity."""
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(order(sd15, photos, steps=8))
    resumed = train.train_face_lora(changed(order(sd15, photos, steps=8), looks=LookPlan(3)))
    assert "Resumed after step 5 of 8." in resumed.report.notes
    assert [look["step"] for look in resumed.person.report["looks"]] == [6, 8]


@pytest.mark.parametrize("at", [1, 2, 3, 4], ids=["first look", "second look", "last look", "likeness of the result"])
def test_interrupted_inside_a_look_resumes_to_the_same_curve(home, sd15, photos, scripted, monkeypatch, at):
    scripted.values += [0.2, 0.5, 0.3, 0.4]
    whole = train.train_face_lora(looked(sd15, photos, scripted, name="Whole"))
    scripted.values += [0.2, 0.5, 0.3, 0.4]
    scripted.asked = 0
    with monkeypatch.context() as patch:
        real = Scripted.__call__

        def interrupted(self, pictures):
            if self.asked + 1 == at:
                raise KeyboardInterrupt
            return real(self, pictures)

        patch.setattr(Scripted, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(looked(sd15, photos, scripted))
    assert [one.steps_done for one in unfinished()] == [(3, 6, 8, 8)[at - 1]], (
        "without its state it would begin anew and ask once too often"
    )
    resumed = train.train_face_lora(looked(sd15, photos, scripted))
    assert looks_of(resumed) == looks_of(whole) and same(weights(whole), weights(resumed)) and not scripted.values


def test_finishing_early_looks_at_the_step_where_it_ends(home, sd15, photos, scripted, monkeypatch):
    asked = iter([False] * 5 + [True])
    monkeypatch.setattr(live, "finish_requested", lambda: next(asked))
    scripted.values += [0.2, 0.5, 0.4]
    result = train.train_face_lora(looked(sd15, photos, scripted))
    assert [step for step, _ in looks_of(result)] == [3, 5] and result.person.report["used_step"] == 5


def test_the_sheet_of_the_looks_so_far_is_shown_after_each_and_when_a_training_resumes(home, sd15, photos, scripted, monkeypatch):
    shown = []
    monkeypatch.setattr(live, "show", shown.append)
    scripted.values += [0.2, 0.5, 0.5, 0.45]
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(looked(sd15, photos, scripted))
    assert [len(one) - len(shown[0]) for one in shown] == [0]
    result = train.train_face_lora(looked(sd15, photos, scripted))
    row = sheet.SIDE + sheet.GAP
    assert [len(one) - len(shown[0]) for one in shown] == [0, 0, row, 2 * row] and torch.equal(shown[0], shown[1])
    assert shown[-1].shape == result.sheet.shape and not torch.equal(shown[-1], result.sheet), "the used step is not known before the end"


def test_all_photos_are_trained(home, sd15, more, scripted):
    scripted.values += [0.1] * 4
    train.train_face_lora(looked(sd15, more, scripted))
    assert sd15.vae.encodings == 5 * 2


def test_problems_of_photos_are_said_before_the_first_step(home, sd15, photos, monkeypatch):
    said = []
    monkeypatch.setattr(live, "say", said.append)
    stop_at(monkeypatch, 0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        train.train_face_lora(order(sd15, photos))
    (first,) = said
    assert first.startswith("Expected: about ")
    assert first.endswith("\nLook at your photos: photo 1: no face was found; photo 2: no face was found; photo 3: no face was found")


def vectors(*angles: float) -> list[np.ndarray]:
    return [np.cos(angle) * np.eye(512, dtype=np.float32)[0] + np.sin(angle) * np.eye(512, dtype=np.float32)[1] for angle in angles]


def fact(**changes) -> photo_study.PhotoFacts:
    face = Face(np.array([8, 8, 56, 56], np.float32), 1.0)
    main = {"face": face, "blur": 100.0, "size": 0.5, "turn": 0.0, "likeness": 0.6}
    return photo_study.PhotoFacts(photo_study.MainFace(**main | changes), 0)


def test_references_are_the_clean_photos():
    """A stranger, a blurred photo and a second copy are no references; the certain photo weighs more."""
    copy = fact()
    copy.duplicate_of = 0
    facts = [fact(), fact(likeness=0.1), fact(blur=10.0), copy, fact()]
    given = vectors(0.0, 0.1, 0.2, 0.3, 0.4)
    found = photo_study.Study(facts, dict(enumerate(given)), {0: -2.0, 4: -1.0})
    chosen = references(found)
    assert [one.vector.tolist() for one in chosen] == [given[0].tolist(), given[4].tolist()]
    assert [one.weight for one in chosen] == pytest.approx([1.0, np.exp(-1.0)])
    assert len(references(photo_study.Study([fact(blur=1.0)] * 2, dict(enumerate(given[:2]))))) == 2
    assert references(photo_study.Study(facts)) == []


def test_no_single_photo_decides_the_likeness():
    """By hand: each mean leaves one of three out."""
    first, second, third = vectors(0.0, 0.2, 0.4)
    scorer = RtsScorer([Reference(first), Reference(second), Reference(third)])
    assert scorer.of(first) == pytest.approx(np.mean([np.cos(0.3), np.cos(0.2), np.cos(0.1)]), abs=1e-6)
    assert RtsScorer([Reference(second)]).of(first) == pytest.approx(np.cos(0.2), abs=1e-6)
    heavy = RtsScorer([Reference(first, 1.0), Reference(second, 1.0), Reference(third, 1e-6)])
    assert heavy.of(first) > scorer.of(first)


def test_portraits_are_scored_in_their_order(monkeypatch):
    portraits = [torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    first, second, third = faces_of(portraits).pictures
    other = replace(third.faces[0], embedding=np.eye(512, dtype=np.float32)[1])
    found = Faces([first, replace(second, faces=[]), replace(third, faces=[other])])
    monkeypatch.setattr(train_likeness, "find_faces", lambda pictures, detector: found)
    monkeypatch.setattr(train_likeness.models, "open_network", lambda name: None)
    assert RtsScorer([Reference(np.eye(512, dtype=np.float32)[0])])(portraits) == [1.0, None, 0.0]


def kept(sd15, photos, scripted, **policy) -> train_order.TrainRequest:
    return changed(looked(sd15, photos, scripted), looks=LookPlan(3, scripted, keep=True), **policy)


def test_kept_steps_are_loras_of_their_own(home, sd15, photos, scripted):
    scripted.values += [0.2, 0.5, 0.5, 0.45]
    result = train.train_face_lora(kept(sd15, photos, scripted))
    files = {path.name: lora_files.read(path) for path in (result.person.folder / "steps").iterdir()}
    assert set(files) == {"step 3.safetensors", "step 6.safetensors", "step 8.safetensors"}
    assert same(files["step 8.safetensors"].tensors, weights(result)) and not same(files["step 6.safetensors"].tensors, weights(result))
    assert all(one.tensors.keys() == weights(result).keys() for one in files.values())
    assert files["step 3.safetensors"].metadata["facechain_step"] == "3"


def test_another_step_is_used_by_one_widget_and_without_training(home, sd15, photos, scripted, monkeypatch):
    scripted.values += [0.2, 0.5, 0.5, 0.45]
    first = train.train_face_lora(kept(sd15, photos, scripted))
    stop_at(monkeypatch, 0, AssertionError("trained again"))
    other = train.train_face_lora(kept(sd15, photos, scripted, use_step=6))
    assert "The LoRA is now that of step 6; before it was that of step 8." in other.report.notes
    assert other.person.name == "Ann" and other.person.report["used_step"] == 6
    assert same(weights(other), lora_files.read(persons.step_file("Ann", 6)).tensors) and not same(weights(other), weights(first))
    with pytest.raises(BadInput, match="Step 5 of Ann was not kept. Kept steps: 3, 6, 8."):
        train.train_face_lora(kept(sd15, photos, scripted, use_step=5))
    back = train.train_face_lora(kept(sd15, photos, scripted, use_step=8))
    assert same(weights(back), weights(first))


def test_kept_steps_survive_an_interruption_and_go_with_the_person(home, sd15, photos, scripted, monkeypatch):
    scripted.values += [0.2, 0.5, 0.5, 0.45]
    with monkeypatch.context() as patch:
        stop_at(patch, 5, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(kept(sd15, photos, scripted))
    train.train_face_lora(kept(sd15, photos, scripted))
    persons.rename("Ann", "Bea")
    assert persons.use_step("Bea", 3).report["used_step"] == 3
    persons.delete("Bea")
    assert not list((home / "models").rglob("*.safetensors"))


def test_without_kept_steps_the_message_says_how_to_keep_them(home, sd15, photos, scripted):
    scripted.values += [0.2, 0.5, 0.5, 0.45]
    train.train_face_lora(looked(sd15, photos, scripted))
    with pytest.raises(BadInput, match="Kept steps: none; switch keep_steps on and train again with Start over"):
        train.train_face_lora(changed(looked(sd15, photos, scripted), use_step=6))


class TestSheet:
    def looks(self, *scores: float | None) -> list[Look]:
        return [
            Look(100 * number, () if score is None else (score - 0.02, score + 0.02), 0.3 / number)
            for number, score in enumerate(scores, 1)
        ]

    def test_every_look_is_a_row_and_the_used_one_is_marked(self):
        looks = self.looks(0.3, 0.6, 0.5)
        pictures = {look.step: sheet.thumbnails([torch.full((40, 40, 3), 0.25 * number)] * 4) for number, look in enumerate(looks, 1)}
        drawn = (sheet.drawn(looks, pictures, looks[1]) * 255).round().byte()
        rows = sheet.SIDE + sheet.GAP
        for number, look in enumerate(looks, 1):
            middle = sheet.GAP + (number - 1) * rows + sheet.SIDE // 2
            shown = [tuple(drawn[middle, sheet.LABEL_WIDTH + column * rows + 60].tolist()) for column in range(4)]
            assert shown == [(round(0.25 * number * 255),) * 3] * 4
            assert (tuple(drawn[middle, 1].tolist()) == sheet.MARK) is (look is looks[1])
        below = drawn[sheet.GAP + 3 * rows :]
        assert (below == torch.tensor(sheet.INK, dtype=torch.uint8)).all(-1).sum() > 200, "the curve of the likeness"
        assert (below == torch.tensor(sheet.QUIET, dtype=torch.uint8)).all(-1).sum() > 200, "that of the loss"

    def test_without_portraits_there_is_the_loss(self):
        looks = self.looks(None, None)
        drawn = sheet.drawn(looks, {}, looks[1])
        assert drawn.shape[0] < 400 and drawn.shape[-1] == 3
        assert sheet.drawn([], {}, None) is None

    def test_the_training_returns_it(self, home, sd15, photos, scripted):
        scripted.values += [0.2, 0.5, 0.5, 0.45]
        result = train.train_face_lora(looked(sd15, photos, scripted))
        assert result.sheet.shape[0] > 3 * sheet.SIDE and result.sheet.std() > 0


def test_the_state_of_looks_comes_back():
    kept = [{"a": Layer(torch.ones(2, 1), torch.ones(1, 2), 4.0)}]
    watch = Watch((2,), None, None, lambda: 0.0, [Look(2, (0.5, 0.6), 0.1)], kept)
    again = Watch((2,), None, None, lambda: 0.0)
    again.restore(watch.state())
    assert again.looks == watch.looks and torch.equal(again.best[0]["a"].up, torch.ones(2, 1)) and again.best[0]["a"].alpha == 4.0


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
                noise_to_signal = staticmethod(lambda sigmas: sigmas)

            @staticmethod
            def predict(noisy, sigmas, conditions):
                return noisy

        latents = torch.zeros(1, 2, 2, 2)
        latents[:, :, 0, 0], latents[:, :, 1, 1] = 3.0, 100.0
        mask = torch.zeros(1, 1, 2, 2)
        mask[..., 0, 0] = 1
        trainer = object.__new__(train.Trainer)
        trainer._model, trainer.dtype = Opened(), torch.float32
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
