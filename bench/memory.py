"""What a training is expected to take against what it takes: the estimate before the first step and the peak of memory afterwards.

Networks of `bench train`, plain, with gradient checkpointing and with two pictures at a time, each in a process of its own, on the GPU
where there is one. There the full shape of Flux.1 is trained too, in fp8 and in bf16, on a GPU that is said to have 16 GB and gives no
more. Exits with 1 where an estimate is off by more than 15 %. `python run.py bench memory [--case NAME]`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

ALLOWED = 0.15
GB = 2**30
STEPS = 3


@dataclass(frozen=True)
class Case:
    """stored: name of the format of the weights where it is not the one to compute in. cap: bytes of the GPU."""

    shape: str
    size: int
    batch: int = 1
    checkpointing: bool = False
    stored: str = ""
    cap: int | None = None
    rank: int = 4
    offload: str = "Auto"


ON_CPU = {
    "plain": Case("sd15", 256),
    "gradient checkpointing": Case("sd15", 256, checkpointing=True),
    "two pictures": Case("sd15", 256, batch=2),
    "SDXL": Case("sdxl", 256),
    "Flux": Case("flux", 256),
}
ON_GPU = {
    "SD1.5": Case("sd15-full", 512),
    "SD1.5, gradient checkpointing": Case("sd15-full", 512, checkpointing=True),
    "SD1.5, four pictures": Case("sd15-full", 512, batch=4),
    "SD1.5, offload": Case("sd15-full", 512, offload="On"),
    "SDXL": Case("sdxl-full", 1024),
    "Flux.1 in fp8, 16 GB": Case("flux-full", 512, stored="float8_e4m3fn", cap=16 * GB, rank=16),
    "Flux.1 in bf16, 16 GB": Case("flux-full", 512, cap=16 * GB, rank=16),
}


def measured(case: Case) -> dict[str, Any]:
    """Estimated and measured bytes, weights included, of a few steps. Counted from after the pass that the estimate comes from, which
    loads the code of the libraries."""
    from bench import train as bench

    on_gpu = bench.device().type == "cuda"
    if case.cap:
        limit(case.cap)
    import torch

    from facechain_impl.host import models
    from facechain_impl.identity.training import presets
    from facechain_impl.identity.training.adapters import Adapters, target_modules
    from facechain_impl.identity.training.dataset import TrainingSet
    from facechain_impl.identity.training.plan import Plan, load_first
    from facechain_impl.identity.training.settings import Offload
    from facechain_impl.identity.training.trainer import Trainer

    model = bench.host_model(case.shape, getattr(torch, case.stored) if case.stored else None)
    latents, text, pooled = bench.inputs(case.size, case.shape)
    wanted: dict[str, Any] = {"steps": STEPS, "rank": case.rank, "batch_size": case.batch, "offload": Offload(case.offload)}
    wanted["gradient_checkpointing"] = case.checkpointing
    settings = presets.from_preset("FaceChain", 1, wanted)
    with models.training_model(model, bench.dtype()) as opened, contextlib.ExitStack() as stack:
        conditions = models.stored(opened.conditions([[text, {"pooled_output": pooled}]], latents))
        data = TrainingSet(latents[:, None], [conditions, conditions])
        adapters = Adapters(opened.module, target_modules(opened.module, settings.targets), case.rank, case.rank, 0.0, 1)
        load_first(opened, settings)
        trainer = Trainer(opened, [adapters], data, settings, bench.dtype())
        plan = Plan(trainer, opened, stack)
        found: dict[str, Any] = {
            "estimated": plan.demand.total(plan.way) if plan.demand else 0,
            "offload": plan.way.offload,
            "told": plan.text(),
        }
        gc.collect()
        before = 0 if on_gpu else bench.peak_memory("VmRSS") - model.model_size()
        clock = bench.Clock()
        for _ in range(STEPS):
            plan.step()
            clock.tick()
        used = torch.cuda.max_memory_reserved() if on_gpu else bench.peak_memory() - before
        in_tensors = torch.cuda.max_memory_allocated() if on_gpu else used
        took = {"measured": used, "in tensors": in_tensors, "seconds": clock.result()["seconds"], "losses": trainer.losses}
        return {**found, **took, "notes": plan.notes}


def limit(cap: int) -> None:
    """Make the GPU one of `cap` bytes: PyTorch gives no more, and says so to whoever asks."""
    import torch

    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(cap / total)
    torch.cuda.mem_get_info = lambda device=None: (cap - torch.cuda.memory_reserved(), cap)


def main(argv: list[str]) -> int:
    from bench.train import device, in_a_process

    cases = ON_GPU if device().type == "cuda" else ON_CPU
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=[*cases, "all"], default="all")
    options = parser.parse_args(argv)
    found = {}
    for name in cases if options.case == "all" else [options.case]:
        found[name] = one = in_a_process(name, measured, cases[name])
        print(f"  {name:<32} estimated {one['estimated'] / 2**20:6.0f} MB, measured {one['measured'] / 2**20:6.0f} MB, {off(one):+.1%}")
        print("\n".join(f"    {text}" for text in (one["told"], *one["notes"])))
    print(json.dumps(found))
    return int(any(abs(off(one)) > ALLOWED for one in found.values() if not one["offload"]))


def off(one: dict[str, Any]) -> float:
    """How far the estimate is off. With offload the host fills what is free with weights, so that there is nothing to compare."""
    return one["estimated"] / one["measured"] - 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
