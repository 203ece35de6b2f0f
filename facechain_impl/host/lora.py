"""LoRA keys of the host's models: which layer of a file belongs to which weight, and patching."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import comfy.lora
import comfy.lora_convert
import comfy.model_base
import comfy.utils
import comfy.weight_adapter
import folder_paths
import torch

from .models import family
from .protocols import Clip, Model, Patches

AnyModel = TypeVar("AnyModel", bound=Model | None)
AnyClip = TypeVar("AnyClip", bound=Clip | None)
MODEL_PREFIX, DIFFUSERS_PREFIX = "diffusion_model.", "transformer."
SPLIT_BY_DIFFUSERS = (comfy.model_base.SD3, comfy.model_base.AuraFlow, comfy.model_base.Lumina2)


def listed() -> list[str]:
    """LoRA files as the host lists them."""
    return folder_paths.get_filename_list("loras")


def path_of(name: str) -> Path:
    """A LoRA file of the host's list."""
    return Path(folder_paths.get_full_path_or_raise("loras", name))


def own_folder() -> Path:
    """Folder for new LoRA files that belong to no person: the host's first LoRA folder."""
    return Path(folder_paths.get_folder_paths("loras")[0])


class Part(NamedTuple):
    """Rows of a layer under another name: `rows` rows starting at `first`, or all rows if `rows` is 0."""

    name: str
    first: int = 0
    rows: int = 0


@dataclass
class Match:
    """patches: what the host makes of a LoRA, by weight. known: keys of the LoRA that found a weight. unknown: the others."""

    patches: Patches
    known: set[str]
    unknown: list[str]


def match(model: Model | None, clip: Clip | None, tensors: dict[str, torch.Tensor]) -> Match:
    """Which keys of a LoRA belong to weights of MODEL and CLIP; either may be None."""
    names: dict[str, Any] = {}
    if model is not None:
        names = comfy.lora.model_lora_keys_unet(model.model, names)
    if clip is not None:
        names = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, names)
    tensors = comfy.lora_convert.convert_lora(tensors)
    patches = comfy.lora.load_lora(tensors, names, log_missing=False)
    known = {key for key in tensors if _owner(key, names)}
    return Match(patches, known, sorted(tensors.keys() - known))


def _owner(key: str, names: dict[str, Any]) -> bool:
    """Whether a key begins with the name of a weight. Names contain dots, so every split is tried."""
    stem = key
    while "." in stem:
        stem = stem.rsplit(".", 1)[0]
        if stem in names or stem.removesuffix("_lora") in names:
            return True
    return False


def is_text_key(key: str) -> bool:
    """Whether a LoRA key belongs to a text encoder."""
    return key.startswith(("lora_te", "text_encoder", "lora_prior_te"))


def patched(model: AnyModel, clip: AnyClip, found: Match, strength_model: float, strength_clip: float) -> tuple[AnyModel, AnyClip]:
    """MODEL and CLIP with a matched LoRA on top, patched through the host; None stays None."""
    return _patched(model, found, strength_model), _patched(clip, found, strength_clip)


def _patched(one: Any, found: Match, strength: float) -> Any:
    if one is None:
        return None
    copied = one.clone()
    copied.add_patches(found.patches, strength)
    return copied


def factors(adapter: Any) -> tuple[torch.Tensor, torch.Tensor, float] | None:
    """up, down and scale of an adapter that is a plain product of two matrices, None for other kinds."""
    if not isinstance(adapter, comfy.weight_adapter.LoRAAdapter):
        return None
    up, down, alpha, mid, dora_scale, reshape = adapter.weights
    if mid is not None or dora_scale is not None or reshape is not None:
        return None
    return up, down, 1.0 if alpha is None else alpha / down.shape[0]


def is_dora(adapter: Any) -> bool:
    """Whether an adapter rescales the weight that it is put on, so that it is not added to it."""
    return isinstance(adapter, comfy.weight_adapter.LoRAAdapter) and adapter.weights[4] is not None


def weight_delta(model: Model, clip: Clip | None, weight_key: str, adapter: Any) -> torch.Tensor:
    """What an adapter of any kind adds to a weight at strength 1, float32 in the weight's shape, on the CPU."""
    state = model.model_state_dict()
    if clip is not None and weight_key not in state:
        state = clip.patcher.model_state_dict()
    weight = state[weight_key].detach().float().cpu().clone()
    changed = comfy.lora.calculate_weight([(1.0, adapter, 1.0, None, None)], weight.clone(), weight_key)
    return changed - weight


def file_names(model: Model) -> dict[str, str]:
    """Name in a LoRA file for each weight of MODEL: kohya's for SD1.5, SD2, SDXL, Flux.1 and Chroma, `diffusion_model.` names elsewhere.

    kohya's tools name the layers of SD1.5 as diffusers does and those of the others as the original checkpoint does."""
    modules = [key.removesuffix(".weight") for key in model.model.state_dict() if key.startswith(MODEL_PREFIX) and key.endswith(".weight")]
    kind = family(model)
    flux1 = isinstance(model.model, comfy.model_base.Flux) and not isinstance(model.model, comfy.model_base.Flux2)
    if kind == "other" and not flux1:
        return {module: module for module in modules}
    names = {module: "lora_unet_" + _flat(module.removeprefix(MODEL_PREFIX)) for module in modules}
    if kind != "sd":
        return names
    translated = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config)
    for theirs, ours in translated.items():
        if theirs.endswith(".weight"):
            names[MODEL_PREFIX + ours.removesuffix(".weight")] = "lora_unet_" + _flat(theirs.removesuffix(".weight"))
    return names


def parts(model: Model) -> dict[str, list[Part]]:
    """Of the families whose `diffusion_model.` names diffusers does not read: for each name of `file_names`, diffusers' names of its parts,
    in the order of their rows. None for Lumina 2, which has fewer keys and values than Z-Image, whose names the host gives to both."""
    if not isinstance(model.model, SPLIT_BY_DIFFUSERS):
        return {}
    found: dict[str, list[Part]] = {}
    for name, target in comfy.lora.model_lora_keys_unet(model.model, {}).items():
        weight, rows = (target[0], target[1]) if isinstance(target, tuple) else (target, (0, 0, 0))
        if name.startswith(DIFFUSERS_PREFIX) and rows is not None and not (isinstance(target, tuple) and len(target) > 2):
            found.setdefault(weight.removesuffix(".weight"), []).append(Part(name, *rows[1:]))
    rows_of = {key.removesuffix(".weight"): len(value) for key, value in model.model.state_dict().items() if value.ndim}
    found = {layer: some for layer, some in found.items() if layer in rows_of}
    if any(some[0].rows and sum(part.rows for part in some) != rows_of[layer] for layer, some in found.items()):
        return {}
    return {layer: sorted(some, key=lambda part: part.first) for layer, some in found.items()}


def text_file_names(clip: Clip) -> dict[str, str]:
    """Name in a LoRA file for each weight of the text encoders: kohya's for CLIP-L and CLIP-G, `text_encoders.` elsewhere."""
    modules = [key.removesuffix(".weight") for key in clip.cond_stage_model.state_dict() if key.endswith(".weight")]
    both = {module.split(".")[0] for module in modules} >= {"clip_l", "clip_g"}
    prefixes = {"clip_l.transformer.": "lora_te1_" if both else "lora_te_", "clip_g.transformer.": "lora_te2_"}
    names = {}
    for module in modules:
        prefix = next((prefix for prefix in prefixes if module.startswith(prefix)), None)
        names[module] = prefixes[prefix] + _flat(module.removeprefix(prefix)) if prefix else f"text_encoders.{module}"
    return names


def _flat(name: str) -> str:
    return name.replace(".", "_")
