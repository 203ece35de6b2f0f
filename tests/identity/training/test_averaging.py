"""The mean of the last looks and the moving average: what is stored, what is shown, and that nothing is lost when a training stops."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

train = pytest.importorskip("facechain_impl.identity.training.train", reason="set COMFYUI_PATH")
from facechain_impl.errors import BadInput  # noqa: E402
from facechain_impl.host.models import management  # noqa: E402
from facechain_impl.identity import persons  # noqa: E402
from facechain_impl.identity.lora import formats as lora_files  # noqa: E402
from facechain_impl.identity.lora.formats import Layer  # noqa: E402
from facechain_impl.identity.training import sheet  # noqa: E402
from facechain_impl.identity.training.averaging import MovingAverage, mean  # noqa: E402
from facechain_impl.identity.training.judge import Look  # noqa: E402
from facechain_impl.identity.training.looks import LookPlan, Watch  # noqa: E402
from facechain_impl.identity.training.previews import Preview  # noqa: E402
from facechain_impl.identity.training.settings import Average  # noqa: E402

from .conftest import Scripted  # noqa: E402
from .test_likeness import looked  # noqa: E402
from .test_train import changed, order, same, stop_at, stopped, weights  # noqa: E402

KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight"


class OneTensor:
    """Stands for adapters with a single number."""

    def __init__(self):
        self.value = torch.nn.Parameter(torch.zeros(1), requires_grad=False)

    def parameters(self) -> list[torch.nn.Parameter]:
        return [self.value]


def trained_weights(monkeypatch) -> list[torch.Tensor]:
    """The first up matrix after each optimiser step from now on."""
    real, seen = train.Trainer._update, []

    def update(self):
        real(self)
        seen.append(self.adapters[0].parameters()[1].detach().clone())

    monkeypatch.setattr(train.Trainer, "_update", update)
    return seen


class TestMovingAverage:
    def test_arithmetic(self):
        """After n steps the decay is (1 + n) / (10 + n), at most that of the settings."""
        one = OneTensor()
        average, expected = MovingAverage([one], 0.2), 0.0
        for step in range(5):
            one.value.fill_(step + 1.0)
            average.update()
            decay = min(0.2, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * (step + 1.0)
            with average.applied():
                assert one.value.item() == pytest.approx(expected)
            assert one.value.item() == step + 1.0, "the training goes on with its own"

    def test_it_is_what_is_stored_and_the_training_does_not_notice(self, home, sd15, photos, monkeypatch):
        plain = train.train_face_lora(order(sd15, photos, name="Plain"))
        seen = trained_weights(monkeypatch)
        result = train.train_face_lora(order(sd15, photos, average=Average.EMA, ema_decay=0.5))
        assert result.losses == plain.losses and torch.equal(seen[-1], weights(plain)[KEY])
        expected = torch.zeros_like(seen[0])
        for step, value in enumerate(seen):
            expected = torch.lerp(expected, value, 1 - min(0.5, (1 + step) / (10 + step)))
        torch.testing.assert_close(weights(result)[KEY], expected)
        assert any("moving average over the steps (decay 0.5, about 2 steps)" in note for note in result.report.notes)
        assert result.person.report["settings"]["average"] == Average.EMA.value

    def test_looks_and_previews_show_it(self, home, sd15, photos, scripted, monkeypatch):
        shown, real = [], Watch.look
        monkeypatch.setattr(
            Watch, "look", lambda self, step, adapters, *rest: shown.append(adapters[0].layers()) or real(self, step, adapters)
        )
        pictured = []
        monkeypatch.setattr(Preview, "portrait", lambda self, *rest: pictured.append(trainers[-1].adapters[0].layers()))
        trainers, made = [], train.Trainer.__init__
        monkeypatch.setattr(train.Trainer, "__init__", lambda self, *given: trainers.append(self) or made(self, *given))
        scripted.values += [0.1, 0.2, 0.3, 0.3]
        request = looked(sd15, photos, scripted, average=Average.EMA)
        result = train.train_face_lora(changed(request, preview=Preview(1, "a", 1, 64)))
        last = lora_files.layers(weights(result))
        name, layer = next((name, layer) for name, layer in shown[-1].items() if name.endswith("attn1.to_q"))
        assert torch.equal(layer.up, pictured[-1][name].up), "both after the last step"
        assert any(torch.equal(layer.up, one.up) for one in last.values()), "and what was looked at is stored"

    def test_stopped_it_resumes_to_the_same(self, home, sd15, photos, scripted, monkeypatch):
        request = looked(sd15, photos, scripted, average=Average.EMA)
        scripted.values += [0.1, 0.2, 0.3, 0.3] * 2
        whole = train.train_face_lora(changed(request, name="Whole"))
        stopped(monkeypatch, request, 5)
        resumed = train.train_face_lora(request)
        assert "Resumed after step 5 of 8." in resumed.report.notes and same(weights(whole), weights(resumed))

    def test_stopped_inside_a_look_the_training_keeps_its_own_weights(self, home, sd15, photos, scripted, monkeypatch):
        request = looked(sd15, photos, scripted, average=Average.EMA)
        scripted.values += [0.1, 0.2, 0.3, 0.3]
        whole = train.train_face_lora(changed(request, name="Whole"))
        asked = Scripted.__call__
        with monkeypatch.context() as patch:
            patch.setattr(Scripted, "__call__", lambda self, _: (_ for _ in ()).throw(management.InterruptProcessingException()))
            with pytest.raises(management.InterruptProcessingException):
                train.train_face_lora(request)
        assert Scripted.__call__ is asked
        scripted.values += [0.1, 0.2, 0.3, 0.3]
        assert same(weights(whole), weights(train.train_face_lora(request)))

    def test_a_longer_training_goes_on_with_it(self, home, sd15, photos, monkeypatch):
        restored = []
        real = MovingAverage.restore
        monkeypatch.setattr(MovingAverage, "restore", lambda self, state: restored.append(state["steps"]) or real(self, state))
        stopped(monkeypatch, order(sd15, photos, average=Average.EMA), 3)
        longer = train.train_face_lora(order(sd15, photos, average=Average.EMA, steps=6))
        assert restored == [3] and any("Lengthened the stopped training" in note for note in longer.report.notes)


class TestMean:
    def test_arithmetic(self):
        weights = [[{"a": Layer(torch.full((2, 1), value), torch.full((1, 2), -value), 4.0)}] for value in (1.0, 2.0, 6.0)]
        (found,) = mean(weights)
        assert torch.equal(found["a"].up, torch.full((2, 1), 3.0)) and torch.equal(found["a"].down, torch.full((1, 2), -3.0))
        assert found["a"].alpha == 4.0

    def made(self, sd15, photos, scripted, *scores, count=4, **policy):
        scripted.values += scores
        request = looked(sd15, photos, scripted, count=count, average=Average.MEAN)
        plan = replace(request.policy.looks, keep=True)
        return train.train_face_lora(changed(request, looks=plan, **policy))

    def test_the_last_three_looks_are_averaged(self, home, sd15, photos, scripted):
        result = self.made(sd15, photos, scripted, 0.1, 0.3, 0.3, 0.3, 0.25)
        steps = [look["step"] for look in result.person.report["looks"]][-3:]
        kept = [lora_files.read(persons.step_file("Ann", step)).tensors[KEY] for step in steps]
        torch.testing.assert_close(weights(result)[KEY], torch.stack(kept).mean(0))
        assert result.person.report["averaged"] == tuple(steps) and result.person.report["used_step"] == 8
        assert any(f"mean of those after steps {steps[0]}, {steps[1]} and {steps[2]}." in note for note in result.report.notes)
        assert result.person.report["likeness"] == pytest.approx(0.255), "measured on the mean"
        statuses = {row.name: row.status for row in result.report.rows if row.name.startswith("after step")}
        assert [status.value for status in statuses.values()] == ["left out", "trained", "trained", "trained"]

    def test_an_earlier_look_wins_by_more_than_chance(self, home, sd15, photos, scripted):
        result = self.made(sd15, photos, scripted, 0.9, 0.3, 0.3, 0.3, 0.9)
        assert result.person.report["averaged"] == () and result.person.report["used_step"] < 8
        assert not any("mean of" in note for note in result.report.notes)

    def test_one_of_them_can_be_used_instead(self, home, sd15, photos, scripted, monkeypatch):
        result = self.made(sd15, photos, scripted, 0.1, 0.3, 0.3, 0.3, 0.25)
        stop_at(monkeypatch, 0, AssertionError("trained again"))
        again = self.made(sd15, photos, scripted, use_step=8)
        assert any("now that of step 8; before it was the mean of steps" in note for note in again.report.notes)
        assert torch.equal(weights(again)[KEY], lora_files.read(persons.step_file("Ann", 8)).tensors[KEY])
        assert not torch.equal(weights(again)[KEY], weights(result)[KEY]) and again.person.report["averaged"] == ()

    def test_stopped_it_resumes_to_the_same(self, home, sd15, photos, scripted, monkeypatch):
        request = looked(sd15, photos, scripted, count=4, average=Average.MEAN)
        scripted.values += [0.1, 0.3, 0.3, 0.3, 0.25] * 2
        whole = train.train_face_lora(changed(request, name="Whole"))
        stopped(monkeypatch, request, 7)
        resumed = train.train_face_lora(request)
        assert "Resumed after step 7 of 8." in resumed.report.notes
        assert same(weights(whole), weights(resumed)) and whole.person.report["averaged"] == resumed.person.report["averaged"]

    def test_it_needs_looks(self, home, sd15, photos, scripted):
        with pytest.raises(BadInput, match="needs looks, and looks is 0"):
            train.train_face_lora(changed(order(sd15, photos, average=Average.MEAN), looks=LookPlan(0)))
        result = self.made(sd15, photos, scripted, 0.3, count=1)
        assert any("one look, so that its weights were used" in note for note in result.report.notes)

    def test_the_sheet_marks_all_of_them(self):
        looks = [Look(step, (0.3, 0.4), 0.1) for step in (2, 4, 6)]
        one, several = sheet.drawn(looks, {}, looks[-1]), sheet.drawn(looks, {}, looks[-1], (4, 6))
        rows = (one != several).any(-1).any(-1).nonzero().flatten()
        height = 3 * sheet.TEXT + sheet.GAP
        assert rows.min() >= height and rows.max() <= 2 * height + sheet.GAP, "the second row alone differs"
