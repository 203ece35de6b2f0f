"""LoRA adapters on a loaded model: injection by peft, removal, and their weights under the names of a LoRA file."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from ...errors import BadInput
from ..lora.formats import Layer
from .settings import Targets

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer

_ATTENTION = re.compile(r"(^|\.)\w*(attn|attention)\d*(\.|$)", re.IGNORECASE)
# ffn: Wan. ff_i, ff_t: HiDream. mlpC, mlpX: AuraFlow.
_MLP = re.compile(r"(^|\.)\w*(ff|ffn|ff_[it]|mlp|mlp[CX]|feed_forward)(\.|$)")
# Flux fuses attention and feed-forward of its single blocks into these two layers.
_FUSED = re.compile(r"(^|\.)single_blocks\.\d+\.linear[12]$")
# LoCon of a UNet, without its first and its last convolution, as in kohya's sd-scripts.
_CONVOLUTION = re.compile(r"^(input_blocks\.(?!0\.0$)|middle_block\.|output_blocks\.)")
_PLACE = "default"
Weights = list[dict[str, Layer]]
"""Of each group of adapters, by module name."""


def target_modules(module: torch.nn.Module, targets: Targets) -> list[str]:
    """Names of the linear layers, and of a UNet's convolutions, that get an adapter. Raises BadInput when the model has none."""
    linear = [name for name, child in module.named_modules() if _is_linear(child)]
    chosen = [name for name in linear if _wanted(name, targets)]
    if not chosen:
        raise BadInput(
            f"No attention layer was found in {type(module).__name__}: none of its {len(linear)} linear layers is named like one "
            f"({', '.join(linear[:3])}...). Train on another model."
        )
    return [*chosen, *convolutions(module)] if targets is Targets.CONVOLUTIONS else chosen


def convolutions(module: torch.nn.Module) -> list[str]:
    """Names of the convolutions of a UNet that get an adapter; none in other networks."""
    return [name for name, child in module.named_modules() if isinstance(child, torch.nn.Conv2d) and _CONVOLUTION.search(name)]


def _is_linear(module: torch.nn.Module) -> bool:
    """The host's layer for quantised weights has the name and the sizes of a linear layer, but not its type."""
    return isinstance(module, torch.nn.Linear) or (type(module).__name__ == "Linear" and hasattr(module, "in_features"))


def _wanted(name: str, targets: Targets) -> bool:
    if _ATTENTION.search(name) or _FUSED.search(name):
        return True
    return targets is not Targets.ATTENTION and bool(_MLP.search(name))


class Adapters:
    """Trainable LoRA layers inside a module.

    Injected from a seed, so that two runs start alike; always float32, whatever the model is stored in. With `dora` (Liu et al. 2024) each
    layer also trains the norm of every row of its weight; `measure` sets those once the weights are where they are computed with."""

    def __init__(self, module: torch.nn.Module, names: list[str], rank: int, alpha: float, dropout: float, seed: int, dora: bool = False):
        # Half a second to import, which only a training needs.
        import peft
        from peft.tuners.lora import Linear, LoraLayer

        self._module = module
        self.rank, self.alpha, self.dora = rank, alpha, dora
        config = peft.LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, init_lora_weights="gaussian", use_dora=dora
        )
        kinds = {type(module.get_submodule(name)) for name in names}
        config._register_custom_module({kind: Linear for kind in kinds if not issubclass(kind, (torch.nn.Linear, torch.nn.Conv2d))})
        module.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, module, _PLACE)
            self._layers = {name: child for name, child in module.named_modules() if isinstance(child, LoraLayer)}
            for layer in self._layers.values():
                _make_float32(layer)
                if isinstance(layer, Linear) and not dropout and not dora:
                    layer.forward = functools.partial(_forward, layer)
        self.train(True)

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Trainable tensors by the name of the layer they belong to, in a fixed order."""
        parts = ("lora_A", "lora_B", "lora_magnitude_vector") if self.dora else ("lora_A", "lora_B")
        return {f"{name}.{part}": getattr(layer, part)[_PLACE].weight for name, layer in self._layers.items() for part in parts}

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.named_parameters().values())

    def train(self, training: bool) -> None:
        """Switch the adapters' dropout; the model itself always stays in evaluation mode, as in diffusers' training of a LoRA."""
        for layer in self._layers.values():
            layer.lora_dropout.train(training)

    @torch.no_grad()
    def measure(self) -> None:
        """Set the norms of DoRA to those of the weights with their updates, so that these count as they are."""
        for name, layer in self._layers.items() if self.dora else ():
            magnitude = layer.lora_magnitude_vector[_PLACE].weight
            magnitude.copy_(self._norms(name, layer.lora_B[_PLACE].weight, layer.lora_A[_PLACE].weight)[1].reshape(magnitude.shape))

    def _norms(self, name: str, up: torch.Tensor, down: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Norms [out] of the rows of a layer's weight, without and with its update."""
        weight = self._layers[name].get_base_layer().weight.detach().float().flatten(1)
        update = (up.flatten(1) @ down.flatten(1)).to(weight.device)
        return weight.norm(dim=1), (weight + self.alpha / self.rank * update).norm(dim=1)

    def layers(self) -> dict[str, Layer]:
        """A copy of the weights by module name, float32 on the CPU."""
        return self.as_layers({name: parameter.detach() for name, parameter in self.named_parameters().items()})

    @torch.no_grad()
    def as_layers(self, parameters: dict[str, torch.Tensor]) -> dict[str, Layer]:
        """What `named_parameters` gives, now or earlier, as `layers` gives it."""
        found = {}
        for name in self._layers:
            up, down = parameters[f"{name}.lora_B"], parameters[f"{name}.lora_A"]
            scale = self._scale_of_file(name, up, down, parameters[f"{name}.lora_magnitude_vector"]) if self.dora else None
            found[name] = Layer(_copied(up), _copied(down), self.alpha, scale)
        return found

    def _scale_of_file(self, name: str, up: torch.Tensor, down: torch.Tensor, magnitude: torch.Tensor) -> torch.Tensor:
        """Norms as a file has them [out, 1, ...].

        The host divides the updated weight by the norm of the weight without its update, where peft divides by the norm with it."""
        plain, updated = self._norms(name, up, down)
        scale = magnitude.flatten().to(plain.device) * plain / updated
        return _copied(scale.reshape(-1, *[1] * (down.ndim - 1)))

    @torch.no_grad()
    def load(self, layers: dict[str, Layer]) -> None:
        """Set the weights. Raises BadInput when a layer is missing or of another shape."""
        for name, layer in self._layers.items():
            given = layers.get(name)
            down, up = layer.lora_A[_PLACE].weight, layer.lora_B[_PLACE].weight
            if given is None or given.down.shape != down.shape or given.up.shape != up.shape:
                found = "nothing" if given is None else f"{tuple(given.down.shape)} and {tuple(given.up.shape)}"
                raise BadInput(f"The starting weights are {found} for {name}; expected {tuple(down.shape)} and {tuple(up.shape)}.")
            down.copy_(given.down * given.scale * self.rank / self.alpha)
            up.copy_(given.up)
        self.measure()
        for name, layer in self._layers.items() if self.dora else ():
            if (scale := layers[name].dora_scale) is not None:
                magnitude = layer.lora_magnitude_vector[_PLACE].weight
                plain, updated = self._norms(name, layer.lora_B[_PLACE].weight, layer.lora_A[_PLACE].weight)
                magnitude.copy_((scale.flatten().to(plain.device) * updated / plain).reshape(magnitude.shape))

    def remove(self) -> None:
        """Put the module's own layers back where the adapters were."""
        for name, layer in self._layers.items():
            parent, _, child = name.rpartition(".")
            owner = self._module.get_submodule(parent)
            setattr(owner, child, layer.base_layer)
        self._layers = {}
        del self._module.peft_config


@contextlib.contextmanager
def held(adapters: list[Adapters]) -> Iterator[None]:
    """Afterwards the adapters have the weights that they have now."""
    parameters = [parameter for group in adapters for parameter in group.parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


def _forward(layer: LoraLayer, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """What peft's own computes, without conversions and with scaling and addition in one operation: small batches wait for their number."""
    result = layer.base_layer(x, *args, **kwargs)
    down, up = (half[_PLACE].weight.to(result.dtype) for half in (layer.lora_A, layer.lora_B))
    inner = functional.linear(x.to(result.dtype), down)
    return torch.addmm(result.flatten(0, -2), inner.flatten(0, -2), up.t(), alpha=layer.scaling[_PLACE]).view_as(result)


def _make_float32(layer: LoraLayer) -> None:
    """peft gives adapters the base's format; random numbers in 8 bits are too coarse and are drawn anew."""
    coarse = layer.lora_A[_PLACE].weight.dtype.itemsize == 1
    layer.lora_A[_PLACE].float()
    layer.lora_B[_PLACE].float()
    if coarse:
        layer.reset_lora_parameters(_PLACE, "gaussian")


def _copied(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().to("cpu", torch.float32, copy=True).contiguous()


def tensors_for_file(layers: dict[str, Layer], names: dict[str, str], prefix: str = "") -> dict[str, torch.Tensor]:
    """Layers by module name as the tensors of a LoRA file; `names` is the host's table of file names by `prefix` + module name.

    kohya's format for names without dots, `lora_A`/`lora_B` with the scale multiplied in for the others."""
    tensors = {}
    for module, layer in layers.items():
        name = names[prefix + module]
        if "." in name:
            tensors[f"{name}.lora_A.weight"] = layer.down
            tensors[f"{name}.lora_B.weight"] = layer.up * layer.scale
        else:
            tensors[f"{name}.lora_down.weight"] = layer.down
            tensors[f"{name}.lora_up.weight"] = layer.up
            tensors[f"{name}.alpha"] = torch.tensor(float(layer.rank if layer.alpha is None else layer.alpha))
        if layer.dora_scale is not None:
            tensors[f"{name}.dora_scale"] = layer.dora_scale
    return tensors
