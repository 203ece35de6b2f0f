"""LoRA adapters on a loaded model: injection by peft, removal, and their weights under the names of a LoRA file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch

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
_PLACE = "default"


def target_modules(module: torch.nn.Module, targets: Targets) -> list[str]:
    """Names of the linear layers that get an adapter. Raises BadInput when the model has none."""
    linear = [name for name, child in module.named_modules() if _is_linear(child)]
    chosen = [name for name in linear if _wanted(name, targets)]
    if not chosen:
        raise BadInput(
            f"No attention layer was found in {type(module).__name__}: none of its {len(linear)} linear layers is named like one "
            f"({', '.join(linear[:3])}...). Train on another model."
        )
    return chosen


def _is_linear(module: torch.nn.Module) -> bool:
    """The host's layer for quantised weights has the name and the sizes of a linear layer, and is none by its type."""
    return isinstance(module, torch.nn.Linear) or (type(module).__name__ == "Linear" and hasattr(module, "in_features"))


def _wanted(name: str, targets: Targets) -> bool:
    if _ATTENTION.search(name) or _FUSED.search(name):
        return True
    return targets is Targets.ATTENTION_AND_MLP and bool(_MLP.search(name))


class Adapters:
    """Trainable LoRA layers inside a module.

    Injected from a seed, so that two runs start alike; always float32, whatever the model is stored in."""

    def __init__(self, module: torch.nn.Module, names: list[str], rank: int, alpha: float, dropout: float, seed: int):
        # Half a second to import, which only a training needs.
        import peft
        from peft.tuners.lora import Linear, LoraLayer

        self._module = module
        self.rank, self.alpha = rank, alpha
        config = peft.LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=names, init_lora_weights="gaussian")
        kinds = {type(module.get_submodule(name)) for name in names}
        config._register_custom_module({kind: Linear for kind in kinds if not issubclass(kind, torch.nn.Linear)})
        module.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            peft.inject_adapter_in_model(config, module, _PLACE)
            self._layers = {name: child for name, child in module.named_modules() if isinstance(child, LoraLayer)}
            for layer in self._layers.values():
                _make_float32(layer)
        self.train(True)

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Trainable tensors by the name of the layer they belong to, in a fixed order."""
        return {
            f"{name}.{half}": getattr(layer, half)[_PLACE].weight for name, layer in self._layers.items() for half in ("lora_A", "lora_B")
        }

    def parameters(self) -> list[torch.nn.Parameter]:
        return list(self.named_parameters().values())

    def train(self, training: bool) -> None:
        """Switch the adapters' dropout; the model itself always stays in evaluation mode, as in diffusers' training of a LoRA."""
        for layer in self._layers.values():
            layer.lora_dropout.train(training)

    def layers(self) -> dict[str, Layer]:
        """A copy of the weights by module name, float32 on the CPU."""
        return {
            name: Layer(_copied(layer.lora_B[_PLACE].weight), _copied(layer.lora_A[_PLACE].weight), self.alpha)
            for name, layer in self._layers.items()
        }

    def as_layers(self, parameters: dict[str, torch.Tensor]) -> dict[str, Layer]:
        """What `named_parameters` gave earlier, as `layers` gives it."""
        return {name: Layer(parameters[f"{name}.lora_B"], parameters[f"{name}.lora_A"], self.alpha) for name in self._layers}

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

    def remove(self) -> None:
        """Put the module's own layers back where the adapters were."""
        for name, layer in self._layers.items():
            parent, _, child = name.rpartition(".")
            owner = self._module.get_submodule(parent)
            setattr(owner, child, layer.base_layer)
        self._layers = {}
        del self._module.peft_config


def _make_float32(layer: LoraLayer) -> None:
    """peft gives adapters the base's format; random numbers in 8 bits are too coarse and are drawn anew."""
    coarse = layer.lora_A[_PLACE].weight.dtype.itemsize == 1
    layer.lora_A[_PLACE].float()
    layer.lora_B[_PLACE].float()
    if coarse:
        layer.reset_lora_parameters(_PLACE, "gaussian")


def _copied(weight: torch.nn.Parameter) -> torch.Tensor:
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
    return tensors
