"""The host's model while it is trained: no second copy, its LoRAs take part, and weights that stay in RAM change nothing.

A CPU has no second memory, so a device that is too small is played: the host is told that little is free, every fetched weight is a copy,
and the copy is spoilt as soon as it is given back, as the host's own buffers are. What moving to a GPU does is not tried here."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
import comfy.model_management as management  # noqa: E402
import comfy.ops  # noqa: E402

from facechain_impl.host import borrowed, lora  # noqa: E402
from facechain_impl.identity.training import train  # noqa: E402

from ...small_models import FixedClip, SmallVae, flux_model, sd15_model  # noqa: E402
from .test_train import apart, changed, order, recorded_gradients, same, weights  # noqa: E402


def numbers(model) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.model.state_dict().items()}


@pytest.fixture
def with_lora(home, sd15, photos):
    """A model that carries a LoRA on the layers that training puts adapters on, and that LoRA."""
    made = train.train_face_lora(order(sd15, photos, name="Style", learning_rate=0.05))
    patched, _ = lora.patched(sd15.model, None, lora.match(sd15.model, None, weights(made)), 1.0, 1.0)
    return SimpleNamespace(model=patched, clip=sd15.clip, vae=sd15.vae, plain=sd15.model)


def merged(model) -> object:
    """The same numbers without patches, in a model of its own."""
    made = sd15_model()
    management.load_models_gpu([model], force_full_load=True)
    made.model.load_state_dict(numbers(model))
    management.unload_model_and_clones(model)
    return made


class TestNoCopy:
    def test_the_model_is_trained_where_it_is(self, home, sd15, photos, monkeypatch):
        sd15.model.cached_patcher_init = (lambda *_, **__: pytest.fail("the file was read again"), ("model.safetensors",))
        module, seen = sd15.model.model.diffusion_model, []
        monkeypatch.setattr(borrowed, "give_back", lambda patcher, real=borrowed.give_back: seen.append(patcher.model) or real(patcher))
        with torch.inference_mode(False):
            sd15.model.model.load_state_dict(numbers(sd15.model), assign=True)
        before = {name: value.data_ptr() for name, value in module.named_parameters()}
        train.train_face_lora(order(sd15, photos))
        assert seen and all(model is sd15.model.model for model in seen)
        assert {name: value.data_ptr() for name, value in module.named_parameters()} == before

    def test_a_training_of_the_text_encoder_too_can_be_lengthened(self, home, sd15, photos):
        """While adapters are in the module its layers have other names than in files."""
        train.train_face_lora(order(sd15, photos, train_text_encoder=True))
        longer = train.train_face_lora(order(sd15, photos, train_text_encoder=True, steps=6))
        assert any(note.startswith("Lengthened the finished training of Ann") for note in longer.report.notes)

    def test_tensors_of_inference_mode_are_replaced_one_by_one(self):
        with torch.inference_mode():
            module = torch.nn.Linear(4, 4)
        with torch.inference_mode(False):
            borrowed.make_ordinary(module)
        assert not any(value.is_inference() for value in module.parameters())

    def test_a_dynamic_model_is_read_again(self, monkeypatch):
        given = sd15_model()
        monkeypatch.setattr(given, "is_dynamic", lambda: True)
        given.cached_patcher_init = (lambda *_, disable_dynamic: sd15_model(), ("model.safetensors",))
        taken = borrowed.borrow(given)
        assert taken.model is not given.model and taken.clone_base_uuid is not given.clone_base_uuid


class TestLorasOnTheModel:
    def test_they_take_part_in_layers_with_adapters(self, with_lora, photos, monkeypatch):
        gradients = recorded_gradients(monkeypatch)
        plain = SimpleNamespace(model=merged(with_lora.model), clip=with_lora.clip, vae=with_lora.vae)
        train.train_face_lora(order(plain, photos, name="Merged", steps=1))
        train.train_face_lora(order(with_lora, photos, name="Patched", steps=1))
        train.train_face_lora(order(SimpleNamespace(**{**vars(with_lora), "model": with_lora.plain}), photos, name="Without", steps=1))
        assert max(apart(one, two) for one, two in zip(gradients[0], gradients[1])) < 1e-5
        assert max(apart(one, two) for one, two in zip(gradients[0], gradients[2])) > 1e-2

    @pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
    def test_afterwards_the_model_is_as_it_was(self, with_lora, photos, monkeypatch, error):
        before, meant = numbers(with_lora.plain), numbers(merged(with_lora.model))
        management.load_models_gpu([with_lora.model], force_full_load=True)
        if error:
            monkeypatch.setattr(train.Trainer, "_update", lambda self: (_ for _ in ()).throw(error))
            with pytest.raises(KeyboardInterrupt):
                train.train_face_lora(order(with_lora, photos))
        else:
            train.train_face_lora(order(with_lora, photos))
        assert same(numbers(with_lora.plain), before)
        assert same(numbers(merged(with_lora.model)), meant)


@pytest.fixture
def small_device(monkeypatch):
    """`small_device(model, share)`: from now on this part of its weights fits. Returns how often weights were fetched, by module."""
    real = comfy.ops.cast_bias_weight

    def make(model, share: float) -> dict[object, int]:
        fetched: dict[object, int] = {}

        def cast(layer, *args, offloadable=False, **kwargs):
            weight, bias, stream = real(layer, *args, offloadable=True, **kwargs)
            fetched[layer] = fetched.get(layer, 0) + 1
            weight, bias = weight.clone(), None if bias is None else bias.clone()
            return (weight, bias, stream) if offloadable else (weight, bias)

        def uncast(layer, weight, bias, stream):
            for value in (weight, bias):
                if value is not None:
                    value.data.fill_(float("nan"))

        size = model.model_size()

        def free(device=None, torch_free_too=False):
            return (size, size) if torch_free_too else size

        monkeypatch.setattr(management, "get_free_memory", free)
        monkeypatch.setattr(comfy.ops, "cast_bias_weight", cast)
        monkeypatch.setattr(comfy.ops, "uncast_bias_weight", uncast)
        monkeypatch.setattr(management, "is_device_cpu", lambda device: False)
        monkeypatch.setattr(management, "vram_state", management.VRAMState.NORMAL_VRAM)
        monkeypatch.setattr(management, "minimum_inference_memory", lambda: 0)
        monkeypatch.setattr(management, "extra_reserved_memory", lambda: 0)
        monkeypatch.setattr(management, "MIN_WEIGHT_MEMORY_RATIO", share)
        return fetched

    return make


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("family", ["sd15", "flux"])
def test_weights_that_stay_in_ram_change_nothing(home, photos, sd15, monkeypatch, small_device, family, share, checkpointing):
    """Bit for bit."""
    gradients = recorded_gradients(monkeypatch)
    given = sd15 if family == "sd15" else SimpleNamespace(model=flux_model(), clip=FixedClip(), vae=SmallVae(16))
    plain = train.train_face_lora(order(given, photos, gradient_checkpointing=checkpointing))
    fetched = small_device(given.model, share)
    monkeypatch.setattr(models.TrainingModel, "__init__", with_room(models.TrainingModel.__init__))
    other = train.train_face_lora(order(given, photos, name="Bea", gradient_checkpointing=checkpointing))
    assert same(weights(plain), weights(other)) and plain.losses == other.losses
    assert all(torch.equal(one, two) for one, two in zip(gradients[0], gradients[len(gradients) // 2]))
    all_layers = [layer for layer in given.model.model.modules() if isinstance(layer, torch.nn.Linear)]
    count = sum(layer in fetched for layer in all_layers)
    assert count == len(all_layers) if share == 0 else 0 < count < len(all_layers)


def with_room(init):
    def made(self, *given):
        init(self, *given)
        self.room = borrowed.ALL_OF_IT

    return made


def test_loras_on_a_model_whose_weights_stay_in_ram(with_lora, photos, monkeypatch, small_device):
    plain = train.train_face_lora(order(with_lora, photos))
    small_device(with_lora.model, 0.0)
    monkeypatch.setattr(models.TrainingModel, "__init__", with_room(models.TrainingModel.__init__))
    other = train.train_face_lora(changed(order(with_lora, photos), name="Bea", if_state=train.IfState.START_OVER))
    assert max(apart(value, weights(other)[key]) for key, value in weights(plain).items()) < 1e-4
