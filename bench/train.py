"""Seconds per training step and peak memory: this pack, a plain loop of diffusers and peft, and the host's own TrainLoraNode.

Same architecture, batch, resolution, rank and number format for all, every contender in a process of its own, in turns within one run, on
the GPU where there is one. Only the ratios mean anything. Exits with 1 where this pack takes more than GOALS allow.
`python run.py bench train [--shape NAME] [--size 256] [--steps 4] [--rounds 2]`."""

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
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RANK, RATE, POOLED = 4, 1e-4, 1280
UNETS: dict[str, dict[str, Any]] = {
    "sd15": {"channel_mult": (1, 2), "blocks": 1, "depth": (1, 1), "text": 768},
    "sd15-full": {"channel_mult": (1, 2, 4, 4), "blocks": 2, "depth": (1, 1, 1, 0), "text": 768},
    "sdxl": {"channel_mult": (1, 2), "blocks": 1, "depth": (0, 2), "text": 2048},
    "sdxl-full": {"channel_mult": (1, 2, 4), "blocks": 2, "depth": (0, 2, 10), "text": 2048},
}
"""depth: transformer blocks in each attention of a level."""
FLUXES = {
    "flux": {"heads": 6, "double": 2, "single": 4}, "flux-large": {"heads": 24, "double": 4, "single": 8},
    "flux-full": {"heads": 24, "double": 19, "single": 38},
}  # fmt: skip
FLUX_TEXT, FLUX_LATENT = 1024, 16
WORDS, FLUX_WORDS = 77, 256
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
FLUX_ATTENTION = (*ATTENTION, "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "proj_mlp", "proj_out")
"""What this pack trains of Flux: attention, and in single blocks the layers that it is fused with."""
BY_DEFAULT = ("sd15", "sdxl", "flux", "sd15-full")
ADAPTED = r".*(attn\d?|single_transformer_blocks\.\d+)\.(" + "|".join(name.replace(".", r"\.") for name in FLUX_ATTENTION) + ")"
Predict = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]
GOALS = {
    "cpu": {"diffusers": {"seconds": 1.05, "memory": 1.25}, "host": {"seconds": 0.8, "memory": 1.0}},
    "cuda": {"diffusers": {"seconds": 0.8}, "host": {"seconds": 0.8}},
}
"""The most that this pack may take, in shares of what the others take."""


class Clock:
    """Times the steps of one contender and the memory they take above the loaded model."""

    def __init__(self) -> None:
        gc.collect()
        forget_peak_memory()
        self._before = peak_memory()
        self.times = [time.perf_counter()]

    def tick(self, *_: object) -> None:
        _wait()
        self.times.append(time.perf_counter())

    def result(self) -> dict:
        steps = [after - before for before, after in itertools.pairwise(self.times)][1:]
        return {"seconds": statistics.median(steps), "memory": peak_memory() - self._before}


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _wait() -> None:
    if _on_gpu():
        import torch

        torch.cuda.synchronize()


def device() -> torch.device:
    import torch

    return torch.device("cuda" if _on_gpu() else "cpu")


def dtype() -> torch.dtype:
    """float32 on a CPU, bfloat16 on a GPU: what training takes there by itself."""
    import torch

    return torch.bfloat16 if _on_gpu() else torch.float32


def forget_peak_memory() -> None:
    """Reset the peak memory to the present use, where the system can."""
    if _on_gpu():
        import torch

        torch.cuda.reset_peak_memory_stats()
    elif RESET.exists():
        RESET.write_text("5")


def peak_memory(field: str = "VmHWM") -> int:
    """Highest resident memory of this process in bytes, since the last `forget_peak_memory` on Linux; of the GPU where there is one."""
    if _on_gpu():
        import torch

        return torch.cuda.max_memory_allocated()
    if STATUS.exists():
        return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith(field))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def host_model(shape: str, stored: torch.dtype | None = None) -> Any:
    """A MODEL of the host with random weights. stored: their format where it is not the one to compute in."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models
    import torch

    supported, cpu = comfy.supported_models, torch.device("cpu")
    if shape in FLUXES:
        config = supported.Flux(_flux_config(FLUXES[shape]))
        config.set_inference_dtype(stored or dtype(), dtype() if stored else None)
        model = comfy.model_base.Flux(config)
    elif shape.startswith("sdxl"):
        config = supported.SDXL({**_unet_config(UNETS[shape]), "num_head_channels": 64, "num_classes": "sequential"})
        model = comfy.model_base.SDXL(config)
    else:
        config = supported.SD15({**_unet_config(UNETS[shape]), "num_heads": 8})
        model = comfy.model_base.BaseModel(config)
    randomise(model.diffusion_model)
    return comfy.model_patcher.ModelPatcher(model, device(), cpu)


def _unet_config(one: dict[str, Any]) -> dict[str, Any]:
    depths = [depth for depth in one["depth"] for _ in range(one["blocks"])]
    out = [depth for depth in one["depth"] for _ in range(one["blocks"] + 1)]
    large = one["text"] == 2048
    return {
        "image_size": 32, "in_channels": 4, "out_channels": 4, "model_channels": 320, "num_res_blocks": [one["blocks"]] * len(one["depth"]),
        "channel_mult": one["channel_mult"], "use_spatial_transformer": True, "transformer_depth": depths, "transformer_depth_output": out,
        "transformer_depth_middle": max(1, one["depth"][-1]), "context_dim": one["text"], "legacy": False, "dtype": dtype(),
        "use_linear_in_transformer": large, "adm_in_channels": POOLED + 6 * 256 if large else None, "use_temporal_attention": False,
    }  # fmt: skip


def _flux_config(one: dict[str, int]) -> dict[str, Any]:
    return {
        "image_model": "flux", "in_channels": FLUX_LATENT, "out_channels": FLUX_LATENT, "vec_in_dim": POOLED, "context_in_dim": FLUX_TEXT,
        "hidden_size": 128 * one["heads"], "mlp_ratio": 4.0, "num_heads": one["heads"], "depth": one["double"],
        "depth_single_blocks": one["single"], "axes_dim": [16, 56, 56], "theta": 10000, "patch_size": 2, "qkv_bias": True,
        "guidance_embed": True, "txt_ids_dims": [], "dtype": dtype(),
    }  # fmt: skip


def randomise(network: torch.nn.Module) -> None:
    """Matrices of small numbers, which repeat where there are many, norms at one, biases at zero."""
    import torch

    numbers = torch.randn(1 << 22, generator=torch.Generator().manual_seed(1)) * 0.02
    made: dict[torch.dtype, torch.Tensor] = {}
    for name, value in network.named_parameters():
        if value.ndim > 1:
            some = made.setdefault(value.dtype, numbers.to(value.dtype))
            flat = value.data.view(-1)
            for part in flat.split(len(some)):
                part.copy_(some[: len(part)])
        else:
            value.data.copy_(torch.full_like(value, name.endswith(("weight", "scale")), dtype=torch.float32))


def inputs(size: int, shape: str = "sd15") -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents, text and pooled text of one picture."""
    import torch

    generator = torch.Generator().manual_seed(2)
    words, width = (FLUX_WORDS, FLUX_TEXT) if shape in FLUXES else (WORDS, UNETS[shape]["text"])
    channels = FLUX_LATENT if shape in FLUXES else 4
    latents = torch.randn(1, channels, size // 8, size // 8, generator=generator)
    return latents, torch.randn(1, words, width, generator=generator), torch.randn(1, POOLED, generator=generator)


def run_pack(shape: str, size: int, steps: int) -> dict:
    from facechain_impl.host import models
    from facechain_impl.identity.training import presets
    from facechain_impl.identity.training.adapters import Adapters, target_modules
    from facechain_impl.identity.training.dataset import TrainingSet
    from facechain_impl.identity.training.trainer import Trainer

    model, (latents, text, pooled) = host_model(shape), inputs(size, shape)
    settings = presets.from_preset("FaceChain", 1, {"steps": steps + 1, "learning_rate": RATE, "rank": RANK})
    with models.training_model(model, dtype()) as opened:
        conditions = models.stored(opened.conditions([[text, {"pooled_output": pooled}]], latents))
        data = TrainingSet(latents[:, None], [conditions, conditions])
        adapters = Adapters(opened.module, target_modules(opened.module, settings.targets), RANK, RANK, 0.0, 1)
        opened.load()
        trainer, clock = Trainer(opened, [adapters], data, settings, dtype()), Clock()
        for _ in range(steps + 1):
            trainer.step()
            clock.tick()
    return clock.result()


def run_diffusers(shape: str, size: int, steps: int, encode: bool = False) -> dict:
    """The loop of diffusers' LoRA scripts, bf16 as there: frozen weights in bf16, adapters in fp32, autocast. With `encode` it encodes the
    picture at every step, as the SD 1.5 script does."""
    import torch
    from diffusers import AutoencoderKL

    network = diffusers_network(shape)
    latents, text, pooled = (value.to(device(), dtype()) for value in inputs(size, shape))
    vae = AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    ).requires_grad_(False).to(device(), dtype()) if encode else None  # fmt: skip

    def draw() -> torch.Tensor:
        if vae is None:
            return latents
        with torch.no_grad():
            pixels = (torch.rand(1, 3, size, size) * 2 - 1).to(device(), dtype())
            return vae.encode(pixels).latent_dist.sample() * 0.18215

    predict = (_flux if shape in FLUXES else unet_predictor)(network, text, pooled)
    learn = diffusers_loop(network, predict, draw, RATE, flow=shape in FLUXES)
    clock = Clock()
    for _ in itertools.islice(learn, steps + 1):
        clock.tick()
    return clock.result()


def diffusers_loop(network: Any, predict: Predict, draw: Callable[[], torch.Tensor], rate: float, flow: bool = False) -> Iterator[float]:
    """The steps of diffusers' LoRA scripts, without end: the loss of each. draw: latents [1, C, ...] in the model's scale."""
    import torch
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    parameters = [value for value in network.parameters() if value.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate)
    while True:
        latents = draw()
        noise, timesteps = torch.randn_like(latents), torch.randint(0, 1000, (1,), device=latents.device)
        if flow:
            share = timesteps / 1000
            noisy, target = ((1 - share) * latents + share * noise).to(latents.dtype), noise - latents
        else:
            noisy, target = scheduler.add_noise(latents, noise, timesteps), noise
        with torch.autocast(latents.device.type, latents.dtype, enabled=latents.dtype is not torch.float32):
            predicted = predict(noisy, timesteps)
        loss = torch.nn.functional.mse_loss(predicted.float(), target.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        yield loss.item()


def unet_predictor(network: Any, text: torch.Tensor, pooled: torch.Tensor) -> Predict:
    import torch

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        sizes = torch.tensor([[8.0 * side for side in (*noisy.shape[-2:], 0, 0, *noisy.shape[-2:])]], device=noisy.device)
        added = {"text_embeds": pooled, "time_ids": sizes} if network.config.addition_embed_type else None
        return network(noisy, timesteps, text, added_cond_kwargs=added).sample

    return predict


def _flux(network: Any, text: torch.Tensor, pooled: torch.Tensor) -> Predict:
    import torch
    from diffusers import FluxPipeline

    def predict(noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        height, width = noisy.shape[-2:]
        packed = FluxPipeline._pack_latents(noisy, 1, FLUX_LATENT, height, width)
        places = FluxPipeline._prepare_latent_image_ids(1, height // 2, width // 2, noisy.device, noisy.dtype)
        nowhere = torch.zeros(FLUX_WORDS, 3, device=noisy.device, dtype=noisy.dtype)
        guidance = torch.full((1,), 1.0, device=noisy.device)
        found = network(packed, text, pooled, timesteps / 1000, places, nowhere, guidance).sample
        return FluxPipeline._unpack_latents(found, height * 8, width * 8, 8)

    return predict


def diffusers_network(shape: str) -> Any:
    """diffusers' network of the same shape, with peft's adapters on the same layers."""
    import peft

    with device():
        network = _flux_of_diffusers(FLUXES[shape]) if shape in FLUXES else unet_of_diffusers(UNETS[shape])
    network.requires_grad_(False).to(device(), dtype())
    randomise(network)
    targets = ADAPTED if shape in FLUXES else list(ATTENTION)
    peft.inject_adapter_in_model(peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=targets), network)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return network


def _flux_of_diffusers(one: dict[str, int]) -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        in_channels=4 * FLUX_LATENT, num_layers=one["double"], num_single_layers=one["single"], num_attention_heads=one["heads"],
        joint_attention_dim=FLUX_TEXT, pooled_projection_dim=POOLED, guidance_embeds=True,
    )  # fmt: skip


def unet_of_diffusers(one: dict[str, Any]) -> Any:
    from diffusers import UNet2DConditionModel

    sdxl: dict[str, Any] = {
        "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": POOLED + 6 * 256, "attention_head_dim": [5 * factor for factor in one["channel_mult"]],
    }  # fmt: skip
    return UNet2DConditionModel(
        sample_size=64, block_out_channels=tuple(320 * factor for factor in one["channel_mult"]), layers_per_block=one["blocks"],
        down_block_types=tuple("CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in one["depth"]),
        up_block_types=tuple("CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(one["depth"])),
        transformer_layers_per_block=tuple(max(1, depth) for depth in one["depth"]), cross_attention_dim=one["text"],
        **(sdxl if one["text"] == 2048 else {"attention_head_dim": 8}),
    )  # fmt: skip


def run_diffusers_encoding(shape: str, size: int, steps: int) -> dict:
    return run_diffusers(shape, size, steps, encode=True)


def run_host_node(shape: str, size: int, steps: int) -> dict:
    """The host's own trainer, with its progress bar as the clock. It cannot train Flux without gradient checkpointing."""
    model, (latents, text, pooled) = host_model(shape), inputs(size, shape)
    model.cached_patcher_init = (lambda disable_dynamic=True: model, ())
    clocks: list[Clock] = []

    def bar(total: int) -> SimpleNamespace:
        clocks.append(Clock())
        return SimpleNamespace(update=clocks[-1].tick)

    positive, format_ = [[text, {"pooled_output": pooled}]], "bf16" if _on_gpu() else "fp32"
    host_node(model, [latents], positive, steps + 1, RATE, RANK, bar, format_=format_, checkpointing=shape in FLUXES)
    return clocks[-1].result()


def host_node(
    model: Any,
    latents: Sequence[torch.Tensor],
    positive: list,
    steps: int,
    rate: float,
    rank: int,
    bar: Callable[[int], Any],
    seed: int = 1,
    format_: str = "fp32",
    checkpointing: bool = False,
) -> dict[str, torch.Tensor]:
    """The LoRA that the host's TrainLoraNode makes. latents: [1, C, ...] as the VAE encodes them. positive: one conditioning for all.
    bar: stands in for its progress bar."""
    import comfy_extras.nodes_train as nodes_train

    nodes_train.ProgressBar = bar
    made = nodes_train.TrainLoraNode.execute(
        model=[model], latents=[{"samples": one} for one in latents], positive=[positive] * len(latents), batch_size=[1], steps=[steps],
        grad_accumulation_steps=[1], learning_rate=[rate], rank=[rank], optimizer=["AdamW"], loss_function=["MSE"], seed=[seed],
        training_dtype=[format_], lora_dtype=[format_], quantized_backward=[False], algorithm=["LoRA"],
        gradient_checkpointing=[checkpointing], checkpoint_depth=[1], offloading=[False], existing_lora=["[None]"], bucket_mode=[False],
        bypass_mode=[False],
    )  # fmt: skip
    return made.result[0]


CONTENDERS: dict[str, tuple[str, Callable[[str, int, int], dict]]] = {
    "pack": ("this pack", run_pack),
    "diffusers": ("diffusers + peft, latents prepared once", run_diffusers),
    "encoding": ("diffusers + peft, encoding at every step", run_diffusers_encoding),
    "host": ("the host's TrainLoraNode", run_host_node),
}


def in_a_process(label: str, function: Callable[..., dict], *given: Any) -> dict:
    """What `function` returns in a process of its own, on the GPU where there is one. Exits where that fails."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    child = context.Process(target=_answer, args=(answers, function, *given))
    child.start()
    child.join()
    if child.exitcode:
        raise SystemExit(f"{label} failed; its error is above.")
    return answers.get()


def _answer(answers: multiprocessing.Queue, function: Callable[..., dict], *given: Any) -> None:
    import comfy.cli_args

    comfy.cli_args.args.cpu = not _on_gpu()
    answers.put(function(*given))


def measure(shape: str, size: int, steps: int, rounds: int) -> dict[str, dict]:
    """The best round of every contender."""
    best: dict[str, dict] = {}
    names = [name for name in CONTENDERS if name != "encoding" or shape.startswith("sd15")]
    for _, name in itertools.product(range(rounds), names):
        found = in_a_process(f"{name} on the shape {shape}", CONTENDERS[name][1], shape, size, steps)
        kept = best.setdefault(name, found)
        for figure, value in found.items():
            kept[figure] = min(kept[figure], value)
    return best


def missed(found: dict[str, dict], goals: dict[str, dict[str, float]]) -> list[str]:
    """The goals that these results miss."""
    shares = {(name, figure): found["pack"][figure] / found[name][figure] for name, wanted in goals.items() for figure in wanted}
    return [
        f"{figure}: {share:.2f} of that of {CONTENDERS[name][0]}, allowed {goals[name][figure]}"
        for (name, figure), share in shares.items()
        if share > goals[name][figure]
    ]


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=[*UNETS, *FLUXES, "all"], default="all", help=f"all: {', '.join(BY_DEFAULT)}")
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args(argv)
    kind, problems = device().type, []
    for shape in BY_DEFAULT if options.shape == "all" else [options.shape]:
        found = measure(shape, options.size, options.steps, options.rounds)
        print(f"\n{shape}, {options.size} px, rank {RANK}, {dtype()} on {kind}, batch 1; in brackets: this pack's share of it")
        for name, one in found.items():
            shares = [found["pack"][figure] / one[figure] for figure in ("seconds", "memory")]
            took = f"{one['seconds']:8.3f} s/step ({shares[0]:.2f})  {one['memory'] / 2**20:6.0f} MB above the model ({shares[1]:.2f})"
            print(f"  {CONTENDERS[name][0]:<42} {took}")
        problems += [f"{shape}, {problem}" for problem in missed(found, GOALS[kind])]
        print(json.dumps({"shape": shape, "results": found}), flush=True)
    print("\n".join(["Missed:", *problems]) if problems else "All goals are met.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
