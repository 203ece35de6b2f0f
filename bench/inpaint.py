"""Cost of putting a face into a picture: it depends on the faces, not on the picture. `python run.py bench inpaint`

Stand-in models, one run: a template of 512 and one of 4096 pixels with a face of the same size, then three faces of one person at
once against one after the other. Without an accelerator, CPU time is measured, so that other processes do not count.
Memory is the peak of the process, models included, without the pictures and their copies.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import comfy.cli_args
import torch

comfy.cli_args.args.cpu = not torch.accelerator.is_available()

import comfy.controlnet  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402

from facechain_impl.host.sampling import Diffusion, SamplingSettings  # noqa: E402
from facechain_impl.perception.detection import Detector  # noqa: E402
from facechain_impl.portrait.inpaint import group  # noqa: E402
from facechain_impl.portrait.inpaint.group import FaceAssignment, GroupInpaint, PromptText, Subjects, TargetPicture  # noqa: E402
from facechain_impl.portrait.inpaint.targets import FaceAnalyzer, GivenMasks, Target  # noqa: E402
from facechain_impl.portrait.inpaint.two_stage import Nets, Painted, Settings  # noqa: E402
from facechain_impl.types import Face, NoFace  # noqa: E402
from facechain_impl.weights.stand_ins.checkpoint import write_checkpoint  # noqa: E402
from facechain_impl.weights.stand_ins.controlnet import write_controlnet  # noqa: E402

PLACES = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]])
LIMIT = 1.15
clock = time.process_time if comfy.cli_args.args.cpu else time.perf_counter
MIB = 2**20


@dataclass
class Cost:
    """Seconds in all and of those for pasting; peak of the process in MiB."""

    seconds: float = 0.0
    paste: float = 0.0
    memory: float = 0.0

    @property
    def faces(self) -> float:
        return self.seconds - self.paste


class Centre(Detector):
    """A face in the middle of every generated picture, so that noise can be processed."""

    name = "centre"

    def detect(self, images: list[torch.Tensor]) -> list[list[Face]]:
        return [[face_at(image.shape[1] / 4, image.shape[0] / 4, min(image.shape[:2]) / 2)] for image in images]


def face_at(x: float, y: float, side: float) -> Face:
    return Face(np.array([x, y, x + side, y + side], np.float32), 1.0, (PLACES * side + [x, y]).astype(np.float32))


def load_models(folder: Path) -> tuple[Diffusion, Nets]:
    checkpoint = write_checkpoint(folder / "checkpoint.safetensors")
    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(checkpoint))
    nets = [comfy.controlnet.load_controlnet(str(write_controlnet(folder / f"{seed}.safetensors", seed))) for seed in (1, 2)]
    return Diffusion(model, clip, vae), Nets(*nets)


def target_picture(size: int, faces: list[Face]) -> TargetPicture:
    mask = torch.zeros(size, size)
    for face in faces:
        x0, y0, x1, y1 = face.box.astype(int)
        mask[y0:y1, x0:x1] = 1
    return TargetPicture(name=f"{size} px", image=torch.rand(size, size, 3), faces=faces, given=GivenMasks(mask, mask, mask))


@contextmanager
def watched(cost: Cost) -> Iterator[None]:
    """Records the peak memory of the process in the block."""
    process, ended = psutil.Process(), threading.Event()
    peak = [process.memory_info().rss]

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        cost.memory = peak[0] / MIB


def measure(base: Diffusion, nets: Nets, picture: TargetPicture, options: argparse.Namespace, batch: int) -> Cost:
    cost, paste = Cost(), group.paste

    def timed_paste(canvas: torch.Tensor, target: Target, result: Painted) -> None:
        start = clock()
        paste(canvas, target, result)
        cost.paste += clock() - start

    settings = Settings(size=options.size, batch=batch)
    words = PromptText(scene="in a garden", negative="blurry")
    inpaint = GroupInpaint(
        base=base,
        nets=nets,
        analyzer=FaceAnalyzer(Centre()),
        subjects=Subjects(persons=[]),
        words=words,
        settings=settings,
        schedule=SamplingSettings(steps=options.steps),
    )
    group.paste = timed_paste
    try:
        with watched(cost):
            start = clock()
            inpaint.run(picture, FaceAssignment(which="all"), 1, 1, NoFace.STOP)
            cost.seconds = clock() - start
    finally:
        group.paste = paste
    return cost


def compare_sizes(base: Diffusion, nets: Nets, options: argparse.Namespace) -> bool:
    """The face is `options.face` pixels in both pictures. They run alternately; the minimum of each counts."""
    sizes = (512, options.large)
    pictures = [target_picture(size, [face_at(size / 2 - options.face / 2, size / 2, options.face)]) for size in sizes]
    measure(base, nets, pictures[0], options, 4)
    runs = [[measure(base, nets, picture, options, 4) for picture in pictures] for _ in range(options.repeat)]
    small, large = (Cost(**least([vars(run[i]) for run in runs])) for i in (0, 1))
    images = [image for picture in pictures for image in (picture.image, picture.given.face) if image is not None]
    both = sum(image.numel() * image.element_size() for image in images) / MIB
    for cost, picture in ((small, pictures[0]), (large, pictures[1])):
        cost.memory -= both + picture.image.numel() * picture.image.element_size() / MIB
    seconds, memory = large.faces / small.faces, large.memory / small.memory
    print(f"{'':24}{'512 px':>12}{f'{options.large} px':>12}{'ratio':>8}")
    print(f"{'seconds, faces':24}{small.faces:12.2f}{large.faces:12.2f}{seconds:8.2f}")
    print(f"{'seconds, pasting':24}{small.paste:12.3f}{large.paste:12.3f}")
    print(f"{'MiB without pictures':24}{small.memory:12.0f}{large.memory:12.0f}{memory:8.2f}")
    return seconds <= LIMIT and memory <= LIMIT


def least(costs: list[dict]) -> dict:
    return {name: min(cost[name] for cost in costs) for name in ("seconds", "paste", "memory")}


def compare_batches(base: Diffusion, nets: Nets, options: argparse.Namespace) -> None:
    faces = [face_at(40 + 160 * i, 200, options.face * 0.6) for i in range(3)]
    together, apart = (measure(base, nets, target_picture(512, faces), options, batch) for batch in (3, 1))
    print(f"three faces of one person at once: {together.seconds / apart.seconds:.2f} of the time one after the other")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench inpaint")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--size", type=int, default=256, help="side of the crops that are painted")
    parser.add_argument("--face", type=float, default=120, help="side of the face in the pictures")
    parser.add_argument("--large", type=int, default=4096, help="side of the large picture")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(argv)
    comfy.utils.set_progress_bar_enabled(False)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        base, nets = load_models(Path(folder))
        passed = compare_sizes(base, nets, options)
        compare_batches(base, nets, options)
    print(f"within {LIMIT - 1:.0%}: {'yes' if passed else 'NO'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
