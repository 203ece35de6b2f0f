"""The recipe's options for experts: each does what it says, and at its default nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

train = pytest.importorskip("facechain_impl.identity.training.train", reason="set COMFYUI_PATH")
import comfy.model_sampling as model_sampling  # noqa: E402

from facechain_impl.errors import BadInput  # noqa: E402
from facechain_impl.host.objective import Objective  # noqa: E402
from facechain_impl.identity.training import losses, noise, optimisers, presets  # noqa: E402
from facechain_impl.identity.training import settings as train_settings  # noqa: E402
from facechain_impl.identity.training import state as train_state  # noqa: E402
from facechain_impl.identity.training.dataset import TrainingSet  # noqa: E402
from facechain_impl.identity.training.settings import Loss, Optimiser, Timesteps, Weighting  # noqa: E402

from .test_families import EDM  # noqa: E402
from .test_train import order, same, stopped, weights  # noqa: E402

KEYS_OF_0_1 = {
    "steps", "learning_rate", "rank", "alpha", "schedule", "optimiser", "augmentation", "cycles", "warmup_steps", "resolution", "variants",
    "mirror", "batch_size", "dropout", "targets", "train_text_encoder", "start", "precision", "max_grad_norm", "weight_decay",
    "caption_dropout", "min_snr_gamma", "masked_loss", "prior_weight", "seed",
}  # fmt: skip
"""What identified a training before there were these options."""


class Epsilon(model_sampling.ModelSamplingDiscrete, model_sampling.EPS):
    pass


class Velocity(model_sampling.ModelSamplingDiscrete, model_sampling.V_PREDICTION):
    pass


class Flow(model_sampling.ModelSamplingFlux, model_sampling.CONST):
    pass


def plain(**changes) -> train_settings.TrainSettings:
    return presets.from_preset("FaceChain", 3, {"steps": 4, **changes})


def drawn(kind: type, timesteps: Timesteps, count: int = 20000) -> torch.Tensor:
    """Sorted times, 0 without noise, of the noise levels that a model is trained at."""
    objective = Objective(kind())
    sigmas = objective.sample_sigmas(count, torch.Generator().manual_seed(1), noise.TIMES[timesteps])
    if objective.num_timesteps:
        return (objective._sampling.timestep(sigmas).float() / objective.num_timesteps).sort().values
    shift = torch.tensor(1.15)  # of Flux: sigma = e^s / (e^s + 1/t - 1)
    return (1 / (shift.exp() * (1 / sigmas.double() - 1) + 1)).sort().values


def test_at_their_defaults_they_change_no_identity():
    told = train_state.decisive(plain(), torch.float32)
    assert told.keys() == KEYS_OF_0_1
    for change in ({"loss": Loss.HUBER}, {"noise_offset": 0.1}, {"timesteps": Timesteps.LOW}, {"text_encoder_learning_rate": 1e-5}):
        assert train_state.decisive(plain(**change), torch.float32).keys() == KEYS_OF_0_1 | change.keys()
    every = {field for field in plain().described()} - KEYS_OF_0_1 - {"gradient_accumulation", *train_state._TECHNICAL}
    assert every == set(train_settings.ADDED)


class TestLoss:
    def test_huber_squares_small_errors_and_counts_large_ones_once(self):
        settings, level = plain(loss=Loss.HUBER, huber_c=0.2), torch.ones(1)
        small, large = torch.full((1, 1), 1e-3), torch.full((1, 1), 50.0)
        assert losses.distance(small, level, settings).item() == pytest.approx(1e-6, rel=1e-3)
        assert losses.distance(large, level, settings).item() == pytest.approx(2 * 0.2 * (50 - 0.2), rel=1e-3)

    @pytest.mark.parametrize("c", [0.01, 0.1, 1.0])
    def test_its_gradient_is_at_most_2c(self, c):
        with torch.inference_mode(False):
            error = torch.linspace(-100, 100, 2001).requires_grad_()
            losses.distance(error[None], torch.ones(1), plain(loss=Loss.HUBER, huber_c=c)).sum().backward()
        assert error.grad.abs().max().item() == pytest.approx(2 * c, rel=1e-2) and error.grad.abs().max() <= 2 * c * 1.0001

    def test_its_numbers_are_those_of_the_formula(self):
        """2c (sqrt(d^2 + c^2) - c), with c of sd-scripts' schedule "snr"."""
        error, ratio = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.0, 1.0, 14.6])
        c = (0.9 / (1 + ratio) ** 2 + 0.1)[:, None]
        expected = 2 * c * ((error**2 + c**2).sqrt() - c)
        torch.testing.assert_close(losses.distance(error, ratio, plain(loss=Loss.HUBER_BY_LEVEL)), expected)
        assert losses.threshold(torch.tensor([0.0, 1e6]), plain(loss=Loss.HUBER_BY_LEVEL)).tolist() == pytest.approx([1.0, 0.1])

    def test_noise_beside_the_picture(self):
        assert Objective(Epsilon()).noise_to_signal(torch.tensor([14.0])).item() == 14.0
        assert Objective(Flow()).noise_to_signal(torch.tensor([0.8])).item() == pytest.approx(4.0)

    def test_it_changes_what_is_learnt(self, home, sd15, photos):
        results = [train.train_face_lora(order(sd15, photos, loss=loss)) for loss in Loss]
        assert not same(weights(results[0]), weights(results[1])) and not same(weights(results[1]), weights(results[2]))


class TestWeighting:
    def test_debiased_estimation_is_one_over_the_root_of_snr(self):
        sigmas = torch.tensor([0.5, 1.0, 4.0])
        assert Objective(Epsilon()).debiased_weights(sigmas).tolist() == pytest.approx([0.5, 1.0, 4.0])
        assert Objective(Epsilon()).debiased_weights(torch.tensor([1e-3])).item() == pytest.approx(1000**-0.5), "cut at an SNR of 1000"

    def test_for_v_it_weighs_the_clean_latent_alike(self):
        """An error of the clean latent is SNR times as large in epsilon and SNR + 1 times in v."""
        sigmas = torch.tensor([0.05, 0.5, 1.0, 4.0])
        snr = sigmas**-2
        epsilon, velocity = (Objective(kind()).debiased_weights(sigmas) for kind in (Epsilon, Velocity))
        torch.testing.assert_close(epsilon * snr, velocity * (snr + 1))

    def test_the_trainer_weighs_by_it(self, home, sd15, photos):
        assert losses.level_weights(Objective(Epsilon()), torch.tensor([2.0]), plain()) is None
        found = losses.level_weights(Objective(Epsilon()), torch.tensor([2.0]), plain(weighting=Weighting.DEBIASED))
        assert found.tolist() == [2.0]
        even, debiased = (train.train_face_lora(order(sd15, photos, weighting=one)) for one in Weighting)
        assert debiased.losses != even.losses

    def test_two_weightings_and_flow_are_refused(self, home, flux, photos):
        with pytest.raises(BadInput, match="Set min_snr_gamma to 0 or weighting to Even"):
            plain(min_snr_gamma=5.0, weighting=Weighting.DEBIASED)
        with pytest.raises(BadInput, match="Debiased estimation.*predicts flow. Set weighting to Even"):
            train.train_face_lora(order(flux, photos, weighting=Weighting.DEBIASED))
        assert flux.vae.encodings == 0, "it is said before anything is encoded"


class TestTimesteps:
    @pytest.mark.parametrize("kind", [Epsilon, Velocity, Flow])
    def test_what_is_drawn(self, kind):
        def quartiles(*expected: float):
            return pytest.approx(expected, abs=0.015)

        at = torch.tensor([0.25, 0.5, 0.75])
        found = {one: drawn(kind, one)[(at * 20000).long()].tolist() for one in Timesteps if one is not Timesteps.MODEL}
        assert found[Timesteps.UNIFORM] == quartiles(0.25, 0.5, 0.75)
        # sigmoid(+-0.6745)
        assert found[Timesteps.LOGIT_NORMAL] == quartiles(0.3375, 0.5, 0.6625)
        assert found[Timesteps.HIGH] == quartiles(0.5, 0.7071, 0.866)
        assert found[Timesteps.LOW] == quartiles(0.134, 0.2929, 0.5)

    def test_every_level_may_be_drawn(self):
        for one in (Timesteps.UNIFORM, Timesteps.HIGH, Timesteps.LOW):
            found = drawn(Epsilon, one)
            assert found[0] < 0.02 and found[-1] > 0.98 and found.min() >= 0 and found.max() < 1

    def test_the_default_draws_what_it_drew(self):
        for kind in (Epsilon, Flow, EDM):
            objective = Objective(kind())
            told, untold = (objective.sample_sigmas(50, torch.Generator().manual_seed(3), *rest) for rest in ((None,), ()))
            assert torch.equal(told, untold)
        generator = torch.Generator().manual_seed(3)
        assert torch.equal(
            Objective(Epsilon()).sample_sigmas(50, torch.Generator().manual_seed(3)),
            Epsilon().sigmas[torch.randint(0, 1000, (50,), generator=generator)],
        )

    def test_models_without_timesteps_are_refused(self):
        with pytest.raises(BadInput, match="log-normal.*Set timesteps to From model"):
            drawn(EDM, Timesteps.HIGH, 1)

    def test_the_trainer_draws_by_it(self, home, sd15, photos):
        results = [train.train_face_lora(order(sd15, photos, timesteps=one)) for one in (Timesteps.MODEL, Timesteps.HIGH, Timesteps.LOW)]
        assert len({tuple(result.losses) for result in results}) == 3


def batch_of(settings, shape=(3, 2, 4, 16, 16), number=0):
    data = TrainingSet(torch.zeros(shape), [{}] * (shape[0] + 1))
    return data.batch(number, settings, Objective(Epsilon()).sample_sigmas)


class TestNoiseOffset:
    def test_whole_channels_are_shifted(self):
        batches = [[batch_of(replace(plain(), noise_offset=strength), number=number) for number in range(300)] for strength in (0.0, 0.5)]
        means = [torch.cat([one.noise.flatten(2).mean(2) for one in side]) for side in batches]
        assert means[0].std().item() == pytest.approx(1 / 16, rel=0.1), "the mean of 256 numbers"
        assert means[1].std().item() == pytest.approx((0.5**2 + 1 / 256) ** 0.5, rel=0.1)
        shift = batches[1][0].noise - batches[0][0].noise
        torch.testing.assert_close(shift, shift[..., :1, :1].expand_as(shift))
        assert len(set(shift[0, :, 0, 0].tolist())) == 4, "each channel by a number of its own"

    def test_nothing_else_is_drawn_differently(self):
        without, with_it = (batch_of(replace(plain(), noise_offset=strength, caption_dropout=0.5), number=5) for strength in (0.0, 0.5))
        assert torch.equal(without.sigmas, with_it.sigmas) and (without.photos, without.dropped) == (with_it.photos, with_it.dropped)

    def test_latents_of_videos(self):
        assert batch_of(replace(plain(), noise_offset=0.5), (2, 1, 16, 1, 8, 8)).noise.shape == (1, 16, 1, 8, 8)


class TestGradients:
    def test_clipping_can_be_off(self, home, sd15, photos, monkeypatch):
        norms, real = [], torch.nn.utils.clip_grad_norm_
        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, norm: norms.append(norm) or real(parameters, norm))
        clipped = train.train_face_lora(order(sd15, photos, max_grad_norm=1e-3))
        assert norms == [1e-3] * 4
        free = train.train_face_lora(order(sd15, photos, max_grad_norm=0.0))
        assert len(norms) == 4 and free.losses[0] == clipped.losses[0] and not same(weights(free), weights(clipped))

    def test_the_text_encoder_has_its_own_learning_rate(self, home, sd15, photos, monkeypatch):
        seen = []
        real = optimisers.optimiser
        monkeypatch.setattr(optimisers, "optimiser", lambda *given: seen.append(real(*given)[0]) or (seen[-1], ""))
        changes = {"train_text_encoder": True, "schedule": "constant"}
        same_rate = train.train_face_lora(order(sd15, photos, **changes))
        slow = train.train_face_lora(order(sd15, photos, text_encoder_learning_rate=1e-6, **changes))
        assert [[group["lr"] for group in one.param_groups] for one in seen] == [[1e-3], [1e-3, 1e-6]]
        text = [key for key in weights(slow) if key.startswith("lora_te_") and key.endswith("lora_up.weight")]
        moved = [max(weights(result)[key].abs().max().item() for key in text) for result in (same_rate, slow)]
        assert 0 < moved[1] < 0.01 * moved[0]

    def test_what_has_no_effect_is_said(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos, text_encoder_learning_rate=1e-6, huber_c=0.5))
        assert "text_encoder_learning_rate has no effect: train_text_encoder is off." in result.report.notes
        assert "huber_c has no effect: the loss is Mean squared error." in result.report.notes


def test_stopped_with_every_option_it_resumes_to_the_same(home, sd15, photos, monkeypatch):
    options = {
        "loss": Loss.HUBER_BY_LEVEL, "weighting": Weighting.DEBIASED, "noise_offset": 0.1, "timesteps": Timesteps.LOGIT_NORMAL,
        "max_grad_norm": 0.0, "train_text_encoder": True, "text_encoder_learning_rate": 1e-4, "gradient_accumulation": 2,
    }  # fmt: skip
    whole = train.train_face_lora(order(sd15, photos, name="Whole", **options))
    stopped(monkeypatch, order(sd15, photos, **options), 2)
    resumed = train.train_face_lora(order(sd15, photos, **options))
    assert "Resumed after step 2 of 4." in resumed.report.notes
    assert same(weights(whole), weights(resumed)) and whole.losses == resumed.losses


def test_a_lengthened_training_keeps_both_learning_rates(home, sd15, photos, monkeypatch):
    options = {"train_text_encoder": True, "text_encoder_learning_rate": 1e-5, "schedule": "constant"}
    train.train_face_lora(order(sd15, photos, **options))
    rates, real = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self, *rest: rates.append([group["lr"] for group in self.param_groups]) or real(self, *rest)
    )
    train.train_face_lora(order(sd15, photos, steps=8, **options))
    assert len(rates) == 4 and all(text == pytest.approx(model / 100) for model, text in rates) and rates[0][0] < rates[-1][0]


@pytest.mark.parametrize("optimiser", [Optimiser.ADAFACTOR, Optimiser.PRODIGY])
def test_trained_with_another_optimiser_and_resumed(home, sd15, photos, monkeypatch, request, optimiser):
    if optimiser is Optimiser.PRODIGY:
        request.getfixturevalue("prodigyopt")
    options = {"optimiser": optimiser, "learning_rate": None if optimiser is Optimiser.PRODIGY else 1e-3}
    whole = train.train_face_lora(order(sd15, photos, name="Whole", **options))
    assert all(value.abs().max() > 0 for key, value in weights(whole).items() if key.endswith("lora_up.weight"))
    stopped(monkeypatch, order(sd15, photos, **options), 2)
    assert same(weights(whole), weights(train.train_face_lora(order(sd15, photos, **options))))


def test_an_optimiser_that_is_not_here_is_said_before_anything_is_encoded(home, sd15, photos, monkeypatch):
    monkeypatch.setattr(optimisers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install prodigyopt"):
        train.train_face_lora(order(sd15, photos, optimiser=Optimiser.PRODIGY, learning_rate=None))
    assert sd15.vae.encodings == 0
