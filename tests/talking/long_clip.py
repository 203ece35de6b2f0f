"""One clip in a process of its own: long_clip.py SECONDS FOLDER prints the peak memory in bytes before and after drawing it."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import comfy.cli_args

comfy.cli_args.args.cpu = True

import torch  # noqa: E402
from conftest import narrow_networks, portrait_of  # noqa: E402

from facechain_impl.talking import pipeline, sadtalker, talk  # noqa: E402
from facechain_impl.talking.crop import Mode  # noqa: E402
from facechain_impl.talking.faces import FaceFinder  # noqa: E402
from facechain_impl.talking.motion import Motion  # noqa: E402

RATE, SIDE = 16000, 128


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(seconds: float, folder: Path) -> None:
    torch.set_num_threads(1)
    pipeline.folders.temp_folder = lambda: folder
    sadtalker.open_part = narrow_networks()
    finder = FaceFinder("Built-in", "five points")
    finder.portrait = lambda image: portrait_of(SIDE, SIDE)
    driver = sadtalker.SadTalker(256, Mode.CROP)
    driver.size = SIDE
    audio = {"waveform": torch.randn(1, 1, int(seconds * RATE), generator=torch.Generator().manual_seed(1)) * 0.1, "sample_rate": RATE}
    scene = talk.Scene(torch.zeros(1, SIDE, SIDE, 3), audio, driver, finder)
    subject, progress = scene.subject(), talk.progress_for(driver, scene.speech)
    before = peak()
    plan = scene.plan(subject, Motion(), None, progress)
    clip = scene.clip(subject, plan, talk.Output(batch=4), progress)
    numbers = before, peak(), audio["waveform"].nbytes, clip.count, os.path.getsize(clip.path)
    sys.stdout.write(" ".join(map(str, numbers)))


if __name__ == "__main__":
    with torch.inference_mode():
        main(float(sys.argv[1]), Path(sys.argv[2]))
