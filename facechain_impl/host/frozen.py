"""Frozen layers of the host under autograd: a weight stays as it is stored, fp8, int8 or on another device, through both passes.

A layer of the host makes the weight that it computes with from the stored one: cast, dequantised, fetched, patched. Autograd would keep
each of those until the backward pass, a second copy of the whole model in a larger format, and some of the host's quantised
products have no gradient at all. Here the weight is made anew in the backward pass instead."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import comfy.ops
import comfy.quant_ops
import torch
from torch.nn import functional
from torch.nn.grad import conv2d_input

Layer = Any
"""A module with a weight, of the host's operations or of a pack that derives from them: none of these state a common type."""

Adjoint = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(gradient of the output, weight) -> gradient of the input."""


def is_quantised(value: torch.Tensor) -> bool:
    """Whether these stored weights have a meaning only together with their scales."""
    return isinstance(value.data, comfy.quant_ops.QuantizedTensor) or not value.dtype.is_floating_point


def can_train_over(layer: Layer) -> bool:
    """Whether `frozen` gives this layer with quantised weights a gradient: linear layers of the host, linear layers and convolutions
    of ComfyUI-GGUF. An embedding needs none."""
    if not isinstance(layer, comfy.ops.CastWeightBiasOp):
        return False
    if isinstance(layer, torch.nn.Embedding):
        return True
    known = isinstance(layer.weight.data, comfy.quant_ops.QuantizedTensor) or _fetches_itself(layer)
    return known and _linear_map(layer) is not None


@contextlib.contextmanager
def frozen(module: torch.nn.Module) -> Iterator[None]:
    """In this context no layer below `module` keeps a copy of its weight for the backward pass. Results are those of the host's own
    forward pass, but that quantised layers compute with the dequantised weight and with inputs as they come."""
    chosen = _frozen_layers(module)
    for layer in chosen:
        layer.forward = functools.partial(_forward, layer, layer.forward)
    try:
        yield
    finally:
        for layer in chosen:
            del layer.forward


def largest_weights(module: torch.nn.Module) -> tuple[int, int]:
    """How many numbers the largest weight of a linear map has, of all, and of those that are made anew in each pass."""
    maps = [(_numbers(layer), _casts(layer) or is_quantised(layer.weight)) for layer in _frozen_layers(module) if _linear_map(layer)]
    return max((count for count, _ in maps), default=0), max((count for count, anew in maps if anew), default=0)


def _numbers(layer: Layer) -> int:
    """Of the weight, however it is stored."""
    if type(layer).__name__ == "Linear":
        return int(layer.in_features) * int(layer.out_features)
    return int(layer.weight.numel())


def _frozen_layers(module: torch.nn.Module) -> list[Layer]:
    return [layer for layer in module.modules() if isinstance(layer, comfy.ops.CastWeightBiasOp) and _has_gradient(layer)]


def _has_gradient(layer: Layer) -> bool:
    return isinstance(getattr(layer, "weight", None), torch.nn.Parameter) and (_linear_map(layer) or _other(layer)) is not None


def _forward(layer: Layer, original: Callable[..., torch.Tensor], x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    functions = _linear_map(layer)
    wanted = torch.is_grad_enabled() and x.requires_grad and _casts(layer)
    if functions is not None and (wanted or is_quantised(layer.weight)):
        return _Fetching.apply(_smoothed(layer, x), layer, *functions)
    compute = _other(layer) if wanted else None
    if compute is None:
        return original(x, *args, **kwargs)
    # autograd keeps these few weights: in memory of their own, since the host uses that of what it fetches again
    with _fetched(layer, x.dtype, x.device) as (weight, bias):
        return compute(x, weight.clone(), None if bias is None else bias.clone(), *args, **kwargs)


def _casts(layer: Layer) -> bool:
    """Whether the layer computes with a different tensor than the stored one. The host's mixed precision layers always do."""
    if not isinstance(layer, torch.nn.Linear) and type(layer).__name__ == "Linear":
        return True
    return bool(layer.comfy_cast_weights or layer.weight_function or layer.bias_function)


def _smoothed(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Some quantised files scale the inputs of a layer, so that its weights quantise better."""
    scale = getattr(layer, "pre_quant_scale", None)
    return x if scale is None else x * scale.to(x.device, x.dtype)


def _linear_map(layer: Layer) -> tuple[Callable[..., torch.Tensor], Callable[[torch.Size], Adjoint]] | None:
    """How a linear map computes, and from the shape of its input the way back. None for other layers."""
    if type(layer).__name__ == "Linear":
        return functional.linear, lambda shape: torch.matmul
    if isinstance(layer, torch.nn.Conv2d) and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return layer._conv_forward, lambda shape: functools.partial(_input_gradient, layer, shape)
    return None


def _other(layer: Layer) -> Callable[..., torch.Tensor] | None:
    """How a layer with few weights computes, from input, weight and bias."""
    if isinstance(layer, torch.nn.GroupNorm):
        return lambda x, weight, bias: functional.group_norm(x, layer.num_groups, weight, bias, layer.eps)
    if isinstance(layer, torch.nn.LayerNorm):
        return lambda x, weight, bias: functional.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
    if isinstance(layer, torch.nn.RMSNorm):
        return lambda x, weight, bias: functional.rms_norm(x, layer.normalized_shape, weight, layer.eps)
    return layer._conv_forward if isinstance(layer, (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)) else None


def _input_gradient(layer: torch.nn.Conv2d, shape: torch.Size, gradient: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    how = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return conv2d_input(shape, weight, gradient, *how)


class _Fetching(torch.autograd.Function):
    """A linear map whose weight is fetched for each pass."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, layer: Layer, compute: Callable[..., torch.Tensor], adjoint: Callable[[torch.Size], Adjoint]
    ) -> torch.Tensor:
        ctx.layer, ctx.adjoint, ctx.dtype = layer, adjoint(x.shape), x.dtype
        with _fetched(layer, x.dtype, x.device) as (weight, bias):
            return compute(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        # under autocast the product was in the gradient's format, whatever the input's
        with _fetched(ctx.layer, ctx.dtype, gradient.device) as (weight, _):
            return ctx.adjoint(gradient, weight.to(gradient.dtype)), None, None, None


@contextlib.contextmanager
def _fetched(layer: Layer, dtype: torch.dtype, device: torch.device) -> Iterator[tuple[torch.Tensor, torch.Tensor | None]]:
    """Weight and bias of a layer as it computes with them, in this context."""
    if _fetches_itself(layer):
        weight, bias = layer.cast_bias_weight(dtype=dtype, device=device, bias_dtype=dtype)
        yield _plain(weight), bias
        return
    weight, bias, stream = comfy.ops.cast_bias_weight(layer, dtype=dtype, device=device, bias_dtype=dtype, offloadable=True)
    try:
        yield _plain(weight), bias
    finally:
        comfy.ops.uncast_bias_weight(layer, weight, bias, stream)


def _fetches_itself(layer: Layer) -> bool:
    """ComfyUI-GGUF's layers have this method in the place of the host's function."""
    return callable(getattr(layer, "cast_bias_weight", None))


def _plain(weight: torch.Tensor) -> torch.Tensor:
    return weight.dequantize() if isinstance(weight, comfy.quant_ops.QuantizedTensor) else weight
