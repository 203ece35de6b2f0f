"""Our networks under the host's memory manager."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import comfy.model_management
import comfy.model_patcher
import torch
from comfy_execution.utils import get_executing_context

from ..types import Origin

_ALL = 1e30  # as the host's own unload_all_models has it
Opened = TypeVar("Opened")
Net = TypeVar("Net", bound=torch.nn.Module)


class ManagedModel(Generic[Net]):
    """A network that the host moves between devices. Ask for it with `load` right before every use."""

    def __init__(self, name: str, network: Net, origin: Origin):
        self.name = name
        self.origin = origin
        self.device = comfy.model_management.get_torch_device()
        offload = comfy.model_management.unet_offload_device()
        # main.py rebinds CoreModelPatcher at start-up, so it is looked up here and not imported by name.
        self._patcher = comfy.model_patcher.CoreModelPatcher(network, load_device=self.device, offload_device=offload)

    def load(self) -> Net:
        """The network on `device`, ready to run."""
        comfy.model_management.load_model_gpu(self._patcher)
        return self._patcher.model


class _PromptNetworks:
    """The networks opened by the running prompt, so that two nodes of one graph open a file once. Emptied by the next prompt."""

    def __init__(self) -> None:
        self._prompt: str | None = None
        self._models: dict[Hashable, Any] = {}

    def get(self, key: Hashable, build: Callable[[], Opened]) -> Opened:
        context = get_executing_context()
        prompt = context.prompt_id if context else None
        if prompt is None:
            return build()
        if prompt != self._prompt:
            self._prompt, self._models = prompt, {}
        if key not in self._models:
            self._models[key] = build()
        return self._models[key]


_networks = _PromptNetworks()


def managed(key: Hashable, build: Callable[[], Opened]) -> Opened:
    """The network or session of `key` (name, path, time of its file), built once per prompt."""
    return _networks.get(key, build)


def to_output(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` on the host's intermediate device and dtype."""
    return tensor.to(device=comfy.model_management.intermediate_device(), dtype=comfy.model_management.intermediate_dtype())


def is_out_of_memory(error: BaseException) -> bool:
    return comfy.model_management.is_oom(error)


def free_bytes(device: torch.device) -> int:
    """Free bytes on `device`, beside the networks that the host keeps there."""
    return int(comfy.model_management.get_free_memory(device))


def unload_models(device: torch.device) -> None:
    """Unload every model of the host from `device`."""
    comfy.model_management.free_memory(_ALL, device)


def release() -> None:
    """Return unused device memory after a failed attempt."""
    comfy.model_management.soft_empty_cache()
