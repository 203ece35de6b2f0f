"""LoCon and DoRA: what is trained is what the host makes of the file."""

from __future__ import annotations

import pytest
import torch

train = pytest.importorskip("facechain_impl.identity.training.train", reason="set COMFYUI_PATH")
import comfy.sd  # noqa: E402

from facechain_impl.errors import BadInput  # noqa: E402
from facechain_impl.host import borrowed, lora, models  # noqa: E402
from facechain_impl.identity.lora import formats as lora_files  # noqa: E402
from facechain_impl.identity.lora import merge  # noqa: E402
from facechain_impl.identity.training import adapters as train_adapters  # noqa: E402
from facechain_impl.identity.training import presets  # noqa: E402
from facechain_impl.identity.training import start as train_start  # noqa: E402
from facechain_impl.identity.training.adapters import Adapters, target_modules, tensors_for_file  # noqa: E402
from facechain_impl.identity.training.settings import Average, Start, Targets  # noqa: E402
from facechain_impl.types import LoraEntry  # noqa: E402

from ..conftest import added  # noqa: E402
from .test_train import apart, order, same, stopped, weights, whole_norm  # noqa: E402

LIMIT = {"sd15": 1e-5, "sdxl": 1e-5, "flux": 1e-3}
"""Of ||trained - patched|| / ||trained - untouched||, outputs of the network. The small Flux changes by a hundredth."""
LATENTS = {"sd15": 4, "sdxl": 4, "flux": 16}


def shaken(group: Adapters) -> Adapters:
    """As if it had been trained: every matrix away from its start, every norm by up to a tenth."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in group.named_parameters().items():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("magnitude_vector"):
                parameter.mul_(1 + 0.05 * noise.clamp(-2, 2))
            else:
                parameter.add_(0.05 * noise)
    return group


def output(opened, clip, channels: int) -> torch.Tensor:
    latents = torch.randn(1, channels, 8, 8, generator=torch.Generator().manual_seed(1))
    conditions = models.stored(opened.conditions(models.encode_text(clip, "a"), latents))
    with torch.no_grad():
        return opened.predict(latents, torch.tensor([0.7]), [conditions])


def put_in(module: torch.nn.Module, patched) -> None:
    """The weights of a patched MODEL or CLIP into its own module, by the host's arithmetic."""
    with torch.no_grad():
        for key in patched.patches:
            patched.model.get_parameter(key).copy_(patched.patch_weight_to_device(key, return_weight=True))


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(
    ("family", "targets"), [("sd15", Targets.CONVOLUTIONS), ("sdxl", Targets.CONVOLUTIONS), ("flux", Targets.ATTENTION_AND_MLP)]
)
def test_the_host_makes_of_the_file_what_was_trained(request, family, targets, dora, caplog):
    objects = request.getfixturevalue(family)
    names = lora.file_names(objects.model)
    with models.training_model(objects.model, torch.float32) as opened:
        opened.load()
        untouched = output(opened, objects.clip, LATENTS[family])
        group = Adapters(opened.module, target_modules(opened.module, targets), 4, 2.0, 0.0, 1, dora)
        torch.testing.assert_close(output(opened, objects.clip, LATENTS[family]), untouched)
        shaken(group)
        trained = output(opened, objects.clip, LATENTS[family])
        tensors = tensors_for_file(group.layers(), names, lora.MODEL_PREFIX)
        group.remove()
        patched, _ = comfy.sd.load_lora_for_models(objects.model, None, tensors, 1.0, 0)
        assert "not loaded" not in caplog.text.lower() and not lora.match(objects.model, None, tensors).unknown
        put_in(opened.module, patched)
        theirs = output(opened, objects.clip, LATENTS[family])
    assert (trained - untouched).norm() > 0.005 * untouched.norm()
    assert ((trained - theirs).norm() / (trained - untouched).norm()).item() < LIMIT[family]


def test_the_text_encoder_as_a_dora(sd15):
    module = sd15.clip.cond_stage_model

    def text() -> torch.Tensor:
        return models.encode_text(sd15.clip, "a woman")[0][0].clone()

    with torch.inference_mode(False), torch.no_grad():
        borrowed.make_ordinary(module)
        names, untouched = lora.text_file_names(sd15.clip), text()
        group = shaken(Adapters(module, target_modules(module, Targets.CONVOLUTIONS), 4, 4.0, 0.0, 1, True))
        trained, tensors = text(), tensors_for_file(group.layers(), names)
        group.remove()
        _, patched = comfy.sd.load_lora_for_models(None, sd15.clip, tensors, 0, 1.0)
        put_in(module, patched.patcher)
        theirs = text()
    assert ((trained - theirs).norm() / (trained - untouched).norm()).item() < LIMIT["sd15"]


def test_loading_is_the_inverse_of_layers(sd15):
    module = sd15.model.model.diffusion_model
    with torch.inference_mode(False):
        borrowed.make_ordinary(module)
        group = shaken(Adapters(module, target_modules(module, Targets.CONVOLUTIONS), 4, 2.0, 0.0, 1, True))
        before, layers = {name: value.detach().clone() for name, value in group.named_parameters().items()}, group.layers()
        names = {name: f"lora_unet_{name.replace('.', '_')}" for name in layers}
        read = lora_files.layers(lora_files.normalise(tensors_for_file(layers, names)))
        with train_adapters.held([group]):
            group.load({module: read[name] for module, name in names.items()})
            assert all(apart(before[name], value.detach()) < 1e-6 for name, value in group.named_parameters().items())
            group.load({name: lora_files.Layer(layer.up, layer.down, layer.alpha) for name, layer in layers.items()})
            for name, layer in group._layers.items():
                _, updated = group._norms(name, layer.lora_B["default"].weight, layer.lora_A["default"].weight)
                torch.testing.assert_close(layer.lora_magnitude_vector["default"].weight.flatten(), updated)
        group.remove()


class TestTraining:
    def test_a_file_of_both(self, home, sd15, photos):
        result = train.train_face_lora(order(sd15, photos, targets=Targets.CONVOLUTIONS, dora=True))
        name = "lora_unet_down_blocks_0_resnets_0_conv1"
        assert weights(result)[f"{name}.lora_down.weight"].shape == (4, 32, 3, 3)
        assert weights(result)[f"{name}.lora_up.weight"].shape == (32, 4, 1, 1) and weights(result)[f"{name}.dora_scale"].shape == (
            32,
            1,
            1,
            1,
        )
        linear = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
        assert weights(result)[f"{linear}.dora_scale"].shape == (32, 1)
        assert not any("conv_in" in key or "conv_out" in key for key in weights(result))
        assert not lora.match(sd15.model, None, weights(result)).unknown

    def test_stopped_it_resumes_to_the_same(self, home, sd15, photos, monkeypatch):
        options = {"targets": Targets.CONVOLUTIONS, "dora": True, "average": Average.EMA}
        whole = train.train_face_lora(order(sd15, photos, name="Whole", **options))
        stopped(monkeypatch, order(sd15, photos, **options), 2)
        resumed = train.train_face_lora(order(sd15, photos, **options))
        assert "Resumed after step 2 of 4." in resumed.report.notes and same(weights(whole), weights(resumed))

    def test_a_finished_one_is_lengthened_from_its_file(self, home, sd15, photos, monkeypatch):
        short = train.train_face_lora(order(sd15, photos, dora=True))
        seen, real = [], train.Trainer.lengthen
        monkeypatch.setattr(train.Trainer, "lengthen", lambda self, *given: real(self, *given) or seen.append(self.adapters[0].layers()))
        longer = train.train_face_lora(order(sd15, photos, dora=True, steps=6))
        assert len(longer.losses) == 6
        begun = torch.cat([layer.dora_scale.flatten() for layer in seen[0].values()])
        ended = torch.cat([weights(short)[key].flatten() for key in weights(short) if key.endswith("dora_scale")])
        assert begun.sort().values == pytest.approx(ended.sort().values, rel=1e-5) and apart(whole_norm(short), whole_norm(longer)) > 0

    def test_networks_without_convolutions_are_refused(self, home, flux, photos):
        with pytest.raises(BadInput, match="Flux has no convolutions.*Set targets to Attention and feed-forward"):
            train.train_face_lora(order(flux, photos, targets=Targets.CONVOLUTIONS))

    def test_weights_that_cannot_be_measured_are_refused(self, home, sd15, photos):
        for module in sd15.model.model.diffusion_model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight = torch.nn.Parameter(module.weight.to(torch.float8_e4m3fn), requires_grad=False)
        with pytest.raises(BadInput, match="DoRA measures the weights.*stored in 8 bits or quantised.*switch dora off"):
            train.train_face_lora(order(sd15, photos, dora=True))


def made(model, targets: Targets, dora: bool) -> LoraEntry:
    module = model.model.diffusion_model
    names = lora.file_names(model)
    with torch.inference_mode(False):
        borrowed.make_ordinary(module)
        group = shaken(Adapters(module, target_modules(module, targets), 4, 4.0, 0.0, 1, dora))
        tensors = tensors_for_file(group.layers(), names, lora.MODEL_PREFIX)
        group.remove()
    kind = "DoRA" if dora else "LoCon"
    return LoraEntry(kind, 1.0, 1.0, "face", tensors=tensors)


class TestMerging:
    def test_a_dora_is_not_summed_with_others(self, sd15):
        both = [made(sd15.model, Targets.ATTENTION, dora) for dora in (True, False)]
        with pytest.raises(BadInput, match="DoRA is a DoRA: it rescales.*Leave 'save_as' empty"):
            merge.merge(sd15.model, None, both)
        assert merge.merge(sd15.model, None, both[:1]).tensors and merge.merge(sd15.model, None, both[1:]).tensors
        _, _, report = merge.apply(sd15.model, None, both)
        assert any("the order of the LoRAs matters" in note for note in report.notes)
        assert not merge.apply(sd15.model, None, both[1:])[2].notes

    def test_convolutions_are_summed_also_where_one_file_has_them_flat(self, sd15):
        locon = made(sd15.model, Targets.CONVOLUTIONS, False)
        flat = {key: value[..., 0, 0] if "proj_in" in key and value.ndim == 4 else value for key, value in locon.tensors.items()}
        assert any(value.ndim == 2 and "proj_in" in key for key, value in flat.items())
        summed = merge.merge(sd15.model, None, [locon, LoraEntry("flat", 0.5, 0.5, "style", tensors=flat)])
        once, found = (lora_files.layers(tensors) for tensors in (locon.tensors, summed.tensors))
        assert once.keys() == found.keys() and summed.error == 0
        assert all(apart(1.5 * added(layer), added(found[name])) < 1e-6 for name, layer in once.items())


class TestStart:
    """face_frombase_c4 has attention layers alone."""

    def test_other_targets_start_from_random_and_say_so(self, monkeypatch):
        settings = presets.from_preset("FaceChain", 4, {"targets": Targets.CONVOLUTIONS}, has_common_start=True)
        assert (settings.start, settings.steps) == (Start.RANDOM, 1200)
        assert presets.from_preset("FaceChain", 4, {"targets": Targets.ATTENTION}, has_common_start=True).start is Start.FACE_COMMON
        monkeypatch.setattr(train_start, "belongs_to", lambda model: True)
        said = train_start.remark(None, settings, presets.PRESETS["FaceChain"], chosen_steps=False)
        assert "which has attention layers alone; this training has others. It trained 300 steps a photo instead of 200." in said

    def test_asked_for_with_them_it_is_refused(self):
        with pytest.raises(BadInput, match="has attention layers alone. Set targets to Attention or start from Random"):
            presets.from_preset("FaceChain", 4, {"targets": Targets.ATTENTION_AND_MLP, "start": Start.FACE_COMMON})
