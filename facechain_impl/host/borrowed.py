"""A patcher of the host while its model is trained, without a second copy of the weights, and on which device they are.

Training changes no weight of the model, so it works on the host's own module: adapters are put into it and taken out again. Only a model
under the host's dynamic memory has to be read anew, since that keeps weights in no ordinary tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import comfy.model_management as management
import torch

from ..errors import BadInput
from .protocols import Patcher

AnyPatcher = TypeVar("AnyPatcher", bound=Patcher)

ALL_OF_IT = 1e20
"""More bytes than a device has: leaves the weights as little room as the host goes down to."""


def borrow(patcher: AnyPatcher) -> AnyPatcher:
    """A patcher to train with, its patches included, which is not loaded. Raises BadInput for a model under the host's dynamic memory
    that its loader cannot read again, and that carries patches."""
    if patcher.is_dynamic() and patcher.cached_patcher_init is not None:
        copied = patcher.clone(disable_dynamic=True, force_deepcopy=True)
        # A copy unrelated to the original: the host unloads clones of one model for one another.
        copied.clone_base_uuid = object()
        return copied
    if patcher.is_dynamic() and patcher.patches:
        raise BadInput(
            "This MODEL carries other LoRAs and its loader cannot read it a second time. "
            "Connect the model as it leaves the loader, or load it with one of ComfyUI's own loaders."
        )
    # patches that are in the weights now are known under the names that those have without adapters
    management.unload_model_and_clones(patcher)
    return patcher.clone()


def load(patchers: Sequence[Patcher], device: torch.device, room: float | None) -> None:
    """Bring models with their adapters to the device, in ordinary tensors. room: bytes that training needs beside the weights; weights
    for which there is none stay where they are and are fetched layer by layer, by the host. None: all weights go to the device."""
    for patcher in patchers:
        make_ordinary(patcher.model)
        _follow_adapters(patcher)
    if room is None:
        management.load_models_gpu(patchers, memory_required=ALL_OF_IT, force_full_load=True)
    else:
        management.load_models_gpu(patchers, memory_required=room)
    for patcher in patchers:
        make_ordinary(patcher.model)
        for parameter in patcher.model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(device)


def give_back(patcher: Patcher) -> None:
    """Unload the model from its device and remove the patches from its weights. Call it before removing adapters from the module."""
    management.unload_model_and_clones(patcher)


def _follow_adapters(patcher: Patcher) -> None:
    """A layer with an adapter around it has another name, and so has the weight that a patch belongs to."""
    for key in list(patcher.patches):
        layer, _, name = key.rpartition(".")
        if hasattr(patcher.model.get_submodule(layer), "base_layer"):
            patcher.patches[f"{layer}.base_layer.{name}"] = patcher.patches.pop(key)


def make_ordinary(module: torch.nn.Module) -> None:
    """Replace tensors made under inference mode, which autograd refuses, by copies, one at a time."""
    for child in module.modules():
        for name, value in child._parameters.items():
            if value is not None and value.is_inference():
                child._parameters[name] = torch.nn.Parameter(value.clone(), requires_grad=False)
        for name, buffer in child._buffers.items():
            if buffer is not None and buffer.is_inference():
                child._buffers[name] = buffer.clone()
