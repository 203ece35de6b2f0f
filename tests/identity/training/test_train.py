"""The whole training on small random models: what comes out, and what happens when it is stopped or asked for the impossible."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest
import safetensors
import torch

from facechain_impl.errors import BadInput, FaceChainError

persons = pytest.importorskip("facechain_impl.identity.persons", reason="set COMFYUI_PATH")
train = pytest.importorskip("facechain_impl.identity.training.train")
from facechain_impl.host import live, lora, models  # noqa: E402
from facechain_impl.identity.lora import formats as lora_files  # noqa: E402
from facechain_impl.identity.training import adapters, cli, crops, presets  # noqa: E402
from facechain_impl.identity.training import order as train_order  # noqa: E402
from facechain_impl.identity.training import result as train_result  # noqa: E402
from facechain_impl.identity.training import state as train_state  # noqa: E402
from facechain_impl.identity.training.settings import Augmentation, IfState, Optimiser, Precision, Start, Targets  # noqa: E402

SMALL = {"steps": 4, "resolution": 64, "variants": 2, "state_every": 1000, "learning_rate": 1e-3}


def order(objects: SimpleNamespace, photos, name="Ann", **changes) -> train_order.TrainRequest:
    settings = presets.from_preset("FaceChain", len(photos), SMALL | changes)
    captions = [f"<fcsks>, a woman, photo {index}" for index in range(len(photos))]
    inputs = train_order.TrainInputs(model=objects.model, clip=objects.clip, vae=objects.vae, photos=photos, captions=captions)
    return train_order.TrainRequest(inputs=inputs, settings=settings, policy=train_order.TrainPolicy(name=name))


def changed(request: train_order.TrainRequest, **changes) -> train_order.TrainRequest:
    """`request` with other inputs or another policy."""
    of_inputs = {key: value for key, value in changes.items() if hasattr(request.inputs, key)}
    of_policy = {key: value for key, value in changes.items() if key not in of_inputs}
    return replace(request, inputs=replace(request.inputs, **of_inputs), policy=replace(request.policy, **of_policy))


def weights(result: train_order.TrainResult) -> dict[str, torch.Tensor]:
    return result.person.lora


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    """||first - second|| / ||first||"""
    return ((first - second).norm() / first.norm().clamp(min=1e-30)).item()


def recorded_gradients(monkeypatch) -> list[list[torch.Tensor]]:
    """The gradients of every optimiser step from now on, as they come."""
    real, seen = train.Trainer._update, []

    def update(self):
        seen.append([parameter.grad.clone() for parameter in self._parameters])
        return real(self)

    monkeypatch.setattr(train.Trainer, "_update", update)
    return seen


def stop_at(monkeypatch, step: int, error: BaseException):
    """Make the training fail after `step` optimiser steps."""
    real = train.Trainer.step

    def failing(self):
        if self.steps_done == step:
            raise error
        return real(self)

    monkeypatch.setattr(train.Trainer, "step", failing)


class TestResult:
    def test_sd15_gives_kohya_keys_and_a_stored_person(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos))
        assert len(result.losses) == 4 and all(loss > 0 for loss in result.losses)
        assert len(weights(result)) == 56 * 3
        assert "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha" in weights(result)
        assert all(value.is_contiguous() and value.device.type == "cpu" for value in weights(result).values())
        assert persons.names() == ["Ann"] and result.person.trigger == "<fcsks>, a woman"
        assert result.person.photo.shape == (64, 64, 3)

    def test_sdxl_gives_kohya_keys_of_the_original_names(self, home, sdxl, photos):
        result = train.train_face_lora(order(sdxl, photos))
        assert "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight" in weights(result)

    def test_adapters_moved_and_model_did_not(self, home, sd15, photos):
        before = {key: value.clone() for key, value in sd15.model.model.state_dict().items()}
        result = train.train_face_lora(order(sd15, photos))
        after = sd15.model.model.state_dict()
        assert same(before, after)
        assert all(value.abs().max() > 0 for key, value in weights(result).items() if key.endswith("lora_up.weight"))

    def test_text_encoder_is_trained_when_asked(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos, train_text_encoder=True))
        text = {key: value for key, value in weights(result).items() if key.startswith("lora_te_text_model_encoder_layers_")}
        assert len(text) == 3 * 4 * 3
        assert all(value.abs().max() > 0 for key, value in text.items() if key.endswith("lora_up.weight"))
        found = lora.match(sd15.model, sd15.clip, weights(result))
        assert not found.unknown

    def test_both_text_encoders_of_sdxl(self, home, sdxl, photos):
        result = train.train_face_lora(order(sdxl, photos, train_text_encoder=True))
        assert {key.split("_")[1] for key in weights(result)} == {"unet", "te1", "te2"}
        assert not lora.match(sdxl.model, sdxl.clip, weights(result)).unknown

    def test_same_seed_same_file_other_seed_another(self, home, sd15, photos):
        first = train.train_face_lora(order(sd15, photos))
        second = train.train_face_lora(changed(order(sd15, photos), if_state=IfState.START_OVER))
        third = train.train_face_lora(order(sd15, photos, seed=7))
        assert same(weights(first), weights(second)) and not same(weights(first), weights(third))
        assert persons.names() == ["Ann", "Ann-2", "Ann-3"]

    def test_saving_the_state_does_not_change_the_result(self, home, sd15, photos):
        plain = train.train_face_lora(order(sd15, photos))
        assert same(weights(plain), weights(train.train_face_lora(order(sd15, photos, name="Bea", state_every=1))))

    def test_gradient_checkpointing_does_not_change_the_result(self, home, sd15, photos, monkeypatch):
        """Checkpointing adds up the same gradients in another order. AdamW divides by their size, so that where a gradient is nearly
        zero a last digit shows: what was learnt is compared as a whole."""
        gradients = recorded_gradients(monkeypatch)
        plain = train.train_face_lora(order(sd15, photos))
        other = train.train_face_lora(order(sd15, photos, name="Bea", gradient_checkpointing=True))
        steps = len(gradients) // 2
        assert all(apart(one, two) < 1e-5 for one, two in zip(gradients[0], gradients[steps]))
        assert other.losses == pytest.approx(plain.losses, rel=1e-6)
        assert apart(whole_norm(plain), whole_norm(other)) < 1e-5

    def test_accumulation_equals_a_larger_batch(self, home, sd15, photos):
        """Two passes of one sample see other noise than one pass of two, so only the arithmetic is compared: finite and close in size."""
        result = train.train_face_lora(order(sd15, photos, gradient_accumulation=2, batch_size=2))
        assert len(result.losses) == 4 and all(0 < loss < 5 for loss in result.losses)

    def test_metadata_of_the_file(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos))
        with safetensors.safe_open(result.person.lora_file, "pt") as file:
            header = file.metadata()
        about = json.loads(header["facechain"])
        assert about["trigger"] == "<fcsks>, a woman" and about["base_model"] == "unknown" and about["steps"] == 4
        assert about["base_model_hash"] == models.layout_hash(sd15.model.model)
        assert about["settings"]["seed"] == 42 and about["captions_hash"] == train_result.captions_hash(order(sd15, photos).inputs.captions)
        assert header["ss_network_dim"] == "4" and header["ss_network_alpha"] == "4.0"

    def test_latents_and_texts_are_computed_once(self, home, sd15, photos):
        train.train_face_lora(order(sd15, photos, steps=6))
        assert sd15.vae.encodings == 3 * 2

    def test_caption_dropout_and_min_snr_change_what_is_learnt(self, home, sd15, photos):
        plain = train.train_face_lora(order(sd15, photos))
        dropped = train.train_face_lora(order(sd15, photos, caption_dropout=1.0))
        snr = train.train_face_lora(order(sd15, photos, min_snr_gamma=0.5))
        assert not same(weights(plain), weights(dropped)) and not same(weights(plain), weights(snr))

    @pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP32])
    def test_precisions(self, home, sd15, photos, precision):
        result = train.train_face_lora(order(sd15, photos, precision=precision))
        assert all(value.dtype is torch.float32 for value in weights(result).values())

    def test_8bit_without_the_package_says_so(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos, optimiser=Optimiser.ADAMW_8BIT))
        assert any("8-bit AdamW was not used because" in note for note in result.report.notes)


class TestNeverLoseWork:
    def test_interrupted_training_resumes_to_the_same_weights(self, home, sd15, photos, monkeypatch):
        whole = train.train_face_lora(order(sd15, photos, name="Whole", dropout=0.3, gradient_accumulation=2))
        interrupt = models.management.InterruptProcessingException()
        with monkeypatch.context() as patch:
            stop_at(patch, 2, interrupt)
            with pytest.raises(models.management.InterruptProcessingException):
                train.train_face_lora(order(sd15, photos, dropout=0.3, gradient_accumulation=2))
        assert "Ann" not in persons.names()
        resumed = train.train_face_lora(order(sd15, photos, dropout=0.3, gradient_accumulation=2))
        assert "Resumed after step 2 of 4." in resumed.report.notes
        assert same(weights(whole), weights(resumed)) and whole.losses == resumed.losses
        assert not list((home / "user").rglob("state.pt"))

    def test_out_of_memory_keeps_the_state(self, home, sd15, photos, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 3, torch.OutOfMemoryError("no memory"))
            with pytest.raises(torch.OutOfMemoryError):
                train.train_face_lora(order(sd15, photos))
        assert "Resumed after step 3 of 4." in train.train_face_lora(order(sd15, photos)).report.notes

    def test_killed_process_goes_on_from_the_last_state(self, home, sd15, photos, monkeypatch):
        """A kill saves nothing more: only what `state_every` wrote is there."""
        whole = train.train_face_lora(order(sd15, photos, name="Whole"))
        with monkeypatch.context() as patch:
            stop_at(patch, 3, SystemExit())
            real = train_state.StateStore.save
            patch.setattr(train_state.StateStore, "save", lambda self, state, about: state["steps_done"] == 2 and real(self, state, about))
            with pytest.raises(SystemExit):
                train.train_face_lora(order(sd15, photos, state_every=1))
        resumed = train.train_face_lora(order(sd15, photos, state_every=1))
        assert "Resumed after step 2 of 4." in resumed.report.notes and same(weights(whole), weights(resumed))

    def test_start_over_discards_the_state(self, home, sd15, photos, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 2, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                train.train_face_lora(order(sd15, photos))
        result = train.train_face_lora(changed(order(sd15, photos), if_state=IfState.START_OVER))
        assert not any("Resumed" in note for note in result.report.notes)

    def test_two_trainings_do_not_share_a_state(self, home, sd15, photos, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 2, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                train.train_face_lora(order(sd15, photos))
        other = train.train_face_lora(order(sd15, photos[:2], name="Bea"))
        assert not any("Resumed" in note for note in other.report.notes)
        assert "Resumed after step 2 of 4." in train.train_face_lora(order(sd15, photos)).report.notes

    def test_a_finished_training_is_found_again(self, home, sd15, photos, monkeypatch):
        first = train.train_face_lora(order(sd15, photos))
        stop_at(monkeypatch, 0, AssertionError("trained again"))
        again = train.train_face_lora(order(sd15, photos))
        assert same(weights(first), weights(again)) and persons.names() == ["Ann"] and again.losses == first.losses

    def test_finish_now_returns_what_there_is(self, home, sd15, photos, monkeypatch):
        asked = iter([False, False, True])
        monkeypatch.setattr(live, "finish_requested", lambda: next(asked))
        result = train.train_face_lora(order(sd15, photos))
        assert len(result.losses) == 2 and any("Finished early, after step 2 of 4" in note for note in result.report.notes)

    def test_a_damaged_state_says_what_to_do(self, home, sd15, photos, monkeypatch):
        with monkeypatch.context() as patch:
            stop_at(patch, 2, KeyboardInterrupt())
            with pytest.raises(KeyboardInterrupt):
                train.train_face_lora(order(sd15, photos))
        next((home / "user").rglob("state.pt")).write_bytes(b"PK broken")
        with pytest.raises(FaceChainError, match="Start over"):
            train.train_face_lora(order(sd15, photos))

    def test_full_disk_while_saving_the_state_does_not_end_the_training(self, home, sd15, photos, monkeypatch):
        monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        result = train.train_face_lora(order(sd15, photos, state_every=1))
        assert sum("The disk is full" in note for note in result.report.notes) == 1 and len(result.losses) == 4

    def test_a_stopped_training_whose_state_cannot_be_saved_says_so(self, home, sd15, photos, monkeypatch):
        said = []
        monkeypatch.setattr(live, "say", said.append)
        monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        stop_at(monkeypatch, 2, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            train.train_face_lora(order(sd15, photos))
        assert "The disk is full" in said[-1]

    def test_too_little_space_is_refused_before_the_first_step(self, home, sd15, photos, monkeypatch):
        monkeypatch.setattr(train_state.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
        stop_at(monkeypatch, 0, AssertionError("trained"))
        with pytest.raises(FaceChainError, match="Only 0 MB are free"):
            train.train_face_lora(order(sd15, photos))

    def test_full_disk_at_the_end_leaves_nothing_half_written(self, home, sd15, photos, monkeypatch):
        def full(*arguments):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(lora_files.safetensors.torch, "save_file", full)
            with pytest.raises(FaceChainError, match="The disk is full"):
                train.train_face_lora(order(sd15, photos, state_every=1))
        assert persons.names() == [] and not list((home / "models").rglob("*.safetensors"))
        resumed = train.train_face_lora(order(sd15, photos, state_every=1))
        assert "Resumed after step 4 of 4." in resumed.report.notes


class TestRefusals:
    def test_no_photo(self, home, sd15):
        with pytest.raises(BadInput, match="There is no photo to train on"):
            train.train_face_lora(changed(order(sd15, [torch.zeros(8, 8, 3)]), photos=[], captions=[]))

    def test_unequal_counts_name_both(self, home, sd15, photos):
        with pytest.raises(BadInput, match="3 photos and 1 captions"):
            train.train_face_lora(changed(order(sd15, photos), captions=["one"]))

    @pytest.mark.parametrize(
        "name", ["../up", "/etc/passwd", "a/b", "a\\b", "CON", "nul.txt", "", " ", ".hidden", "C:\\x", "x" * 81, "a\0b"]
    )
    def test_names(self, home, sd15, photos, name):
        with pytest.raises(BadInput, match="cannot be the name of a person"):
            train.train_face_lora(order(sd15, photos, name=name))
        assert not (home / "models").exists()

    def test_nan_pixels(self, home, sd15, photos):
        bad = photos[1].clone()
        bad[0, 0, 0] = float("nan")
        with pytest.raises(BadInput, match="photo 2 contains 1 NaN or infinite pixels"):
            train.train_face_lora(order(sd15, [photos[0], bad, photos[2]]))

    def test_nan_loss_says_what_to_do_and_keeps_the_last_good_state(self, home, sd15, photos, monkeypatch):
        real = train.Trainer.loss
        monkeypatch.setattr(train.Trainer, "loss", lambda self, *given: real(self, *given) * (float("nan") if self.steps_done == 2 else 1))
        with pytest.raises(FaceChainError, match="loss is nan at step 3 of 4.*lower learning rate"):
            train.train_face_lora(order(sd15, photos))
        state = torch.load(next((home / "user").rglob("state.pt")), weights_only=True)
        assert state["steps_done"] == 2
        assert all(torch.isfinite(value).all() for value in state["adapters"][0].values())

    def test_oblong_photos_need_another_crop(self, home, sd15, photos):
        oblong = [photo[:48] for photo in photos]
        with pytest.raises(BadInput, match="Face crop needs square pictures"):
            train.train_face_lora(order(sd15, oblong))
        assert train.train_face_lora(order(sd15, oblong, augmentation=Augmentation.RANDOM)).person.name == "Ann"

    def test_quantised_model(self, home, sd15, photos):
        first = sd15.model.model.diffusion_model.time_embed[0]
        first.weight = torch.nn.Parameter(first.weight.to(torch.int8), requires_grad=False)
        with pytest.raises(BadInput, match="quantised: 1 of its weights.*int8"):
            train.train_face_lora(order(sd15, photos))

    def test_common_start_needs_rank_4(self):
        with pytest.raises(BadInput, match="has rank 4"):
            presets.from_preset("FaceChain", 3, {"rank": 8, "start": Start.FACE_COMMON})

    def test_the_recipe_starts_from_the_common_face_where_that_is_here(self):
        with_it, without = (presets.from_preset("FaceChain", 4, {}, here) for here in (True, False))
        assert (with_it.start, with_it.steps) == (Start.FACE_COMMON, 800) and (without.start, without.steps) == (Start.RANDOM, 1200)
        assert presets.from_preset("FaceChain", 4, {"start": Start.RANDOM}, True).steps == 800
        wide = presets.from_preset("FaceChain", 4, {"rank": 16}, True)
        assert (wide.start, wide.steps) == (Start.RANDOM, 1200)
        style = presets.from_preset("FaceChain style", 4, {}, True)
        assert (style.start, style.steps) == (Start.RANDOM, 80)
        assert presets.from_preset("FaceChain", 4, {"steps": 500}, False).steps == 500

    def test_min_snr_is_refused_for_flow(self):
        objective = models.Objective.__new__(models.Objective)
        objective.name = "flow"
        with pytest.raises(BadInput, match="this model predicts flow"):
            objective.min_snr_weights(torch.ones(2), 5.0)

    def test_one_photo_is_trained_with_a_remark(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos[:1]))
        assert any("only one photo" in note for note in result.report.notes)


class TestPresets:
    def test_face_chain_takes_200_steps_a_photo_and_scale_1(self):
        settings = presets.from_preset("FaceChain", 5, {}, has_common_start=True)
        assert (settings.steps, settings.rank, settings.alpha, settings.learning_rate) == (1000, 4, 4.0, 1.5e-4)
        assert settings.schedule == "cosine" and settings.augmentation is Augmentation.FACE_CROP

    def test_style_takes_20_epochs_at_rank_32(self):
        settings = presets.from_preset("FaceChain style", 6, {"batch_size": 2})
        assert (settings.steps, settings.rank, settings.optimiser) == (60, 32, Optimiser.ADAMW_8BIT)
        assert settings.schedule == "cosine_with_restarts"


def whole_norm(result: train_order.TrainResult) -> torch.Tensor:
    return torch.cat([value.flatten() for key, value in sorted(weights(result).items()) if not key.endswith("alpha")])


def stopped(monkeypatch, request: train_order.TrainRequest, step: int) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, step, torch.OutOfMemoryError("no memory"))
        with pytest.raises(torch.OutOfMemoryError):
            train.train_face_lora(request)


class TestRecipe:
    def test_every_number_is_upstreams(self):
        """spec of FaceChain 5.1 to 5.4: what its own script trains with."""
        one = presets.from_preset("FaceChain", 4, {}, has_common_start=True)
        assert (one.steps, one.learning_rate, one.rank, one.schedule, one.warmup_steps) == (4 * 200, 1.5e-4, 4, "cosine", 0)
        assert one.alpha == one.rank, "upstream ignores its alpha, so that the scale is 1"
        assert (one.resolution, one.batch_size, one.gradient_accumulation, one.seed, one.max_grad_norm) == (512, 1, 1, 42, 1.0)
        assert (one.optimiser, one.weight_decay, one.dropout) == (Optimiser.ADAMW, 0.01, 0.0)
        assert one.precision is Precision.FP32, "also where the GPU is good at bf16: upstream's mixed precision is off"
        assert presets.from_preset("FaceChain", 4, {"precision": Precision.AUTO}).precision is Precision.FP32, "the widget's default"
        assert (one.augmentation, one.mirror, one.start) == (Augmentation.FACE_CROP, True, Start.FACE_COMMON)
        assert (one.caption_dropout, one.min_snr_gamma, one.masked_loss, one.train_text_encoder) == (0.0, 0.0, 0.0, False)

    def test_captions_are_trained_as_they_are_written(self, sd15):
        plain, written = (models.encode_text(sd15.clip, text)[0][0] for text in ("smiling", "(smiling:1.5)"))
        weighted = sd15.clip.encode_from_tokens_scheduled(sd15.clip.tokenize("(smiling:1.5)"))[0][0]
        literal = sd15.clip.encode_from_tokens_scheduled(sd15.clip.tokenize(r"\(smiling:1.5\)"))[0][0]
        assert torch.equal(written, literal) and not torch.equal(written, weighted) and not torch.equal(written, plain)

    def test_mirroring_can_be_turned_off(self):
        photo = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
        on, off = (crops.variants(photo, 2, Augmentation.CENTRE, 64, torch.Generator(), mirror) for mirror in (True, False))
        assert torch.equal(on[1], on[0].flip(1)) and torch.equal(off[1], off[0])

    @pytest.mark.parametrize("name", ["blocks.0.ffn.0", "ff_i.shared_experts.w1", "joint_layers.0.mlpX.c_fc1", "transformer.ff.net.0.proj"])
    def test_feed_forward_layers_of_every_family(self, name):
        assert adapters._wanted(name, Targets.ATTENTION_AND_MLP) and not adapters._wanted(name, Targets.ATTENTION)


class TestIdentity:
    def test_after_out_of_memory_checkpointing_goes_on_where_it_stopped(self, home, sd15, photos, monkeypatch):
        whole = train.train_face_lora(order(sd15, photos, name="Whole"))
        stopped(monkeypatch, order(sd15, photos), 3)
        resumed = train.train_face_lora(order(sd15, photos, gradient_checkpointing=True, state_every=1))
        assert "Resumed after step 3 of 4." in resumed.report.notes
        assert apart(whole_norm(whole), whole_norm(resumed)) < 1e-5
        assert not list((home / "user").rglob("state.pt"))

    def test_a_batch_may_be_split(self, home, sd15, photos, monkeypatch):
        whole = train.train_face_lora(order(sd15, photos, name="Whole", batch_size=2))
        split = train.train_face_lora(order(sd15, photos, name="Split", gradient_accumulation=2))
        assert split.losses == pytest.approx(whole.losses, rel=1e-5) and apart(whole_norm(whole), whole_norm(split)) < 1e-5
        stopped(monkeypatch, order(sd15, photos, batch_size=2), 2)
        resumed = train.train_face_lora(order(sd15, photos, gradient_accumulation=2))
        assert "Resumed after step 2 of 4." in resumed.report.notes and apart(whole_norm(whole), whole_norm(resumed)) < 1e-5

    def test_what_decides_the_weights_decides_the_identity(self, home, sd15, photos, monkeypatch):
        def run(**changes) -> str:
            return train_order.ordered(order(sd15, photos, **changes)).run

        plain = run()
        assert plain == run(precision=Precision.AUTO) == run(precision=Precision.FP32), "on a CPU Auto is fp32"
        changes = ({"precision": Precision.BF16}, {"dropout": 0.1}, {"learning_rate": 2e-3}, {"min_snr_gamma": 5.0})
        others = [run(**change) for change in changes]
        dropped = [run(dropout=0.1, **split) for split in ({"batch_size": 2}, {"gradient_accumulation": 2})]
        assert len({plain, *others, *dropped}) == len(others) + 3

    def test_weights_enter_by_their_content(self, home, sd15, photos, monkeypatch):
        """Who trained on stand-ins and then fetches the real file trains anew."""
        found = {"face_frombase_c4": "1" * 64}
        monkeypatch.setattr(train_order.weights, "find", lambda name: SimpleNamespace(sha256=found[name], path=None))
        request = order(sd15, photos, start=Start.FACE_COMMON)
        stand_in, plain = train_order.ordered(request).run, train_order.ordered(order(sd15, photos)).run
        found["face_frombase_c4"] = "2" * 64
        assert train_order.ordered(request).run != stand_in and train_order.ordered(order(sd15, photos)).run == plain

    def test_a_locked_state_does_not_end_the_training(self, home, sd15, photos, monkeypatch):
        real = os.replace

        def locked(source, target):
            if str(target).endswith("state.pt"):
                raise PermissionError(13, "The process cannot access the file because it is being used by another process")
            real(source, target)

        monkeypatch.setattr(os, "replace", locked)
        result = train.train_face_lora(order(sd15, photos, state_every=1))
        assert len(result.losses) == 4 and sum("being used by another process" in note for note in result.report.notes) == 1


class TestLonger:
    def test_a_finished_training_is_lengthened(self, home, sd15, photos):
        short = train.train_face_lora(order(sd15, photos))
        rates = []
        with pytest.MonkeyPatch.context() as patch:
            real = train.Trainer._update
            patch.setattr(train.Trainer, "_update", lambda self: (rates.append(self.learning_rate), real(self)))
            long = train.train_face_lora(order(sd15, photos, steps=44, schedule="constant"))
            assert len(rates) == 44, "another schedule is another training"
            rates.clear()
            again = train.train_face_lora(order(sd15, photos, steps=44))
        assert any(note.startswith("Lengthened the finished training of Ann: goes on after step 4") for note in again.report.notes)
        assert len(again.losses) == 44 and again.losses[:4] == short.losses and len(rates) == 40
        assert again.person.report["lengthened_at"] == 4 and long.person.report["lengthened_at"] is None
        assert rates[0] < 0.5 * rates[3] and rates[3] > rates[20] > rates[-1], "it rises, then follows the cosine of the longer training"

    def test_a_stopped_training_is_lengthened_with_its_moments(self, home, sd15, photos, monkeypatch):
        stopped(monkeypatch, order(sd15, photos), 3)
        longer = train.train_face_lora(order(sd15, photos, steps=6))
        assert any(note.startswith("Lengthened the stopped training of Ann: goes on after step 3") for note in longer.report.notes)
        assert len(longer.losses) == 6

    def test_a_training_that_was_finished_early_is_finished_later(self, home, sd15, photos, monkeypatch):
        asked = iter([False, False, True])
        with monkeypatch.context() as patch:
            patch.setattr(live, "finish_requested", lambda: next(asked))
            early = train.train_face_lora(order(sd15, photos))
        assert len(early.losses) == 2
        later = train.train_face_lora(order(sd15, photos))
        assert len(later.losses) == 4 and later.losses[:2] == early.losses
        assert any(note.startswith("Lengthened the finished training of Ann: goes on after step 2") for note in later.report.notes)

    def test_start_over_lengthens_nothing(self, home, sd15, photos):
        train.train_face_lora(order(sd15, photos))
        longer = train.train_face_lora(changed(order(sd15, photos, steps=6), if_state=IfState.START_OVER))
        assert not any("Lengthened" in note for note in longer.report.notes)

    def test_a_lengthened_training_resumes_to_the_same(self, home, sd15, photos, monkeypatch):
        train.train_face_lora(order(sd15, photos, name="Whole"))
        whole = train.train_face_lora(order(sd15, photos, name="Whole", steps=8))
        train.train_face_lora(order(sd15, photos))
        stopped(monkeypatch, order(sd15, photos, steps=8), 6)
        resumed = train.train_face_lora(order(sd15, photos, steps=8))
        assert "Resumed after step 6 of 8." in resumed.report.notes and same(weights(whole), weights(resumed))


def test_photos_that_are_enlarged_are_found_out_once_and_told(home, sdxl, photos, monkeypatch):
    real, asked = crops.scales, []
    monkeypatch.setattr(crops, "scales", lambda *given: asked.append(given) or real(*given))
    result = train.train_face_lora(order(sdxl, photos, steps=1, resolution=128))
    (said,) = [note for note in result.report.notes if "learns blur" in note]
    assert said.startswith("The training pictures of 128 pixels are enlarged up to 3.0 times") and len(asked) == 1


class TestUnfinished:
    def test_they_are_listed_in_the_next_report(self, home, sd15, photos, monkeypatch):
        stopped(monkeypatch, order(sd15, photos), 2)
        report = train.train_face_lora(order(sd15, photos[:2], name="Bea")).report
        assert any("Ann, step 2 of 4" in note and "trainings delete" in note for note in report.notes)

    def test_listed_and_deleted(self, home, sd15, photos, monkeypatch, capsys):
        assert cli.main(["list"]) == 0 and "No training is unfinished." in capsys.readouterr().out
        stopped(monkeypatch, order(sd15, photos), 2)
        stopped(monkeypatch, order(sd15, photos[:2], name="Bea"), 1)
        assert cli.main(["list"]) == 0
        listed = capsys.readouterr().out.splitlines()
        assert {line.split("  ")[1].split(",")[0] for line in listed[:2]} == {"Ann", "Bea"} and "step 2 of 4" in "".join(listed)
        assert cli.main(["delete", "nothing"]) == 1 and "not the beginning of one" in capsys.readouterr().err
        monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
        assert cli.main(["delete"]) == 1 and len(train_state.unfinished()) == 2
        (ann,) = [line.split("  ")[0] for line in listed[:2] if "Ann" in line]
        assert cli.main(["delete", ann, "--yes"]) == 0 and [one.name for one in train_state.unfinished()] == ["Bea"]
        monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
        assert cli.main(["delete"]) == 0 and not list((home / "user").rglob("state.pt"))

    def test_states_of_version_0_1_are_listed_as_unknown(self, home):
        folder = train_state.trainings_folder() / "0123456789abcdef"
        folder.mkdir(parents=True)
        (folder / "state.pt").write_bytes(b"old")
        assert [one.text() for one in train_state.unfinished()] == ["unknown, step 0 of 0, 0.0 MB"]
