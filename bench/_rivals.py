"""The same training by this pack, by diffusers and peft, and by the host's TrainLoraNode, on the pocket model.

All get the same latents, caption, layers, rank, learning rate (constant) and batch of one, in fp32. Each draws its own noise. What comes
back are LoRAs after some of the steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch

from bench import train as bench_train
from bench._pocket import CAPTION, RANK, RATE, SIZE, Somebody, Studio, crops, recipe

Lora = dict[str, torch.Tensor]
SHAPE = {"channel_mult": (1,), "blocks": 1, "depth": (1,), "text": 768}
"""Of the pocket model's UNet, as in `bench train`."""


def by_pack(studio: Studio, somebody: Somebody, seed: int, marks: list[int]) -> dict[int, Lora]:
    """Our trainer's own steps, without the report and the store around them."""
    from facechain_impl.host import lora, models
    from facechain_impl.identity.training import presets
    from facechain_impl.identity.training.adapters import Adapters, target_modules, tensors_for_file
    from facechain_impl.identity.training.dataset import TrainingSet, encode_captions, encode_photos, with_sizes
    from facechain_impl.identity.training.trainer import Trainer

    base, photos, found = studio.base, crops(somebody.photos), {}
    settings = presets.from_preset("FaceChain", len(photos), recipe(marks[-1]) | alike(seed))
    names = lora.file_names(base.model)
    with models.training_model(base.model, torch.float32) as opened:
        latents, _ = encode_photos(opened, base.vae, [photo.clone() for photo in photos], settings)
        with torch.no_grad():
            told = encode_captions(opened, base.clip, with_sizes([CAPTION] * len(photos), latents))
        modules = target_modules(opened.module, settings.targets)
        adapters = Adapters(opened.module, modules, settings.rank, settings.alpha, settings.dropout, seed)
        opened.load()
        trainer = Trainer(opened, [adapters], TrainingSet(latents, told), settings, torch.float32)
        for step in range(1, marks[-1] + 1):
            trainer.step()
            if step in marks:
                found[step] = tensors_for_file(adapters.layers(), names, lora.MODEL_PREFIX)
        opened.give_back()
        adapters.remove()
    return found


def alike(seed: int) -> dict[str, Any]:
    """Settings that the rivals have no choice in: each photo as it is, the learning rate as it is."""
    return {"seed": seed, "variants": 1, "schedule": "constant"}


def by_diffusers(studio: Studio, somebody: Somebody, seed: int, marks: list[int]) -> dict[int, Lora]:
    """The adapters begin as in diffusers' LoRA scripts."""
    import peft
    from peft.tuners.lora import LoraLayer

    from facechain_impl.host import models

    network, targets = diffusers_unet(studio), set(diffusers_names(studio).values())
    torch.manual_seed(seed)
    with torch.inference_mode(False):
        config = peft.LoraConfig(r=RANK, lora_alpha=RANK, init_lora_weights="gaussian", target_modules=sorted(targets))
        peft.inject_adapter_in_model(config, network)
        latents = [studio.base.model.model.process_latent_in(one) for one in encoded(studio, somebody)]
        with torch.no_grad():
            text = models.encode_text(studio.base.clip, CAPTION)[0][0].clone().to(latents[0])
        learn = bench_train.diffusers_loop(
            network, bench_train.unet_predictor(network, text, text), epochs(latents).__next__, RATE
        )  # fmt: skip
        layers = {name: one for name, one in network.named_modules() if isinstance(one, LoraLayer)}
        found = {}
        for step, _ in enumerate(itertools.islice(learn, marks[-1]), 1):
            if step in marks:
                found[step] = {key: value for name, layer in layers.items() for key, value in _kohya(name, layer).items()}
    return found


def _kohya(name: str, layer: Any) -> Lora:
    stem = "lora_unet_" + name.replace(".", "_")
    halves = {"lora_up": layer.lora_B, "lora_down": layer.lora_A}
    return {f"{stem}.{half}.weight": weights["default"].weight.detach().cpu().clone() for half, weights in halves.items()}


def diffusers_unet(studio: Studio) -> Any:
    """diffusers' UNet with the pocket model's weights, float32, frozen."""
    from comfy.utils import unet_to_diffusers

    model = studio.base.model.model
    ours = model.diffusion_model.state_dict()
    with torch.inference_mode(False):
        network = bench_train.unet_of_diffusers(SHAPE).requires_grad_(False)
        translated = unet_to_diffusers(model.model_config.unet_config)
        weights = {theirs: ours[name].float().clone() for theirs, name in translated.items() if theirs in network.state_dict()}
        network.load_state_dict(weights)
        return network.to(bench_train.device())


def diffusers_names(studio: Studio) -> dict[str, str]:
    """diffusers' name of each layer that our trainer puts an adapter on."""
    from comfy.utils import unet_to_diffusers

    from facechain_impl.identity.training.adapters import target_modules

    model = studio.base.model.model
    translated = unet_to_diffusers(model.model_config.unet_config)
    theirs = {ours.removesuffix(".weight"): name.removesuffix(".weight") for name, ours in translated.items() if name.endswith(".weight")}
    return {name: theirs[name] for name in target_modules(model.diffusion_model, recipe(1)["targets"])}


def epochs(latents: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Each once, in a new order, again and again, as a DataLoader that shuffles gives them."""
    while True:
        yield from (latents[index] for index in torch.randperm(len(latents)))


def encoded(studio: Studio, somebody: Somebody) -> list[torch.Tensor]:
    """Latents [1, 4, h, w] of each photo, as the VAE gives them."""
    from facechain_impl.identity.training import crops as training_crops

    centre = recipe(1)["augmentation"]
    found = []
    for photo in crops(somebody.photos):
        pictures = training_crops.variants(photo, 1, centre, SIZE, torch.Generator().manual_seed(0), False)
        with torch.no_grad():
            found.append(studio.base.vae.encode(pictures[:1, ..., :3]).float().clone())
    return found


def by_host(studio: Studio, somebody: Somebody, seed: int, marks: list[int]) -> dict[int, Lora]:
    """Its alpha is 1, whatever the rank; there is no input for it."""
    from facechain_impl.host import models
    from facechain_impl.identity.training.adapters import target_modules

    base, found, count = studio.base, {}, itertools.count(1)
    layers = {f"diffusion_model.{name}" for name in target_modules(base.model.model.diffusion_model, recipe(1)["targets"])}
    torch.manual_seed(seed)
    with _only(layers) as trained:

        def tick(_: int) -> None:
            if (step := next(count)) in marks:
                found[step] = {name: value.detach().cpu().clone() for name, value in trained.items()}

        positive = models.encode_text(base.clip, CAPTION)
        bench_train.host_node(
            base.model, encoded(studio, somebody), positive, marks[-1], RATE, RANK, lambda _: SimpleNamespace(update=tick), seed
        )
    return found


@contextmanager
def _only(layers: set[str]) -> Iterator[dict[str, torch.nn.Parameter]]:
    """The host's node trains these layers' weights alone, not every weight and bias there is; yields what it trains, once it does."""
    import comfy_extras.nodes_train as nodes_train

    trained: dict[str, torch.nn.Parameter] = {}
    usual = nodes_train._setup_lora_adapters

    def fewer(patcher: Any, *given: Any) -> tuple[dict, list]:
        named = patcher.model.named_modules()
        shown = [(name, SimpleNamespace(weight_function=[], weight=one.weight, bias=None)) for name, one in named if name in layers]
        made = usual(
            SimpleNamespace(model=SimpleNamespace(named_modules=lambda: shown), add_weight_wrapper=patcher.add_weight_wrapper), *given
        )
        trained.update(made[0])
        return made

    nodes_train._setup_lora_adapters = fewer
    try:
        yield trained
    finally:
        nodes_train._setup_lora_adapters = usual


CONTENDERS: dict[str, tuple[str, Callable[[Studio, Somebody, int, list[int]], dict[int, Lora]]]] = {
    "pack": ("this pack", by_pack),
    "diffusers": ("diffusers + peft", by_diffusers),
    "host": ("the host's TrainLoraNode", by_host),
}
