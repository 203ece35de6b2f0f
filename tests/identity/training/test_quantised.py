"""Training over bases that are stored quantised: files in the host's formats, by its own loader, and layers as ComfyUI-GGUF has them."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch

models = pytest.importorskip("facechain_impl.host.models", reason="set COMFYUI_PATH")
import comfy.ops  # noqa: E402
import comfy.sd  # noqa: E402
from comfy.quant_ops import QuantizedTensor  # noqa: E402

from facechain_impl.errors import BadInput  # noqa: E402
from facechain_impl.host import frozen, lora  # noqa: E402
from facechain_impl.identity.training import train  # noqa: E402
from facechain_impl.identity.training.settings import Precision, Targets  # noqa: E402

from ...small_models import FixedClip, SmallVae, flux_model  # noqa: E402
from .test_train import apart, order, recorded_gradients, weights  # noqa: E402

# what the host takes for granted of Flux: heads of 128
WIDTH = {"hidden_size": 128, "num_heads": 1, "axes_dim": [16, 56, 56], "mlp_ratio": 4.0}
ROTATED = {"convrot": True, "convrot_groupsize": 64}
INT8 = "TensorWiseINT8Layout"
FORMATS = {
    "fp8": ("float8_e4m3fn", "TensorCoreFP8E4M3Layout", {"scale": "recalculate"}, {}),
    "fp8 e5m2": ("float8_e5m2", "TensorCoreFP8E5M2Layout", {"scale": "recalculate"}, {}),
    "int8": ("int8_tensorwise", INT8, {}, {}),
    "int8 by row": ("int8_tensorwise", INT8, {"per_channel": True}, {}),
    "int8 rotated": ("int8_tensorwise", INT8, {"per_channel": True, **ROTATED}, ROTATED),
    "nvfp4": ("nvfp4", "TensorCoreNVFP4Layout", {}, {}),
    "mxfp8": ("mxfp8", "TensorCoreMXFP8Layout", {}, {}),
}  # fmt: skip
OLD = "fp8 scaled, as older files have it"


def in_blocks(name: str, value: torch.Tensor) -> bool:
    """Published files quantise the matrices of the blocks."""
    return "_blocks." in name and name.endswith("weight") and value.ndim == 2


def quantised(state: dict[str, torch.Tensor], kind: str) -> tuple[dict, dict]:
    """A state dict as such files have it, and the same weights as numbers."""
    stored, plain = dict(state), dict(state)
    algorithm, layout, options, told = FORMATS["fp8" if kind == OLD else kind]
    for name in [name for name, value in state.items() if in_blocks(name, value)]:
        tensor = QuantizedTensor.from_float(state[name], layout, **options)
        plain[name] = tensor.dequantize()
        stored |= tensor.state_dict(name)
        layer = name.removesuffix(".weight")
        if kind == OLD:
            stored[f"{layer}.scale_weight"] = stored.pop(f"{name}_scale")
        else:
            described = json.dumps({"format": algorithm, **told}).encode()
            stored[f"{layer}.comfy_quant"] = torch.tensor(list(described), dtype=torch.uint8)
    if kind == OLD:
        stored["scaled_fp8"] = torch.zeros(0, dtype=torch.float8_e4m3fn)
    return stored, plain


@pytest.fixture
def made(tmp_path) -> Callable[[str], tuple[SimpleNamespace, SimpleNamespace]]:
    """`made(kind)` gives a Flux that the host loaded from a quantised file, and the same with its weights as plain numbers."""

    def make(kind: str) -> tuple[SimpleNamespace, SimpleNamespace]:
        plain = flux_model(**WIDTH)
        stored, numbers = quantised(plain.model.diffusion_model.state_dict(), kind)
        file = tmp_path / "flux.safetensors"
        safetensors.torch.save_file({name: value.contiguous() for name, value in stored.items()}, file)
        plain.model.diffusion_model.load_state_dict(numbers)
        loaded = comfy.sd.load_diffusion_model(str(file))
        return tuple(SimpleNamespace(model=model, clip=FixedClip(), vae=SmallVae(16)) for model in (loaded, plain))

    return make


def stored_bytes(module: torch.nn.Module) -> int:
    return sum(value.nbytes for name, value in module.named_parameters() if in_blocks(name, value) and "lora_" not in name)


@pytest.mark.parametrize("kind", [OLD, *FORMATS])
def test_gradients_are_those_over_the_same_numbers(home, photos, made, monkeypatch, kind):
    stored, plain = made(kind)
    assert any(frozen.is_quantised(value) for value in stored.model.model.parameters())
    gradients = recorded_gradients(monkeypatch)
    request = {"targets": Targets.ATTENTION_AND_MLP, "precision": Precision.FP32, "steps": 2}
    first = train.train_face_lora(order(plain, photos, name="Plain", **request))
    second = train.train_face_lora(order(stored, photos, name="Stored", **request))
    steps = len(gradients) // 2
    assert steps == 2 and len(gradients[0]) > 20
    assert max(apart(one, two) for one, two in zip(gradients[0] + gradients[1], gradients[2] + gradients[3])) < 1e-3
    assert second.losses == pytest.approx(first.losses, rel=1e-4)
    found = lora.match(stored.model, None, weights(second))
    assert not found.unknown and weights(second).keys() == weights(first).keys()


def test_inputs_before_the_first_adapter_are_not_rounded_either(made):
    """The host rounds a layer's inputs as it rounds its weights; here every layer computes with its numbers."""
    stored, plain = made("int8")
    block, same = (one.model.model.diffusion_model.double_blocks[0].img_mod.lin for one in (stored, plain))
    x = torch.randn(3, 128)
    assert apart(same(x), block(x)) > 1e-3
    with frozen.frozen(stored.model.model):
        assert apart(same(x), block(x)) < 1e-6


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_weights_stay_as_they_are_stored_through_both_passes(home, photos, made, monkeypatch, kind):
    stored, _ = made(kind)
    seen, kept = [], []
    real = train.Trainer._learn

    def learn(self, *given):
        def pack(tensor):
            kept.append(tuple(tensor.shape))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = real(self, *given)
        seen.append(stored_bytes(self._model.module))
        return loss

    monkeypatch.setattr(train.Trainer, "_learn", learn)
    train.train_face_lora(order(stored, photos, steps=2))
    shapes = {name: tuple(value.shape) for name, value in stored.model.model.diffusion_model.named_parameters() if in_blocks(name, value)}
    assert seen == [sum(rows * columns for rows, columns in shapes.values())] * 2, "one byte a weight"
    assert not {shape for pair in shapes.values() for shape in (pair, pair[::-1])} & set(kept), "autograd kept a weight"


def test_plain_fp8_starts_from_random_numbers_in_full_precision(home, photos, sd15):
    for layer in sd15.model.model.diffusion_model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.weight = torch.nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
            layer.comfy_cast_weights = True
    trained = train.train_face_lora(order(sd15, photos, steps=1, learning_rate=1e-9))
    down = next(value for name, value in weights(trained).items() if name.endswith("lora_down.weight"))
    assert len(down.unique()) > 0.9 * down.numel()


class Packed(torch.Tensor):
    """A weight as ComfyUI-GGUF keeps it: bytes of another shape, that say what they stand for."""

    @staticmethod
    def __new__(cls, value: torch.Tensor, shape: torch.Size):
        made = torch.Tensor._make_subclass(cls, value)
        made.tensor_shape = shape
        return made

    def to(self, *args, **kwargs):
        return Packed(super().to(*args, **kwargs).as_subclass(torch.Tensor), self.tensor_shape)

    def clone(self, *args, **kwargs):
        return self

    def detach(self, *args, **kwargs):
        return self

    @property
    def shape(self):
        return self.tensor_shape


def packed_layer(layer: torch.nn.Linear) -> torch.nn.Linear:
    """A linear layer with the methods that ComfyUI-GGUF's has, in the place of `layer`."""

    class Linear(comfy.ops.manual_cast.Linear):
        def cast_bias_weight(self, input=None, dtype=None, device=None, bias_dtype=None):
            dtype, device = (input.dtype, input.device) if input is not None else (dtype, device)
            half = self.weight.as_subclass(torch.Tensor).view(torch.uint8)[: self.weight.tensor_shape.numel()]
            weight = (half.to(dtype) - 128).reshape(self.weight.tensor_shape).to(device) * self.scale
            return weight, None if self.bias is None else self.bias.to(device, bias_dtype or dtype)

        def forward_comfy_cast_weights(self, input):
            return torch.nn.functional.linear(input, *self.cast_bias_weight(input))

        def _save_to_state_dict(self, destination, prefix, keep_vars):
            for name, value in self.named_parameters(recurse=False):
                destination[prefix + name] = torch.zeros(value.shape, dtype=value.dtype, device="meta")

    made = Linear(layer.in_features, layer.out_features, layer.bias is not None)
    made.scale = layer.weight.abs().max().item() / 127
    numbers = ((layer.weight / made.scale).round() + 128).to(torch.uint8).flatten()
    made.weight = torch.nn.Parameter(Packed(torch.cat([numbers, numbers]), layer.weight.shape), requires_grad=False)
    made.bias = layer.bias
    return made


def packed(model: SimpleNamespace) -> SimpleNamespace:
    """The linear layers of the blocks as ComfyUI-GGUF has them; `model` becomes the same in plain numbers."""
    twin = SimpleNamespace(model=flux_model(**WIDTH), clip=FixedClip(), vae=SmallVae(16))
    for name, layer in list(model.model.model.diffusion_model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and "_blocks." in name:
            made = packed_layer(layer)
            parent, _, child = name.rpartition(".")
            setattr(twin.model.model.diffusion_model.get_submodule(parent), child, made)
            layer.weight = torch.nn.Parameter(made.cast_bias_weight(dtype=torch.float32, device="cpu")[0], requires_grad=False)
    return twin


def test_layers_as_gguf_has_them(home, photos, monkeypatch):
    plain = SimpleNamespace(model=flux_model(**WIDTH), clip=FixedClip(), vae=SmallVae(16))
    stored = packed(plain)
    gradients = recorded_gradients(monkeypatch)
    train.train_face_lora(order(plain, photos, name="Plain", steps=1))
    train.train_face_lora(order(stored, photos, name="Stored", steps=1))
    assert max(apart(one, two) for one, two in zip(*gradients)) < 1e-3
    kinds = {type(value.data) for value in stored.model.model.parameters()}
    assert Packed in kinds, "the weights stayed packed"


def test_two_packed_models_are_two_models():
    first, second = (packed(SimpleNamespace(model=flux_model(seed, **WIDTH))).model for seed in (5, 6))
    assert models.weights_digest(first) != models.weights_digest(second)


def test_other_packages_quantised_layers_are_refused_in_words(home, photos, sd15):
    sd15.model.model.diffusion_model.time_embed[0] = layer = torch.nn.Linear(32, 128)
    layer.weight = torch.nn.Parameter(torch.zeros(2048, 1, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(BadInput, match="1 of its weights, such as diffusion_model.time_embed.0.weight, are stored as torch.uint8.*GGUF"):
        train.train_face_lora(order(sd15, photos))
