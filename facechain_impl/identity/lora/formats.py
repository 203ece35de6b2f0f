"""LoRA files: reads every common key format, writes the widely used one.

A layer is a pair of matrices whose product, times alpha / rank, is added to one weight. In kohya's format, to which the others are
converted, its tensors are NAME.lora_up.weight [out, rank, ...], NAME.lora_down.weight [rank, in, ...] and NAME.alpha.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from ... import atomic, provenance
from ...errors import BadInput, WeightsError
from ...weights import handed

# suffix -> kohya's suffix; the longer ones come first
_SUFFIXES = {
    ".lora_linear_layer.down.weight": ".lora_down.weight",
    ".lora_linear_layer.up.weight": ".lora_up.weight",
    ".lora_A.default.weight": ".lora_down.weight",
    ".lora_B.default.weight": ".lora_up.weight",
    ".lora_magnitude_vector": ".dora_scale",
    "_lora.down.weight": ".lora_down.weight",
    ".lora.down.weight": ".lora_down.weight",
    "_lora.up.weight": ".lora_up.weight",
    ".lora.up.weight": ".lora_up.weight",
    ".lora_A.weight": ".lora_down.weight",
    ".lora_B.weight": ".lora_up.weight",
    ".lora_down.weight": ".lora_down.weight",
    ".lora_mid.weight": ".lora_mid.weight",
    ".lora_up.weight": ".lora_up.weight",
    ".dora_scale": ".dora_scale",
    ".alpha": ".alpha",
}
USED = "facechain_used"
"""Key in a LoRA file's header for what it was made with, as JSON."""
_UNET_ROOTS = ("down_blocks.", "up_blocks.", "mid_block.", "conv_in", "conv_out", "time_embedding.", "add_embedding.")
_WEIGHT_FILES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt"}


@dataclass
class Layer:
    """One LoRA layer. up: [out, rank, ...], down: [rank, in, ...]; alpha None means alpha = rank. dora_scale: of DoRA, [out, 1, ...]: as
    the host reads it, the weight W with its update is multiplied by dora_scale / ||W||, row by row."""

    up: torch.Tensor
    down: torch.Tensor
    alpha: float | None = None
    dora_scale: torch.Tensor | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass
class LoraFile:
    """tensors: as stored. metadata: the header of a safetensors file, else empty."""

    tensors: dict[str, torch.Tensor]
    metadata: dict[str, str]


def read(path: Path) -> LoraFile:
    """The tensors of a LoRA file. Pickles are read with `weights_only`. Raises WeightsError for anything but tensors."""
    if path.suffix.lower() not in _WEIGHT_FILES:
        raise WeightsError(f"{path.name} is not a LoRA file: expected one of {', '.join(sorted(_WEIGHT_FILES))}.")
    file = _read_safetensors(path) if path.suffix.lower() == ".safetensors" else _read_pickle(path)
    provenance.register(handed.host_file("LORA", path))
    provenance.inherit(*handed.used_in_header(file.metadata, USED))
    return file


def _read_pickle(path: Path) -> LoraFile:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{path.name} could not be read as weights ({error}). Download or train it again.") from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not content or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise WeightsError(f"{path.name} is not a table of tensors, so it is not a LoRA. Use the file that its author calls LoRA.")
    return LoraFile(content, {})


def _read_safetensors(path: Path) -> LoraFile:
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            return LoraFile({key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {})  # noqa: SIM118 it is no dict
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path.name} is damaged or not a safetensors file ({error}). Download or train it again.") from error


def write(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a LoRA completely or not at all. Raises FaceChainError when it cannot be written."""
    size = sum(value.nbytes for value in tensors.values())
    with atomic.replacing(path, size=size) as partial:
        safetensors.torch.save_file({key: value.contiguous() for key, value in tensors.items()}, partial, metadata)


def normalise(tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> dict[str, torch.Tensor]:
    """The same LoRA with keys the host knows: diffusers' and peft's UNet and text-encoder names become kohya's.

    Keys that are not a plain LoRA layer (LoHa, LoKr, differences) and those of `diffusion_model.` and `transformer.` files stay."""
    two_encoders = any(key.startswith("text_encoder_2.") for key in tensors)
    result: dict[str, torch.Tensor] = {}
    for key, value in tensors.items():
        module, suffix = _split(key)
        name = _kohya_name(module, two_encoders) if suffix else None
        result[f"{name}{suffix}" if name else key] = value
    return result | _alphas(result, metadata or {})


def _split(key: str) -> tuple[str, str | None]:
    for suffix, ours in _SUFFIXES.items():
        if key.endswith(suffix):
            return key[: -len(suffix)], ours
    return key, None


def _kohya_name(module: str, two_encoders: bool) -> str | None:
    module = module.removeprefix("base_model.model.").replace(".processor.", ".")
    for prefix, ours in (("text_encoder_2.", "lora_te2_"), ("text_encoder.", "lora_te1_" if two_encoders else "lora_te_")):
        if module.startswith(prefix):
            return ours + module.removeprefix(prefix).replace(".", "_")
    module = module.removeprefix("unet.")
    if not module.startswith(_UNET_ROOTS):
        return None
    return "lora_unet_" + re.sub(r"\.to_out$", ".to_out.0", module).replace(".", "_")


def _alphas(tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> dict[str, torch.Tensor]:
    """diffusers keeps one alpha per model in the header instead of one per layer."""
    config = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    found = {}
    for key in tensors:
        name, suffix = key.removesuffix(".lora_down.weight"), key.endswith(".lora_down.weight")
        if not suffix or f"{name}.alpha" in tensors:
            continue
        owner = "text_encoder_2" if "lora_te2_" in name else "text_encoder" if "lora_te" in name else "unet"
        if f"{owner}.lora_alpha" in config:
            found[f"{name}.alpha"] = torch.tensor(float(config[f"{owner}.lora_alpha"]))
    return found


def layers(tensors: dict[str, torch.Tensor]) -> dict[str, Layer]:
    """The LoRA layers of a normalised LoRA, by name. Raises BadInput when a layer lacks one of its halves."""
    found: dict[str, Layer] = {}
    halves: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        name, suffix = _split(key)
        if suffix in (".lora_up.weight", ".lora_down.weight", ".alpha", ".dora_scale"):
            halves.setdefault(name, {})[suffix] = value
    for name, parts in halves.items():
        if parts.keys() <= {".alpha", ".dora_scale"}:
            continue
        if ".lora_up.weight" not in parts or ".lora_down.weight" not in parts:
            raise BadInput(f"The LoRA layer {name} has only one of its two matrices: the file is damaged. Get it again.")
        alpha = parts.get(".alpha")
        scale = None if alpha is None else float(alpha)
        found[name] = Layer(parts[".lora_up.weight"], parts[".lora_down.weight"], scale, parts.get(".dora_scale"))
    return found


def describe(tensors: Mapping[str, torch.Tensor]) -> str:
    """Format and architecture that a LoRA seems to be for, for messages."""
    keys = list(tensors)
    return f"{_format(keys)}, {_architecture(tensors)}"


def _format(keys: list[str]) -> str:
    signs = (
        ("LoHa", ".hada_w1_a"), ("LoKr", ".lokr_w"), ("DoRA", ".dora_scale"), ("kohya", ".lora_up.weight"),
        ("diffusers attention processors", "_lora.up.weight"), ("peft", ".lora_B.weight"), ("diffusers", ".lora.up.weight"),
    )  # fmt: skip
    return next((name for name, sign in signs if any(sign in key for key in keys)), "unknown format")


def _architecture(tensors: Mapping[str, torch.Tensor]) -> str:
    text = " ".join(tensors)
    if "double_blocks" in text or "single_transformer_blocks" in text:
        return "Flux"
    if "joint_blocks" in text or "transformer.transformer_blocks" in text:
        return "SD3 or another transformer"
    width = _context_width(tensors)
    known = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}
    if width in known:
        return known[width]
    return "unknown architecture" if width is None else f"a UNet with text width {width}"


def _context_width(tensors: Mapping[str, torch.Tensor]) -> int | None:
    """Width of the text that the cross attention reads, which tells the architecture."""
    for key, value in tensors.items():
        name, suffix = _split(key)
        if suffix == ".lora_down.weight" and re.search(r"attn2[._](processor\.)?to_[kv]$", name):
            return value.shape[1]
    return None
