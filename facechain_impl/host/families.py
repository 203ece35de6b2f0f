"""The families of diffusion models: how portraits of each are drawn, and what a LoRA on it is trained with."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import comfy.model_base
from comfy.samplers import KSampler

from .models import Sampling, model_file
from .protocols import Model


@dataclass(frozen=True, kw_only=True)
class Family:
    """sampling: of portraits. resolution: side of training pictures in pixels. learning_rate, rank: of a LoRA, as `source` recommends.
    guidance: value given to the model during training, None where it has no such input."""

    title: str
    sampling: Sampling
    resolution: int = 1024
    learning_rate: float = 1e-4
    rank: int = 16
    guidance: float | None = None
    source: str = "no guide; as for other flow models"


# By the host's class, a derived one before its base. Sampling: the host's blueprints "Text to Image", and for SD 3, AuraFlow, Chroma,
# HiDream and Wan what their publishers use; SD 1.5 and SDXL as in the pack's portraits, with half the steps.
BY_CLASS = {
    "SDXL": Family(
        title="SDXL", sampling=Sampling(20, 6.0, "dpmpp_2m", "karras"), rank=32, source="sd-scripts, docs/sdxl_train_network.md",
    ),
    "SD3": Family(
        title="SD 3", sampling=Sampling(28, 4.5), source="sd-scripts, docs/sd3_train_network.md; AI Toolkit's example for SD 3.5",
    ),
    "AuraFlow": Family(title="AuraFlow", sampling=Sampling(25, 3.5)),
    "Chroma": Family(title="Chroma", sampling=Sampling(26, 4.0), source="AI Toolkit's example for Chroma"),
    "Flux2": Family(
        title="Flux.2", sampling=Sampling(20, 1.0, guidance=4.0), rank=32, guidance=1.0, source="musubi-tuner, docs/flux_2.md",
    ),
    "Flux": Family(
        title="Flux.1", sampling=Sampling(20, 1.0, guidance=3.5), guidance=1.0,
        source="sd-scripts, docs/flux_train_network.md; AI Toolkit's example for Flux",
    ),
    "QwenImage": Family(title="Qwen-Image", sampling=Sampling(20, 4.0), source="AI Toolkit's example for Qwen-Image"),
    "Lumina2": Family(
        title="Lumina 2", sampling=Sampling(25, 4.0, "res_multistep"), source="AI Toolkit's example for Lumina 2",
    ),
    "HiDream": Family(
        title="HiDream", sampling=Sampling(28, 5.0), learning_rate=2e-4, rank=32, source="AI Toolkit's example for HiDream",
    ),
    "WAN21": Family(
        title="Wan", sampling=Sampling(20, 5.0, "uni_pc"), learning_rate=2e-4, rank=32, source="musubi-tuner, docs/wan.md",
    ),
    "ErnieImage": Family(title="Ernie-Image", sampling=Sampling(20, 4.0)),
    "BaseModel": Family(
        title="SD 1.5", sampling=Sampling(20, 7.0, "dpmpp_2m", "karras"), resolution=512, source="sd-scripts, docs/train_network.md",
    ),
}  # fmt: skip
BY_CONFIG = {
    "ZImage": Family(
        title="Z-Image", sampling=BY_CLASS["Lumina2"].sampling, rank=32, source="musubi-tuner, docs/zimage.md",
    ),
}  # fmt: skip
"""Those that share their class with another family, by the name of the host's configuration."""
OTHER_FLOW = Family(title="other flow models", sampling=Sampling(20, 4.0))
FEW_STEPS = re.compile(
    r"turbo|lightning|schnell|(?<![a-z])(lcm|dmd2?|hyper[-_ ]?(sd|flux))(?![a-z])|(?<![0-9])[1-8][-_ ]?steps?(?![a-z])", re.IGNORECASE
)
"""In the name of a file: made to be sampled in a few steps without guidance."""


def of(model: Model) -> Family:
    """The family of a MODEL."""
    config = type(getattr(model.model, "model_config", None)).__name__
    if config in BY_CONFIG:
        return BY_CONFIG[config]
    for base in type(model.model).__mro__:
        if base.__name__ in BY_CLASS and base is not comfy.model_base.BaseModel:
            return BY_CLASS[base.__name__]
    is_flow = model.model.model_type in (comfy.model_base.ModelType.FLOW, comfy.model_base.ModelType.FLUX)
    return OTHER_FLOW if is_flow else BY_CLASS["BaseModel"]


def sampling(model: Model) -> Sampling:
    """How portraits by a MODEL are drawn. Those that were distilled to few steps are known by their file's name or, among Flux.1 models, by
    having no guidance input."""
    found = of(model).sampling
    found = found if found.sampler in KSampler.SAMPLERS else replace(found, sampler="euler")
    return replace(found, steps=8, cfg=1.0) if _takes_few_steps(model) else found


def _takes_few_steps(model: Model) -> bool:
    file = model_file(model)
    if file is not None and FEW_STEPS.search(file.name):
        return True
    params = getattr(model.model.diffusion_model, "params", None)
    return type(model.model).__name__ == "Flux" and not getattr(params, "guidance_embed", True)
