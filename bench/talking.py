"""Cost of a talking portrait at 256 pixels: `python run.py bench talking`

Random weights of the published widths, ratios from one run: the plain way (norms divided and source encoded at every frame, one frame
at a time) against each way to the shipped one, with one and four frames at a time, in speed and in peak memory. Without an accelerator,
CPU time is measured, so that other processes do not count. Half precision of the decoder alone, the only part that bears
it, is shown with its error. Then the peak memory of a process that draws a clip of ten seconds and one of ten minutes, on narrow networks.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.cli_args
import torch

comfy.cli_args.args.cpu = not torch.accelerator.is_available()

from facechain_impl.networks.sadtalker.generator import Generator  # noqa: E402
from facechain_impl.weights.stand_ins import networks as stand_ins  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "generator."
LIMIT = 1.1
ON_CPU = comfy.cli_args.args.cpu
DEVICE = torch.device("cpu") if ON_CPU else torch.accelerator.current_accelerator()


@dataclass(frozen=True)
class Way:
    """How frames are drawn. fold: norms folded at load. keep: the source encoded once. frames: how many at a time."""

    name: str
    fold: bool
    keep: bool
    frames: int


WAYS = (
    Way("nothing kept, 1 frame", False, False, 1),
    Way("norms folded, 1 frame", True, False, 1),
    Way("source kept, 1 frame", False, True, 1),
    Way("shipped, 1 frame", True, True, 1),
    Way("nothing kept, 4 frames", False, False, 4),
    Way("shipped, 4 frames", True, True, 4),
)


def generator(fold: bool) -> Generator:
    made = stand_ins.make({PREFIX + name: row for name, row in Generator.layout().items()}, 1)
    return Generator.from_state_dict({name.removeprefix(PREFIX): value for name, value in made.items()}, fold=fold).to(DEVICE)


def drawing(way: Way, network: Generator, side: int) -> Callable[[], torch.Tensor]:
    """A function that draws `way.frames` frames at once."""
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    points = (torch.rand(4, 15, 3, generator=torch.Generator().manual_seed(2)) - 0.5).to(DEVICE)
    first, wanted = points[:1], points[: way.frames]
    source = network.encode(picture, first) if way.keep else None
    return lambda: network(source or network.encode(picture, first), wanted)


def clock() -> float:
    if ON_CPU:
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def seconds_per_frame(draw: Callable[[], torch.Tensor], frames: int, repeat: int) -> float:
    draw()
    best = float("inf")
    for _ in range(repeat):
        start = clock()
        draw()
        best = min(best, clock() - start)
    return best / frames


def peak_bytes() -> int:
    """Peak of this process so far: of the accelerator's memory where there is one, else resident."""
    if not ON_CPU:
        return torch.accelerator.max_memory_allocated()
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes * (1 if sys.platform == "darwin" else 1024)


def measure(index: int, side: int, repeat: int) -> None:
    """Runs in a separate process, so that the peak is of this way only."""
    way = WAYS[index]
    seconds = seconds_per_frame(drawing(way, generator(way.fold), side), way.frames, repeat)
    print(seconds, peak_bytes())


def compare_ways(side: int, repeat: int) -> None:
    base = None
    for index, way in enumerate(WAYS):
        words = ("--way", str(index), "--side", str(side), "--repeat", str(repeat))
        seconds, peak = map(float, child(Path(__file__), *words).split()[-2:])
        base = base or (seconds, peak)
        print(f"{way.name:24} speed x{base[0] / seconds:.2f}   peak memory x{peak / base[1]:.2f}", flush=True)
    plain, shipped = generator(False), generator(True)
    same = torch.equal(drawing(WAYS[0], plain, side)(), drawing(WAYS[3], shipped, side)())
    print(f"shipped and plain frames are {'bit-identical' if same else 'NOT identical'}")
    half_precision(shipped, side, repeat)


def half_precision(network: Generator, side: int, repeat: int) -> None:
    draw = drawing(WAYS[3], network, side)
    exact, full = draw(), seconds_per_frame(draw, 1, repeat)
    network.decoder.to(torch.bfloat16)
    error, half = (draw() - exact).abs(), seconds_per_frame(draw, 1, repeat)
    print(f"decoder in bfloat16      x{full / half:.2f}, differs by {error.mean():.4f} on average, {error.max():.3f} at most (of 1)")


def child(script: Path, *words: str) -> str:
    """The output of a script in a separate process."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    command = [sys.executable, str(script), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}).stdout


def peak(seconds: float, folder: Path) -> int:
    """Peak bytes of a process that renders a clip, without the sound."""
    printed = child(ROOT / "tests" / "talking" / "long_clip.py", str(seconds), str(folder))
    _, after, sound, _, _ = map(int, printed.split())
    return after - sound


def compare_lengths(seconds: float) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        short, long = peak(10, Path(folder)), peak(seconds, Path(folder))
    print(f"peak memory of {seconds:g} s against 10 s: x{long / short:.3f} ({short / 2**20:.0f} MiB for 10 s, networks and host included)")
    return long <= LIMIT * short


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench talking")
    parser.add_argument("--side", type=int, default=256, help="side of the animated square")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600, help="length of the long clip; 0 leaves it out")
    parser.add_argument("--way", type=int, choices=range(len(WAYS)), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    with torch.inference_mode():
        if options.way is not None:
            measure(options.way, options.side, options.repeat)
            return 0
        compare_ways(options.side, options.repeat)
    passed = options.seconds == 0 or compare_lengths(options.seconds)
    print(f"within {LIMIT - 1:.0%}: {'yes' if passed else 'NO'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
