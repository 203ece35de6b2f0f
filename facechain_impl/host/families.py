"""How the families of diffusion models are sampled, for portraits drawn while one of them is trained."""

from __future__ import annotations

import re
from dataclasses import replace

import comfy.model_base
from comfy.samplers import KSampler

from .models import Sampling, model_file
from .protocols import Model

# By the host's class, a derived one before its base. Sources: the host's blueprints "Text to Image", and for SD 3, AuraFlow, Chroma,
# HiDream and Wan what their publishers use; SD 1.5 and SDXL as in the pack's portraits, with half the steps.
BY_CLASS = {
    "SDXL": Sampling(20, 6.0, "dpmpp_2m", "karras"),
    "SD3": Sampling(28, 4.5),
    "AuraFlow": Sampling(25, 3.5),
    "Chroma": Sampling(26, 4.0),
    "Flux2": Sampling(20, 1.0, guidance=4.0),
    "Flux": Sampling(20, 1.0, guidance=3.5),
    "QwenImage": Sampling(20, 4.0),
    "Lumina2": Sampling(25, 4.0, "res_multistep"),
    "HiDream": Sampling(28, 5.0),
    "WAN21": Sampling(20, 5.0, "uni_pc"),
    "ErnieImage": Sampling(20, 4.0),
    "BaseModel": Sampling(20, 7.0, "dpmpp_2m", "karras"),
}
OTHER_FLOW = Sampling(20, 4.0)
FEW_STEPS = re.compile(
    r"turbo|lightning|schnell|(?<![a-z])(lcm|dmd2?|hyper[-_ ]?(sd|flux))(?![a-z])|(?<![0-9])[1-8][-_ ]?steps?(?![a-z])", re.IGNORECASE
)
"""In the name of a file: made to be sampled in a few steps without guidance."""


def sampling(model: Model) -> Sampling:
    """Of a MODEL. Those that were distilled to few steps are known by their file's name or, among Flux models, by having no guidance
    input."""
    found = _by_class(model)
    found = found if found.sampler in KSampler.SAMPLERS else replace(found, sampler="euler")
    return replace(found, steps=8, cfg=1.0) if _takes_few_steps(model) else found


def _by_class(model: Model) -> Sampling:
    for base in type(model.model).__mro__:
        if base.__name__ in BY_CLASS and base is not comfy.model_base.BaseModel:
            return BY_CLASS[base.__name__]
    is_flow = model.model.model_type in (comfy.model_base.ModelType.FLOW, comfy.model_base.ModelType.FLUX)
    return OTHER_FLOW if is_flow else BY_CLASS["BaseModel"]


def _takes_few_steps(model: Model) -> bool:
    file = model_file(model)
    if file is not None and FEW_STEPS.search(file.name):
        return True
    params = getattr(model.model.diffusion_model, "params", None)
    return type(model.model).__name__ == "Flux" and not getattr(params, "guidance_embed", True)
