"""A MODEL, CLIP and VAE of the host as training needs them: ordinary tensors, latents, conditioning, raw predictions, samples."""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention as attention
import comfy.model_base
import comfy.model_management as management
import comfy.quant_ops
import comfy.sample
import node_helpers
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy_kitchen.backends.eager import rope
from torch.utils.hooks import RemovableHandle

from ..errors import BadInput
from . import borrowed
from .frozen import can_train_over, frozen, is_quantised
from .objective import Objective
from .progress import check_interrupt
from .protocols import Clip, Condition, Conditioning, Model, Patcher, Vae

Conditions = dict[str, Condition]
"""The model's inputs beside the noisy latents, by argument name, as the host's COND objects with batch 1."""

_SAMPLES_OF_A_TENSOR = 64
_ROTATIONS = (
    "apply_rope", "apply_rope1", "apply_rope_split_half", "apply_rope_split_half1",
    "rms_rope", "rms_rope1", "rms_rope_split_half", "rms_rope_split_half1",
)  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """As for the host's KSampler. guidance: of models with guidance as an input, None for the host's own."""

    steps: int
    cfg: float
    sampler: str = "euler"
    scheduler: str = "simple"
    guidance: float | None = None


def family(model: Model) -> str:
    """One of sd (SD1.5 and SD2), sdxl and other: decides the key format of LoRA files."""
    if isinstance(model.model, (comfy.model_base.SDXL, comfy.model_base.SDXLRefiner)):
        return "sdxl"
    return "sd" if isinstance(model.model.diffusion_model, UNetModel) else "other"


class TrainingModel:
    """The diffusion model of a MODEL. `module` is where adapters go; `companions` are patchers that are trained with it. `room`: bytes
    to leave free on the device, whatever weights then stay in RAM; None to load them all."""

    def __init__(self, patcher: Model):
        self.patcher = patcher
        self.module: torch.nn.Module = patcher.model.diffusion_model
        self.device: torch.device = patcher.load_device
        self.objective = Objective(patcher.get_model_object("model_sampling"))
        self.companions: list[Patcher] = []
        self.room: float | None = None
        self._output: torch.Tensor | None = None
        self._hook = self.module.register_forward_hook(self._keep_output)

    def _keep_output(self, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        self._output = output

    def close(self) -> None:
        self._hook.remove()
        self._output = None

    def load(self) -> None:
        """Bring the model to its device, before training and again after other models ran."""
        borrowed.load([self.patcher, *self.companions], self.device, self.room)

    def size(self) -> int:
        """Bytes of all weights, as they are stored."""
        return sum(patcher.model_size() for patcher in (self.patcher, *self.companions))

    def give_back(self) -> None:
        """Unload the model from its device, before adapters are removed."""
        for patcher in (self.patcher, *self.companions):
            borrowed.give_back(patcher)

    def predict(self, noisy: torch.Tensor, sigmas: torch.Tensor, conditions: list[Conditions]) -> torch.Tensor:
        """The network's own output for noisy latents [B, C, ...] at noise levels [B], float32, of the same shape."""
        if len(conditions) > 1 and not _can_join(conditions):
            parts = [self.predict(noisy[i : i + 1], sigmas[i : i + 1], [condition]) for i, condition in enumerate(conditions)]
            return torch.cat(parts)
        options = copy.copy(self.patcher.model_options["transformer_options"])
        options.update(sigmas=sigmas, cond_or_uncond=[0], optimized_attention_override=_pytorch_attention)
        self.patcher.model.apply_model(noisy, sigmas, transformer_options=options, **_join(conditions, self.device))
        return _given(self._output).float()

    def latents(self, vae: Vae, pixels: torch.Tensor) -> torch.Tensor:
        """Pictures [N, H, W, 3] in 0..1 as latents in the model's own scale [N, C, h, w], on the CPU."""
        with torch.no_grad():
            encoded = vae.encode(pixels[..., :3])
            return self.patcher.model.process_latent_in(encoded).float().cpu()

    def conditions(
        self, encoded: Conditioning, latents: torch.Tensor, guidance: float | None = None, original: tuple[int, int] | None = None
    ) -> Conditions:
        """One encoded text (see `encode_text`) as arguments of the model for latents [1, C, h, w]. guidance: None for the host's own.
        original: for SDXL, width and height of the picture before it was enlarged; None where it was not."""
        if guidance is not None:
            encoded = node_helpers.conditioning_set_values(encoded, {"guidance": guidance})
        cross_attention, extra = encoded[0]
        height, width = (side * self.patcher.model.latent_format.spacial_downscale_ratio for side in latents.shape[-2:])
        wanted = {"device": self.device, "noise": latents, "width": width, "height": height, "prompt_type": "positive"}
        if original is not None:
            wanted |= {"width": original[0], "height": original[1], "target_width": width, "target_height": height}
        conditions = self.patcher.model.extra_conds(**{**extra, **wanted, "cross_attn": cross_attention})
        return {key: value.process_cond(batch_size=1, area=None) for key, value in conditions.items()}

    def takes_guidance(self, conditions: Conditions) -> bool:
        """Whether these conditions tell the network a guidance that it has an input for. Some models were distilled without."""
        return "guidance" in conditions and getattr(getattr(self.module, "params", None), "guidance_embed", True)

    def sample(self, positive: Conditioning, negative: Conditioning, size: int, seed: int, how: Sampling) -> torch.Tensor:
        """Latents [1, C, ...] of a square picture of `size` pixels made from a text, with the adapters as they are now."""
        latent_format = self.patcher.model.latent_format
        side = size // latent_format.spacial_downscale_ratio
        empty = comfy.sample.fix_empty_latent_channels(self.patcher, torch.zeros(1, latent_format.latent_channels, side, side))
        if how.guidance is not None:
            positive = node_helpers.conditioning_set_values(positive, {"guidance": how.guidance})
        noise = comfy.sample.prepare_noise(empty, seed)
        return comfy.sample.sample(
            self.patcher, noise, how.steps, how.cfg, how.sampler, how.scheduler, positive, negative, empty, disable_pbar=True, seed=seed
        )


def _given(output: torch.Tensor | None) -> torch.Tensor:
    if output is None:
        raise RuntimeError("the host ran the model without its diffusion network")
    return output


def _pytorch_attention(chosen: Callable, *args: Any, **kwargs: Any) -> torch.Tensor:
    """On a CPU the host's choice takes up to a third longer in training."""
    return attention.attention_pytorch(*args, **kwargs)


def _can_join(conditions: list[Conditions]) -> bool:
    first = conditions[0]
    return all(other.keys() == first.keys() and all(first[key].can_concat(other[key]) for key in first) for other in conditions[1:])


def _join(conditions: list[Conditions], device: torch.device) -> dict[str, Any]:
    first, rest = conditions[0], conditions[1:]
    joined = {key: first[key].concat([other[key] for other in rest]) if rest else first[key].cond for key in first}
    return {key: _moved(value, device) for key, value in joined.items()}


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    return [_moved(entry, device) for entry in value] if isinstance(value, list) else value


def stored(conditions: Conditions) -> Conditions:
    """The same conditions with their tensors detached, on the CPU, fit for keeping through a training."""
    return {key: value._copy_with(_detached(value.cond)) for key, value in conditions.items()}


def _detached(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    return [_detached(entry) for entry in value] if isinstance(value, list) else value


def encode_text(clip: Clip, text: str) -> Conditioning:
    """A caption, encoded as it is written: brackets and colons have no special meaning."""
    return clip.encode_from_tokens_scheduled(clip.tokenize(text, disable_weights=True), show_pbar=False)


def compute_dtype(model: Model, precision: str) -> torch.dtype:
    """The number format for "fp32", "bf16", "fp16" or "Auto" (bf16 where the device supports it well, else fp32)."""
    known = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision in known:
        return known[precision]
    fast = not management.is_device_cpu(model.load_device) and management.should_use_bf16(model.load_device)
    return torch.bfloat16 if fast else torch.float32


@contextlib.contextmanager
def training_model(model: Model, compute_dtype: torch.dtype) -> Iterator[TrainingModel]:
    """The diffusion model of MODEL opened for training, not loaded yet, and the host as it was afterwards.

    Raises BadInput for weights quantised in a way that has no gradient, and where the host cannot lend the model."""
    _refuse_without_gradient(model.model)
    with torch.inference_mode(False), torch.enable_grad(), _host_in_training():
        patcher = borrowed.borrow(model)
        if compute_dtype != patcher.model.get_dtype_inference():
            patcher.set_model_compute_dtype(compute_dtype)
        opened = TrainingModel(patcher)
        hooks = [] if family(model) != "other" else _guard_norms(opened.module)
        try:
            with frozen(opened.module):
                yield opened
        finally:
            for hook in hooks:
                hook.remove()
            opened.close()
            borrowed.give_back(patcher)
            management.soft_empty_cache()


@contextlib.contextmanager
def training_clip(clip: Clip) -> Iterator[Clip]:
    """A CLIP whose text encoder can be trained, and the host as it was afterwards. Opened inside `training_model`."""
    _refuse_without_gradient(clip.cond_stage_model)
    opened = clip.clone()
    opened.patcher = borrowed.borrow(clip.patcher)
    opened.cond_stage_model = opened.patcher.model
    hooks = _guard_norms(opened.cond_stage_model)
    try:
        with frozen(opened.cond_stage_model):
            yield opened
    finally:
        for hook in hooks:
            hook.remove()
        borrowed.give_back(opened.patcher)


def _guard_norms(module: torch.nn.Module) -> list[RemovableHandle]:
    """The host's transformers add to the residual stream in place, which would change what a norm keeps for the backward pass."""
    norms = [child for child in module.modules() if type(child).__name__.endswith("Norm")]
    return [norm.register_forward_pre_hook(lambda _, inputs: (inputs[0].clone(), *inputs[1:])) for norm in norms]


@contextlib.contextmanager
def _host_in_training() -> Iterator[None]:
    """Some models of the host avoid in-place and fused operations while its flag is set. For the others the fused rotations of positions,
    which have no gradient, are replaced by what comfy_kitchen computes with where it has no kernel."""
    management.in_training, before = True, management.in_training
    kernels = comfy.quant_ops.ck
    fused = {name: getattr(kernels, name) for name in _ROTATIONS if hasattr(kernels, name)}
    for name in fused:
        setattr(kernels, name, getattr(rope, name))
    try:
        yield
    finally:
        for name, kernel in fused.items():
            setattr(kernels, name, kernel)
        management.in_training = before


def _refuse_without_gradient(module: torch.nn.Module) -> None:
    bad = [
        (f"{place}.{name}", value)
        for place, layer in module.named_modules()
        for name, value in layer.named_parameters(recurse=False)
        if is_quantised(value) and not can_train_over(layer)
    ]
    if bad:
        name, value = bad[0]
        kind = type(value.data).__name__ if value.dtype.is_floating_point else str(value.dtype)
        raise BadInput(
            f"This model is quantised: {len(bad)} of its weights, such as {name}, are stored as {kind} in layers that have no gradient. "
            "Training needs fp32, fp16, bf16, fp8, ComfyUI's own quantised formats (fp8 scaled, int8, nvfp4, mxfp8) or GGUF: load such a "
            "file of the same model."
        )


def model_file(patcher: Patcher) -> Path | None:
    """The file that a MODEL, CLIP or VAE was read from, where the host remembers it."""
    if patcher.cached_patcher_init is None:
        return None
    source = patcher.cached_patcher_init[1][0]
    source = source[0] if isinstance(source, (list, tuple)) and source else source
    return Path(source) if isinstance(source, str) and Path(source).is_file() else None


def file_hash(path: Path) -> str:
    """sha256 of a file, as model sites list it. Can be interrupted."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 24):
            digest.update(block)
            check_interrupt()
    return digest.hexdigest()


def layout_hash(module: torch.nn.Module) -> str:
    """A hash of key names and shapes: distinguishes architectures, not weights."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        digest.update(f"{key}{tuple(value.shape)}".encode())
    return digest.hexdigest()


def unpatched_weights(patcher: Patcher) -> dict[str, torch.Tensor]:
    """The weights of a model as they were read. While a clone with LoRAs is loaded, the host writes those into the shared module and
    keeps the originals aside. ComfyUI-GGUF's layers name their weights without telling them, so those are taken where they are."""
    weights = patcher.model.state_dict()
    weights |= {key: value for key, value in patcher.model.named_parameters() if key in weights and weights[key].is_meta}
    originals = {key: kept[0] for key, kept in patcher.hook_backup.items()} | {key: kept.weight for key, kept in patcher.backup.items()}
    return {key: originals.get(key, value) for key, value in weights.items()}


def weights_digest(patcher: Patcher) -> str:
    """A hash of a sample of all weights and of every patch on them: identifies models of which no file is known."""
    digest = hashlib.sha256()
    for key, value in sorted(unpatched_weights(patcher).items()):
        digest.update(f"{key}{tuple(value.shape)}".encode() + sample_bytes(value))
    for key, patches in sorted(patcher.patches.items()):
        for strength, adapter, strength_model, *_ in patches:
            digest.update(f"{key}{strength}{strength_model}".encode())
            weights = getattr(adapter, "weights", adapter)
            for value in weights if isinstance(weights, (tuple, list)) else ():
                digest.update(sample_bytes(value) if isinstance(value, torch.Tensor) else str(value).encode())
    return digest.hexdigest()


def sample_bytes(value: torch.Tensor) -> bytes:
    """Up to 64 values of a tensor, evenly spread, as float32."""
    flat = value.detach().flatten()
    picked = flat[:: max(1, flat.numel() // _SAMPLES_OF_A_TENSOR)][:_SAMPLES_OF_A_TENSOR]
    return picked.float().cpu().numpy().tobytes()
