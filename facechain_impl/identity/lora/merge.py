"""LoRAs on top of a model, and several LoRAs as one file.

Every LoRA is matched to the model's weights by the host. A LoRA that does not fit the model, or only partly, is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ...errors import BadInput
from ...host import lora
from ...host.protocols import Clip, Model
from ...types import LoraEntry, Report, Status
from . import formats as lora_files

# A LoRA for another variant of a model shares most keys with it; a few extra ones are common in intact files.
_UNKNOWN_SHARE = 0.1
_EXAMPLES = 3
Offset = tuple[int, int, int] | None
"""Dimension, start and length of the part of a fused weight that a layer covers; None is all of it."""

PRESETS = {
    "FaceChain (0.95 face, 0.25 style)": (0.95, 0.25),
    "FaceChain scripts (0.85 face, 0.25 style)": (0.85, 0.25),
    "FaceChain v1 (1.0 face, 0.25 style)": (1.0, 0.25),
    "Inpaint and try-on (0.95 face, 0.05 style)": (0.95, 0.05),
}
"""Weight of the face LoRA and of the style LoRA, by place in the published system."""


def tensors_of(entry: LoraEntry) -> dict[str, torch.Tensor]:
    """The LoRA of an entry, with keys the host knows."""
    if entry.person is not None:
        return lora_files.normalise(entry.person.lora)
    if entry.tensors is not None:
        return lora_files.normalise(entry.tensors)
    if entry.file is None:
        raise BadInput(f"The LoRA {entry.name} has no file, no tensors and no person behind it. Connect one of them.")
    file = lora_files.read(entry.file)
    return lora_files.normalise(file.tensors, file.metadata)


def apply(model: Model, clip: lora.AnyClip, entries: list[LoraEntry]) -> tuple[Model, lora.AnyClip, Report]:
    """MODEL and CLIP with all LoRAs on top. A strength of 0 changes nothing, and neither does an empty list."""
    report = Report("LoRA merge")
    for entry in entries:
        found = match(model, clip, entry)
        if len(entries) > 1 and any(map(lora.is_dora, found.patches.values())):
            report.notes.append(f"{entry.name} is a DoRA: it rescales the weights that it finds, so that the order of the LoRAs matters.")
        model, clip = lora.patched(model, clip, found, entry.strength_model, entry.strength_clip)
        report.add(
            entry.name, Status.MERGED, role=entry.role, model=entry.strength_model, text=entry.strength_clip, layers=len(found.patches)
        )
        if found.unknown:
            report.notes.append(f"{entry.name}: {_examples(found.unknown)} match no weight of this model and were skipped.")
    return model, clip, report


def match(model: Model, clip: Clip | None, entry: LoraEntry) -> lora.Match:
    """Which keys of a LoRA belong to the model. Raises BadInput when none do, or when too many do not."""
    tensors = tensors_of(entry)
    if clip is None:
        tensors = {key: value for key, value in tensors.items() if not lora.is_text_key(key)}
    found = lora.match(model, clip, tensors)
    _require_shapes(model, clip, entry, found)
    if found.patches and len(found.unknown) <= _UNKNOWN_SHARE * len(tensors):
        return found
    seems = lora_files.describe(tensors_of(entry))
    wanted = type(model.model).__name__
    if not found.patches:
        raise BadInput(
            f"None of the {len(tensors)} keys of the LoRA {entry.name} matches this model ({wanted}). "
            f"It seems to be: {seems}. Choose a LoRA made for this model, or load the model it was made for."
        )
    raise BadInput(
        f"The LoRA {entry.name} ({seems}) fits this model ({wanted}) only partly: {len(found.unknown)} of {len(tensors)} keys match "
        f"nothing, such as {', '.join(found.unknown[:_EXAMPLES])}. Choose a LoRA made for this model."
    )


def _examples(keys: list[str]) -> str:
    return f"{len(keys)} keys ({', '.join(keys[:_EXAMPLES])}{', ...' if len(keys) > _EXAMPLES else ''})"


def _require_shapes(model: Model, clip: Clip | None, entry: LoraEntry, found: lora.Match) -> None:
    """The host only logs a layer of the wrong size and continues without it."""
    shapes = _shapes(model, clip)
    for key, adapter in found.patches.items():
        product = lora.factors(adapter)
        if product is None or not isinstance(key, str):
            continue
        up, down, _ = product
        if up.shape[0] * down[0].numel() != shapes[key].numel():
            raise BadInput(
                f"The LoRA {entry.name} was made for a model of another size: its layer for {key} is {up.shape[0]}x{down[0].numel()}, "
                f"the weight is {'x'.join(map(str, shapes[key]))}. Choose a LoRA made for this model."
            )


def _shapes(model: Model, clip: Clip | None) -> dict[str, torch.Size]:
    weights = {} if clip is None else clip.cond_stage_model.state_dict()
    return {key: value.shape for key, value in (weights | model.model.state_dict()).items()}


@dataclass
class Merged:
    """tensors: the LoRA that equals the weighted sum. error: relative Frobenius error of compression, 0 when exact.
    rank: the largest of all layers."""

    tensors: dict[str, torch.Tensor]
    error: float
    rank: int


@dataclass
class _Sum:
    """A weighted sum of updates of one weight: factors up [out, r], down [r, in...]; plain differences are added up."""

    ups: list[torch.Tensor] = field(default_factory=list)
    downs: list[torch.Tensor] = field(default_factory=list)
    difference: torch.Tensor | None = None


def merge(model: Model, clip: Clip | None, entries: list[LoraEntry], rank: int = 0) -> Merged:
    """All LoRAs as one: exact, the ranks added up, for rank 0; else compressed to `rank` by singular values. Raises BadInput for a DoRA
    among several."""
    sums: dict[str, _Sum] = {}
    shapes = _shapes(model, clip)
    for entry in entries:
        patches = match(model, clip, entry).patches
        if len(entries) > 1 and any(map(lora.is_dora, patches.values())):
            raise BadInput(
                f"{entry.name} is a DoRA: it rescales the weights that it finds, so that no sum with other LoRAs equals it. "
                "Leave 'save_as' empty; the MODEL carries all of them."
            )
        for key, adapter in patches.items():
            weight, offset = (key, None) if isinstance(key, str) else (key[0], key[1])
            strength = entry.strength_clip if clip is not None and weight in clip.cond_stage_model.state_dict() else entry.strength_model
            _add(sums.setdefault(weight, _Sum()), model, clip, weight, shapes[weight], offset, adapter, strength)
    names = lora.file_names(model) | (lora.text_file_names(clip) if clip is not None else {})
    tensors, lost, total, largest = {}, 0.0, 0.0, 0
    for weight, summed in sums.items():
        name = names.get(weight.removesuffix(".weight"), weight.removesuffix(".weight"))
        if summed.difference is not None:
            tensors[f"{name}.diff" if weight.endswith(".weight") else f"{name.removesuffix('.bias')}.diff_b"] = summed.difference
        if summed.ups:
            up, down, kept, all_energy = _compressed(torch.cat(summed.ups, 1), torch.cat(summed.downs), rank)
            lost, total, largest = lost + all_energy - kept, total + all_energy, max(largest, down.shape[0])
            tensors |= {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down, f"{name}.alpha": torch.tensor(float(down.shape[0]))}
    return Merged(tensors, (max(lost, 0.0) / total) ** 0.5 if total else 0.0, largest)


def _add(
    summed: _Sum, model: Model, clip: Clip | None, weight: str, shape: torch.Size, offset: Offset, adapter: Any, strength: float
) -> None:
    product = lora.factors(adapter)
    if product is not None:
        up, down, scale = product
        # kohya's files have 1x1 convolutions in four dimensions, others in two
        beyond = shape[2:]
        up, down = up.float().reshape(*up.shape[:2], *[1] * len(beyond)), down.float().reshape(*down.shape[:2], *beyond)
        summed.ups.append(_placed(strength * scale * up, offset, model, weight))
        summed.downs.append(down)
        return
    difference = strength * lora.weight_delta(model, clip, weight, adapter)
    summed.difference = difference if summed.difference is None else summed.difference + difference


def _placed(up: torch.Tensor, offset: Offset, model: Model, weight: str) -> torch.Tensor:
    """Rows of a layer that covers only a part of a fused weight, at their place in the whole."""
    if offset is None:
        return up
    _, start, length = offset
    whole = up.new_zeros(model.model.state_dict()[weight].shape[0], *up.shape[1:])
    whole[start : start + length] = up
    return whole


def _compressed(up: torch.Tensor, down: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, float, float]:
    """up [out, R, 1, 1] and down [R, in, k, k] at rank <= `rank`, with the squared norm kept and the whole squared norm.

    The product is never formed: its singular values are those of a small R x R matrix between two QR bases."""
    if not rank or down.shape[0] <= rank:
        return up.contiguous(), down.contiguous(), 0.0, 0.0
    left, left_core = torch.linalg.qr(up.double().flatten(1))
    right, right_core = torch.linalg.qr(down.double().flatten(1).T)
    u, values, v = torch.linalg.svd(left_core @ right_core.T)
    root = values[:rank].sqrt()
    new_up = (left @ u[:, :rank] * root).float().reshape(up.shape[0], rank, *up.shape[2:])
    new_down = ((right @ v[:rank].T) * root).T.float().reshape(rank, *down.shape[1:])
    return new_up.contiguous(), new_down.contiguous(), float(values[:rank].square().sum()), float(values.square().sum())
