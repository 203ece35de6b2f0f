"""Seconds per training step and peak memory: this pack, a plain loop of diffusers and peft, and the host's own TrainLoraNode.

Same random weights, batch, resolution, rank and fp32 for all, every contender in a separate process, in turns within one run.
Only the ratios mean anything. `python run.py bench train [--shape small|full] [--size 256] [--steps 4] [--rounds 2]`."""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import multiprocessing
import resource
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SHAPES: dict[str, dict[str, Any]] = {
    "small": {"channel_mult": (1, 2), "blocks": [1, 1], "depth": [1, 1], "output": [1] * 4, "middle": 1},
    "full": {"channel_mult": (1, 2, 4, 4), "blocks": [2] * 4, "depth": [1, 1] * 3 + [0, 0], "output": [1] * 9 + [0] * 3, "middle": 1},
}
RANK, RATE, TEXT = 4, 1e-4, (1, 77, 768)
PROJECTIONS = ["to_q", "to_k", "to_v", "to_out.0"]


class Clock:
    """Times the steps of one contender and the memory they take above the loaded model."""

    def __init__(self) -> None:
        gc.collect()
        forget_peak_memory()
        self.times = [time.perf_counter()]
        self._before = peak_memory()

    def tick(self, *_: object) -> None:
        self.times.append(time.perf_counter())

    def result(self) -> dict:
        steps = [after - before for before, after in itertools.pairwise(self.times)][1:]
        return {"seconds": statistics.median(steps), "memory": peak_memory() - self._before}


def forget_peak_memory() -> None:
    """Reset the peak memory to the present use, where the system can."""
    if RESET.exists():
        RESET.write_text("5")


def peak_memory(field: str = "VmHWM") -> int:
    """Highest resident memory of this process in bytes, since the last `forget_peak_memory` on Linux."""
    if STATUS.exists():
        return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(field))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def host_model(shape: str) -> Any:
    """A MODEL of the host with random SD1.5 weights of the wanted size."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    one = SHAPES[shape]
    unet = {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": one["blocks"],
        "channel_mult": one["channel_mult"], "use_spatial_transformer": True, "transformer_depth": list(one["depth"]),
        "transformer_depth_output": list(one["output"]), "transformer_depth_middle": one["middle"], "context_dim": TEXT[-1],
        "legacy": False, "dtype": torch.float32, "use_linear_in_transformer": False, "adm_in_channels": None,
        "use_temporal_attention": False, "num_heads": 8,
    }  # fmt: skip
    cpu = torch.device("cpu")
    model = comfy.model_base.BaseModel(comfy.supported_models.SD15(unet), device=cpu)
    generator = torch.Generator().manual_seed(1)
    for key, value in model.diffusion_model.state_dict().items():
        value.copy_(
            torch.randn(value.shape, generator=generator) * 0.02 if value.ndim > 1 else torch.full_like(value, key.endswith("weight"))
        )
    return comfy.model_patcher.ModelPatcher(model, cpu, cpu)


def inputs(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(1, 4, size // 8, size // 8, generator=generator)
    return latents, torch.randn(TEXT, generator=generator)


def run_pack(shape: str, size: int, steps: int) -> dict:
    import torch

    from facechain_impl.host import models
    from facechain_impl.identity.training import presets
    from facechain_impl.identity.training.adapters import Adapters, target_modules
    from facechain_impl.identity.training.dataset import TrainingSet
    from facechain_impl.identity.training.trainer import Trainer

    model, (latents, text) = host_model(shape), inputs(size)
    settings = presets.from_preset("FaceChain", 1, {"steps": steps + 1, "learning_rate": RATE, "rank": RANK})
    with models.training_model(model, torch.float32) as opened:
        conditions = models.stored(opened.conditions([[text, {}]], latents))
        data = TrainingSet(latents[:, None], [conditions, conditions])
        adapters = Adapters(opened.module, target_modules(opened.module, settings.targets), RANK, RANK, 0.0, 1)
        opened.load()
        trainer, clock = Trainer(opened, [adapters], data, settings, torch.float32), Clock()
        for _ in range(steps + 1):
            trainer.step()
            clock.tick()
    return clock.result()


def run_diffusers(shape: str, size: int, steps: int, encode: bool = False) -> dict:
    """The loop of diffusers' text-to-image LoRA script; with `encode` it encodes the picture at every step, as the script does."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler

    unet, (latents, text) = diffusers_unet(shape), inputs(size)
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).requires_grad_(False) if encode else None  # fmt: skip
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    parameters = [value for value in unet.parameters() if value.requires_grad]
    optimiser, clock = torch.optim.AdamW(parameters, lr=RATE), Clock()
    for _ in range(steps + 1):
        if vae is not None:
            with torch.no_grad():
                latents = vae.encode(torch.rand(1, 3, size, size) * 2 - 1).latent_dist.sample() * 0.18215
        noise, timesteps = torch.randn_like(latents), torch.randint(0, 1000, (1,))
        predicted = unet(scheduler.add_noise(latents, noise, timesteps), timesteps, text).sample
        torch.nn.functional.mse_loss(predicted, noise).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        clock.tick()
    return clock.result()


def diffusers_unet(shape: str) -> Any:
    """diffusers' UNet with the host's weights and peft's adapters."""
    import comfy.utils
    import peft
    from diffusers import UNet2DConditionModel

    model, one = host_model(shape), SHAPES[shape]
    attended = len(one["depth"]) // len(one["blocks"])
    crossed = [one["depth"][level * attended] > 0 for level in range(len(one["blocks"]))]
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=tuple(320 * factor for factor in one["channel_mult"]), layers_per_block=one["blocks"][0],
        down_block_types=tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crossed),
        up_block_types=tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(crossed)),
        cross_attention_dim=TEXT[-1], attention_head_dim=8,
    )  # fmt: skip
    names, ours = comfy.utils.unet_to_diffusers(model.model.model_config.unet_config), model.model.diffusion_model.state_dict()
    unet.load_state_dict({key: ours[names[key]].reshape(value.shape) for key, value in unet.state_dict().items()})
    unet.requires_grad_(False)
    peft.inject_adapter_in_model(peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=PROJECTIONS), unet)
    return unet


def run_diffusers_encoding(shape: str, size: int, steps: int) -> dict:
    return run_diffusers(shape, size, steps, encode=True)


def run_host_node(shape: str, size: int, steps: int) -> dict:
    """The host's own trainer, with its progress bar as the clock."""
    import comfy_extras.nodes_train as nodes_train

    model, (latents, text) = host_model(shape), inputs(size)
    model.cached_patcher_init = (lambda disable_dynamic=True: model, ())
    clocks: list[Clock] = []

    def bar(total: int) -> SimpleNamespace:
        clocks.append(Clock())
        return SimpleNamespace(update=clocks[-1].tick)

    nodes_train.ProgressBar = bar
    nodes_train.TrainLoraNode.execute(
        [model], [{"samples": latents}], [[[text, {}]]], [1], [1], [steps + 1], [RATE], [RANK], ["AdamW"], ["MSE"], [1], ["fp32"], ["fp32"],
        [False], ["LoRA"], [False], [1], [False], ["[None]"], [False], [False],
    )  # fmt: skip
    return clocks[-1].result()


CONTENDERS = {
    "this pack, latents prepared once": run_pack,
    "diffusers + peft, latents prepared once": run_diffusers,
    "diffusers + peft, encoding at every step": run_diffusers_encoding,
    "the host's TrainLoraNode": run_host_node,
}


def _child(name: str, shape: str, size: int, steps: int, answers: multiprocessing.Queue) -> None:
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    answers.put(CONTENDERS[name](shape, size, steps))


def measure(shape: str, size: int, steps: int, rounds: int) -> dict[str, dict]:
    """The best round of every contender."""
    context = multiprocessing.get_context("spawn")
    best: dict[str, dict] = {}
    for _, name in itertools.product(range(rounds), CONTENDERS):
        answers = context.Queue()
        child = context.Process(target=_child, args=(name, shape, size, steps, answers))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit(f"{name} failed on the {shape} shape; its error is above.")
        found = answers.get()
        if name not in best or found["seconds"] < best[name]["seconds"]:
            best[name] = found
    return best


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[*SHAPES, "both"], default="both")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(argv)
    for shape in SHAPES if options.shape == "both" else [options.shape]:
        found = measure(shape, options.size, options.steps, options.rounds)
        ours = found[next(iter(CONTENDERS))]
        print(f"\n{shape} SD1.5 UNet, {options.size} px, rank {RANK}, fp32, batch 1; ratio: others / this pack")
        for name, one in found.items():
            ratio = one["seconds"] / ours["seconds"]
            print(f"  {name:<42} {one['seconds']:7.2f} s/step  x{ratio:4.2f}   {one['memory'] / 2**20:6.0f} MB above the model")
        print(json.dumps({"shape": shape, "results": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
