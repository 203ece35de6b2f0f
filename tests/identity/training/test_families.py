"""What training does with models of other families: how their portraits are drawn, where their noise lies, and which are refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
import comfy.model_base as model_base  # noqa: E402
import comfy.model_management as management  # noqa: E402
import comfy.model_sampling as model_sampling  # noqa: E402
import comfy.quant_ops as quant_ops  # noqa: E402
import comfy.supported_models as supported_models  # noqa: E402
from comfy.lora import calculate_weight  # noqa: E402
from comfy.samplers import KSampler  # noqa: E402

from facechain_impl.errors import BadInput, FaceChainError  # noqa: E402
from facechain_impl.host import families, lora  # noqa: E402
from facechain_impl.host.objective import Objective  # noqa: E402
from facechain_impl.identity import persons  # noqa: E402
from facechain_impl.identity.training import train  # noqa: E402
from facechain_impl.identity.training.previews import Preview  # noqa: E402

from ...small_models import OTHERS  # noqa: E402
from .test_train import order, stop_at, weights  # noqa: E402


def named(monkeypatch, name: str) -> None:
    monkeypatch.setattr(families, "model_file", lambda model: SimpleNamespace(name=name))


def made_as(kind: type, **attributes) -> SimpleNamespace:
    """A MODEL whose host class is `kind`, without a network."""
    made = kind.__new__(kind)
    torch.nn.Module.__init__(made)
    made.model_type = attributes.pop("model_type", model_base.ModelType.FLOW)
    made.diffusion_model = SimpleNamespace(**attributes)
    return SimpleNamespace(model=made, cached_patcher_init=None)


def test_every_family_is_drawn_in_its_own_way(sd15, sdxl, flux):
    assert families.sampling(sd15.model).cfg == 7.0
    assert families.sampling(sdxl.model).cfg == 6.0
    found = families.sampling(flux.model)
    assert (found.cfg, found.guidance, found.scheduler) == (1.0, 3.5, "simple")


@pytest.mark.parametrize(
    ("name", "cfg", "guidance"),
    [
        ("SD3", 4.5, None),
        ("Flux2", 1.0, 4.0),
        ("Chroma", 4.0, None),
        ("QwenImage", 4.0, None),
        ("Lumina2", 4.0, None),
        ("WAN21", 5.0, None),
    ],
)
def test_modern_models_are_not_drawn_at_7(name, cfg, guidance):
    found = families.sampling(made_as(getattr(model_base, name)))
    assert (found.cfg, found.guidance) == (cfg, guidance)


def test_an_unknown_flow_model_and_a_derived_one():
    assert families.sampling(made_as(model_base.HunyuanVideo)) == families.OTHER_FLOW.sampling
    assert families.sampling(made_as(model_base.ZImagePixelSpace)).cfg == families.BY_CLASS["Lumina2"].sampling.cfg


def test_every_sampler_and_scheduler_is_the_hosts():
    for name, family in families.BY_CLASS.items():
        one = family.sampling
        assert hasattr(model_base, name) and one.sampler in KSampler.SAMPLERS and one.scheduler in KSampler.SCHEDULERS, name
    assert all(hasattr(supported_models, name) for name in families.BY_CONFIG)


@pytest.mark.parametrize(
    "name",
    [
        "z_image_turbo_bf16.safetensors",
        "sdxl_lightning_4step.safetensors",
        "flux1-schnell.safetensors",
        "Hyper-SD15.safetensors",
        "x_8steps.safetensors",
    ],
)
def test_models_for_few_steps_are_drawn_without_guidance(monkeypatch, sd15, name):
    named(monkeypatch, f"{name}.safetensors")
    assert families.sampling(sd15.model).cfg == 1.0 and families.sampling(sd15.model).steps == 8


@pytest.mark.parametrize("name", ["v1-5-pruned-emaonly-fp16", "my_steps_2000", "realistic12steps2", "hyperrealistic_v4", "elcmont"])
def test_others_are_not(monkeypatch, sd15, name):
    named(monkeypatch, f"{name}.safetensors")
    assert families.sampling(sd15.model).cfg == 7.0


def test_a_flux_without_guidance_is_schnell():
    found = families.sampling(made_as(model_base.Flux, params=SimpleNamespace(guidance_embed=False)))
    assert (found.steps, found.cfg) == (8, 1.0)


def test_portraits_are_drawn_as_the_family_is(sd15, monkeypatch):
    seen = []
    monkeypatch.setattr(models.comfy.sample, "sample", lambda model, noise, *how, **rest: seen.append(how[:4]) or noise)
    with models.training_model(sd15.model, torch.float32) as opened:
        Preview(1, "a", 1, 64).portrait(opened, sd15.clip, sd15.vae)
    assert seen == [(20, 7.0, "dpmpp_2m", "karras")]


class EDM(model_sampling.ModelSamplingContinuousEDM, model_sampling.EDM):
    pass


class Cosmos(model_sampling.ModelSamplingCosmosRFlow, model_sampling.COSMOS_RFLOW):
    pass


@pytest.mark.parametrize(("kind", "median", "high"), [(EDM, 0.301, 2.17), (Cosmos, 1.0, 5.18)])
def test_noise_of_edm_and_cosmos_is_log_normal(kind, median, high):
    """It was log-uniform: for EDM a median of 0.37 and 47 at 95 %."""
    drawn = Objective(kind()).sample_sigmas(20000, torch.Generator().manual_seed(0))
    assert drawn.median().item() == pytest.approx(median, rel=0.05) and drawn.quantile(0.95).item() == pytest.approx(high, rel=0.08)


def test_an_inpainting_model_is_refused(home, sd15, photos, monkeypatch):
    sd15.model.model.set_inpaint()
    stop_at(monkeypatch, 0, AssertionError("trained"))
    with pytest.raises(BadInput, match="made for inpainting or editing.*Train on the ordinary model"):
        train.train_face_lora(order(sd15, photos))


def test_a_model_patched_for_few_steps_is_refused(home, sd15, photos):
    nodes = pytest.importorskip("comfy_extras.nodes_model_advanced")
    (patched,) = nodes.ModelSamplingDiscrete().patch(sd15.model, "lcm", False)
    sd15.model = patched
    with pytest.raises(BadInput, match="50 of its 1000 noise levels. Connect the model straight from its loader"):
        train.train_face_lora(order(sd15, photos))


CHECKPOINTING = "Switch gradient_checkpointing on, or train on a model of another family."
OTHER_FAMILY = ". Train on a model of another family."


@pytest.mark.parametrize(
    ("message", "checkpointing", "advice"),
    [
        ("element 0 of tensors does not require grad", False, OTHER_FAMILY),
        ("no autograd formula was registered", False, OTHER_FAMILY),
        ("a variable has been modified by an inplace operation", False, CHECKPOINTING),
        ("a variable has been modified by an inplace operation", True, OTHER_FAMILY),
    ],
)
def test_a_network_without_gradients_is_named(home, sd15, photos, monkeypatch, message, checkpointing, advice):
    """Checkpointing is advised where it helps: its blocks compute on copies."""

    def broken(self, batch, conditions):
        raise RuntimeError(message)

    monkeypatch.setattr(train.Trainer, "loss", broken)
    with pytest.raises(FaceChainError, match="^UNetModel cannot be trained with this ComfyUI") as refusal:
        train.train_face_lora(order(sd15, photos, gradient_checkpointing=checkpointing))
    assert str(refusal.value).endswith(advice)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", OTHERS)
def test_a_small_model_of_the_family_is_trained(home, photos, family, checkpointing):
    """LTX-Video, which adds in place, with checkpointing; without, it is refused in words that say so."""
    objects = OTHERS[family]()
    wanted = order(objects, photos, steps=2, gradient_checkpointing=checkpointing)
    if (family, checkpointing) == ("LTX-Video", False):
        with pytest.raises(FaceChainError, match="^LTXVModel cannot be trained with this ComfyUI: .*Switch gradient_checkpointing on"):
            train.train_face_lora(wanted)
        assert persons.names() == [] and not list((home / "user").rglob("state.pt"))
    else:
        result = train.train_face_lora(wanted)
        ups = [value for key, value in weights(result).items() if "lora_up" in key or "lora_B" in key]
        assert ups and all(value.abs().max() > 0 for value in ups)
        found = lora.match(objects.model, None, weights(result))
        assert len(found.patches) >= 8 and not found.unknown, "the host's loader uses every key"
        patched, base = lora.patched(objects.model, None, found, 1.0, 0.0)[0], objects.model.model.state_dict()
        for key, patches in patched.patches.items():
            assert not torch.equal(calculate_weight(patches, base[key].clone(), key), base[key]), key
    assert not any("lora" in key for key in objects.model.model.state_dict()), "the model is as before"


@pytest.mark.parametrize("family", ["Ernie-Image", "Cosmos Predict2"])
def test_what_stands_for_fused_operations_computes_the_same_and_goes_again(family):
    objects = OTHERS[family]()
    kernels = dict(vars(quant_ops.ck))
    with models.training_model(objects.model, torch.float32) as opened:
        latents = torch.randn(1, *objects.vae.encode(torch.zeros(1, 64, 64, 3)).shape[1:], generator=torch.Generator().manual_seed(1))
        told = [models.stored(opened.conditions(models.encode_text(objects.clip, "a face"), latents))]
        opened.load()
        trained = opened.predict(latents, torch.tensor([0.5]), told).detach()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(management, "in_training", False)
            for name in models._ROTATIONS:
                patch.setattr(quant_ops.ck, name, kernels[name])
            torch.testing.assert_close(trained, opened.predict(latents, torch.tensor([0.5]), told).detach(), rtol=1e-5, atol=1e-5)
    assert trained.std() > 0 and vars(quant_ops.ck) == kernels


def test_other_errors_of_pytorch_stay_what_they_are(home, sd15, photos, monkeypatch):
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), torch.OutOfMemoryError("no memory for autograd")):
        with monkeypatch.context() as patch:
            patch.setattr(train.Trainer, "loss", lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error), match="shapes|no memory"):
                train.train_face_lora(order(sd15, photos))


def test_after_a_refusal_the_model_is_as_before(home, sd15, photos, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train.Trainer, "loss", lambda *_: (_ for _ in ()).throw(RuntimeError("does not require grad")))
        with pytest.raises(FaceChainError):
            train.train_face_lora(order(sd15, photos))
    assert weights(train.train_face_lora(order(sd15, photos)))
