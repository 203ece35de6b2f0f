"""What a training is expected to take against what it takes: the estimate before the first step and the peak of memory afterwards.

On the small SD1.5 UNet of `bench train`, plain, with gradient checkpointing and with two pictures at a time, each in a process of its own.
Exits with 1 where an estimate is off by more than 15 %. `python run.py bench memory [--size 256]`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ALLOWED = 0.15
CASES = {"plain": (1, False), "gradient checkpointing": (1, True), "two pictures": (2, False)}


def measured(size: int, batch: int, checkpointing: bool, answers: multiprocessing.Queue) -> None:
    """Estimated and measured bytes, weights included, of two steps. Counted from after the pass that the estimate comes from, which
    loads the code of the libraries."""
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    import torch

    from bench import train as bench
    from facechain_impl.host import models
    from facechain_impl.identity.training import presets
    from facechain_impl.identity.training.adapters import Adapters, target_modules
    from facechain_impl.identity.training.dataset import TrainingSet
    from facechain_impl.identity.training.plan import Plan
    from facechain_impl.identity.training.trainer import Trainer

    model, (latents, text) = bench.host_model("small"), bench.inputs(size)
    wanted = {"steps": 2, "rank": bench.RANK, "batch_size": batch, "gradient_checkpointing": checkpointing}
    settings = presets.from_preset("FaceChain", 1, wanted)
    with models.training_model(model, torch.float32) as opened, contextlib.ExitStack() as stack:
        conditions = models.stored(opened.conditions([[text, {}]], latents))
        data = TrainingSet(latents[:, None], [conditions, conditions])
        adapters = Adapters(opened.module, target_modules(opened.module, settings.targets), bench.RANK, bench.RANK, 0.0, 1)
        opened.load()
        trainer = Trainer(opened, [adapters], data, settings, torch.float32)
        plan = Plan(trainer, opened, stack)
        gc.collect()
        before = bench.peak_memory("VmRSS")
        bench.forget_peak_memory()
        for _ in range(2):
            plan.step()
        used = bench.peak_memory() - before + model.model_size()
        answers.put({"estimated": plan.demand.total(plan.way) if plan.demand else 0, "measured": used, "way": plan.way.text()})


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--case", choices=[*CASES, "all"], default="all")
    options = parser.parse_args(argv)
    context, found = multiprocessing.get_context("spawn"), {}
    for name in CASES if options.case == "all" else [options.case]:
        answers = context.Queue()
        child = context.Process(target=measured, args=(options.size, *CASES[name], answers))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit(f"{name} failed; its error is above.")
        found[name] = one = answers.get()
        off = one["estimated"] / one["measured"] - 1
        print(f"  {name:<24} estimated {one['estimated'] / 2**20:6.0f} MB, measured {one['measured'] / 2**20:6.0f} MB, {off:+.1%}")
    print(json.dumps({"size": options.size, "results": found}))
    return int(any(abs(one["estimated"] / one["measured"] - 1) > ALLOWED for one in found.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
