"""Cost of a talking portrait at 256 pixels: `python run.py bench talking`

Random weights of the published widths, one run, ratios of the plain way (norms divided and source encoded at every frame, one frame
at a time) to the shipped one, with one and four frames at a time. Without an accelerator time is what the process computed, so that
other processes do not count. Half precision of the decoder alone, the only part that bears it, is shown with its error. Then the peak
memory of a process that draws a clip of ten seconds and one of ten minutes, on narrow networks.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import comfy.cli_args
import torch

comfy.cli_args.args.cpu = not torch.accelerator.is_available()

from facechain_impl.networks.sadtalker_generator import Generator  # noqa: E402
from facechain_impl.weights import stand_ins  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
PREFIX = "generator."
LIMIT = 1.1
ON_CPU = comfy.cli_args.args.cpu
DEVICE = torch.device("cpu") if ON_CPU else torch.accelerator.current_accelerator()


def generators() -> tuple[Generator, Generator]:
    """The same network with norms divided at every frame, and with them folded."""
    made = stand_ins.make({PREFIX + name: row for name, row in Generator.layout().items()}, 1)
    tensors = {name.removeprefix(PREFIX): value for name, value in made.items()}
    return Generator.from_state_dict(tensors, fold=False).to(DEVICE), Generator.from_state_dict(tensors).to(DEVICE)


def clock() -> float:
    if ON_CPU:
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def seconds_per_frame(draw, frames: int, repeat: int) -> float:
    draw()
    best = float("inf")
    for _ in range(repeat):
        start = clock()
        draw()
        best = min(best, clock() - start)
    return best / frames


def compare_ways(side: int, repeat: int) -> None:
    plain, folded = generators()
    picture = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    points = torch.rand(4, 15, 3, generator=torch.Generator().manual_seed(2)).to(DEVICE) - 0.5
    source = folded.encode(picture, points[:1])
    ways = {
        "nothing kept, 1 frame": (1, lambda: plain(plain.encode(picture, points[:1]), points[:1])),
        "norms folded, 1 frame": (1, lambda: folded(folded.encode(picture, points[:1]), points[:1])),
        "source kept, 1 frame": (1, lambda: plain(source, points[:1])),
        "shipped, 1 frame": (1, lambda: folded(source, points[:1])),
        "shipped, 4 frames": (4, lambda: folded(source, points)),
    }
    base = 0.0
    for name, (frames, draw) in ways.items():
        seconds = seconds_per_frame(draw, frames, repeat)
        base = base or seconds
        print(f"{name:24} {seconds:8.3f} s per frame   x{base / seconds:.2f}")
    same = torch.equal(plain(plain.encode(picture, points[:1]), points[:1]), folded(source, points[:1]))
    print(f"shipped and plain frames are {'bit-identical' if same else 'NOT identical'}")
    half_precision(folded, source, points[:1], repeat)


def half_precision(generator: Generator, source, points: torch.Tensor, repeat: int) -> None:
    exact = generator(source, points)
    full = seconds_per_frame(lambda: generator(source, points), 1, repeat)
    generator.decoder.to(torch.bfloat16)
    error = (generator(source, points) - exact).abs()
    half = seconds_per_frame(lambda: generator(source, points), 1, repeat)
    print(f"decoder in bfloat16      x{full / half:.2f}, differs by {error.mean():.4f} on average, {error.max():.3f} at most (of 1)")


def peak(seconds: float, folder: Path) -> int:
    """Peak bytes of a process that draws a clip, without the sound itself."""
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    command = [sys.executable, str(ROOT / "tests" / "talking" / "long_clip.py"), str(seconds), str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}).stdout
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
    options = parser.parse_args(argv)
    with torch.inference_mode():
        compare_ways(options.side, options.repeat)
    passed = options.seconds == 0 or compare_lengths(options.seconds)
    print(f"within {LIMIT - 1:.0%}: {'yes' if passed else 'NO'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
