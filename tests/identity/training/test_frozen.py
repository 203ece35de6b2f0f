"""Layers whose weight is made anew in the backward pass, against the host's own layers, bit for bit."""

from __future__ import annotations

import contextlib

import pytest
import torch

frozen = pytest.importorskip("facechain_impl.host.frozen", reason="set COMFYUI_PATH").frozen
from comfy.ops import manual_cast as ops  # noqa: E402

LAYERS = {
    "linear": (lambda dtype: ops.Linear(24, 40, dtype=dtype), (2, 7, 24)),
    "linear without bias, flat": (lambda dtype: ops.Linear(24, 40, bias=False, dtype=dtype), (5, 24)),
    "convolution": (lambda dtype: ops.Conv2d(8, 12, 3, padding=1, dtype=dtype), (2, 8, 9, 9)),
    "strided": (lambda dtype: ops.Conv2d(8, 12, 3, stride=2, padding=1, dtype=dtype), (2, 8, 10, 10)),
    "grouped, dilated": (lambda dtype: ops.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4, dtype=dtype), (2, 8, 9, 9)),
    "wrapped around": (lambda dtype: ops.Conv2d(8, 12, 3, padding=1, padding_mode="circular", dtype=dtype), (2, 8, 9, 9)),
    "padded by name": (lambda dtype: ops.Conv2d(8, 12, 3, padding="same", dtype=dtype), (2, 8, 9, 9)),
    "of video": (lambda dtype: ops.Conv3d(4, 6, 3, padding=1, dtype=dtype), (1, 4, 3, 6, 6)),
    "group norm": (lambda dtype: ops.GroupNorm(4, 8, dtype=dtype), (2, 8, 5, 5)),
    "layer norm": (lambda dtype: ops.LayerNorm(24, dtype=dtype), (2, 7, 24)),
    "rms norm": (lambda dtype: ops.RMSNorm(24, dtype=dtype), (2, 7, 24)),
}
CAST = torch.float16


@pytest.fixture(autouse=True)
def as_in_training():
    with torch.inference_mode(False), torch.enable_grad():
        yield


def made(name: str, dtype: torch.dtype = CAST) -> tuple[torch.nn.Module, torch.Tensor]:
    make, shape = LAYERS[name]
    layer = make(dtype).requires_grad_(False)
    for value in layer.parameters():
        torch.nn.init.normal_(value, 0, 0.1)
    return torch.nn.Sequential(layer), torch.randn(shape)


def passed(module: torch.nn.Module, x: torch.Tensor, autocast: bool) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """The output, the input's gradient, and what autograd kept between the passes."""
    x = x.clone().requires_grad_()
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda value: kept.append(value) or value, lambda value: value):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = module(x)
        out.float().square().sum().backward()
    return out.detach(), x.grad, kept


@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", LAYERS)
def test_output_and_gradient_are_the_hosts_bit_for_bit(name, autocast):
    module, x = made(name)
    out, gradient, _ = passed(module, x, autocast)
    with frozen(module):
        again, other, _ = passed(module, x, autocast)
    assert torch.equal(out, again) and torch.equal(gradient, other)
    assert "forward" not in vars(module[0])


@pytest.mark.parametrize("name", ["linear", "linear without bias, flat", "convolution", "strided", "grouped, dilated"])
def test_autograd_keeps_no_cast_weight(name):
    module, x = made(name)
    shapes = {tuple(module[0].weight.shape), tuple(module[0].weight.shape)[::-1]}

    def weights_kept() -> list[tuple]:
        return [tuple(value.shape) for value in passed(module, x, False)[2] if tuple(value.shape) in shapes]

    assert weights_kept()
    with frozen(module):
        assert not weights_kept()


def test_a_layer_that_casts_nothing_is_left_alone():
    module, x = made("linear", torch.float32)
    module[0].comfy_cast_weights = False
    with frozen(module):
        _, _, kept = passed(module, x, False)
    assert any(value.data_ptr() == module[0].weight.data_ptr() for value in kept)


@pytest.mark.parametrize("name", ["linear", "strided", "group norm"])
def test_patches_that_the_host_applies_on_the_way_are_in_both_passes(name):
    module, x = made(name)
    module[0].weight_function = [lambda weight: weight * 3]
    with frozen(module):
        out, gradient, _ = passed(module, x, False)
    module[0].weight_function = []
    with torch.no_grad():
        module[0].weight = torch.nn.Parameter(module[0].weight.float() * 3, requires_grad=False)
    expected, slope, _ = passed(module, x, False)
    assert torch.equal(out, expected) and torch.equal(gradient, slope)


@pytest.mark.parametrize("error", [None, ValueError])
def test_layers_are_the_hosts_again_afterwards(error):
    module, _ = made("linear")
    with contextlib.suppress(ValueError), frozen(module):
        if error:
            raise error
    assert "forward" not in vars(module[0])
