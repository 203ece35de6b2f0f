"""What a node receives from the host: the file a MODEL, CLIP or VAE was read from, or a digest of its weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.controlnet
import comfy.model_patcher
import comfy.sd
import torch

from .models import model_file, sample_bytes, unpatched_weights

ATTACHMENT = "facechain_used"
"""Key under which a MODEL or CLIP from the pack records what it was made with; the host copies it to every clone."""


@dataclass(frozen=True)
class HostModel:
    """kind: type of the socket. file: None where the host remembers none; then `digest` identifies the weights.

    attached: what the pack attached to its output. patched: whether other LoRAs are on it."""

    kind: str
    file: Path | None
    digest: Callable[[], str]
    attached: tuple = ()
    patched: bool = False


def described(value: Any) -> HostModel | None:
    """A MODEL, CLIP, VAE, CONTROL_NET, UPSCALE_MODEL or FACE_DETECTION_MODEL; None for everything else."""
    if isinstance(value, comfy.model_patcher.ModelPatcher):
        return _patched("MODEL", value)
    if isinstance(value, comfy.sd.CLIP):
        return _patched("CLIP", value.patcher)
    if isinstance(value, comfy.sd.VAE):
        return _patched("VAE", value.patcher)
    if isinstance(value, comfy.controlnet.ControlBase):
        return HostModel("CONTROL_NET", None, lambda: digest_of_weights(_control_weights(value)))
    if hasattr(value, "architecture") and isinstance(getattr(value, "model", None), torch.nn.Module):
        return HostModel("UPSCALE_MODEL", None, lambda: digest_of_weights(value.model.state_dict()))
    if hasattr(value, "detect_batch") and hasattr(value, "models"):
        return HostModel("FACE_DETECTION_MODEL", None, lambda: digest_of_weights(_face_weights(value)))
    return None


def _patched(kind: str, patcher: Any) -> HostModel:
    attached = patcher.get_attachment(ATTACHMENT) or ()
    digest = lambda: digest_of_weights(unpatched_weights(patcher))  # noqa: E731
    return HostModel(kind, model_file(patcher), digest, attached, bool(patcher.patches))


def _control_weights(control: Any) -> Mapping[str, torch.Tensor]:
    if (weights := getattr(control, "control_weights", None)) is not None:
        return weights
    network = getattr(control, "control_model", None) or getattr(control, "t2i_model", None)
    return network.state_dict() if network is not None else {}


def _face_weights(model: Any) -> Mapping[str, torch.Tensor]:
    return {f"{variant}.{name}": value for variant, part in model.models.items() for name, value in part.state_dict().items()}


def digest_of_weights(tensors: Mapping[str, torch.Tensor]) -> str:
    """A hash of names, shapes and a sample of the values, the same in every precision that holds them exactly; empty for no tensors."""
    if not tensors:
        return ""
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        digest.update(f"{name}{tuple(value.shape)}".encode() + sample_bytes(value))
    return digest.hexdigest()


def attach(value: Any, used: tuple) -> None:
    """Record in a MODEL or CLIP from the pack what it was made with."""
    patcher = value.patcher if isinstance(value, comfy.sd.CLIP) else value
    if isinstance(patcher, comfy.model_patcher.ModelPatcher):
        patcher.set_attachments(ATTACHMENT, used)
