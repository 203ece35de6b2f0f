"""Images per second and peak memory of every perception network and of Face Align. `python run.py bench perception`

Three ways on the same stand-in weights, in one run: several pictures at once, as in the pack; one picture at a time with the
networks loaded once; and, as upstream does, everything built and read from its published pickle again for every picture. What
random networks find is replaced by a face in the middle, so that every step has input.

Without an accelerator time is what the process computed on one thread, so that other processes do not count. Nine tenths of it then
go into the networks' arithmetic, which is the same in all three ways; so twice the speed of loading each time, which Face Align has
to show, is asked for where there is an accelerator.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import comfy.cli_args
import torch

comfy.cli_args.args.cpu = not torch.accelerator.is_available()

import comfy.model_management  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402

from facechain_impl.geometry.affine import ARCFACE_112, align112  # noqa: E402
from facechain_impl.host import folders  # noqa: E402
from facechain_impl.perception import (  # noqa: E402
    attributes,
    landmark_confidence,
    models,
    parsing,
    quality,
    recognition,
    retinaface,
    retouch,
    rotation,
    tagging,
)
from facechain_impl.perception.detection import DamoFDDetector, Detector  # noqa: E402
from facechain_impl.photos import prepare as preparation  # noqa: E402
from facechain_impl.photos.load import read_photo  # noqa: E402
from facechain_impl.photos.sources import SAMPLE, chosen_files  # noqa: E402
from facechain_impl.portrait.fusion import face_fusion as fusion  # noqa: E402
from facechain_impl.types import Face, NoFace, Origin  # noqa: E402
from facechain_impl.weights import catalogue, load  # noqa: E402
from facechain_impl.weights.stand_ins import networks as stand_ins  # noqa: E402
from facechain_impl.weights.uses import ENHANCEMENT, FUSION  # noqa: E402

on_cpu = comfy.cli_args.args.cpu
GOALS = {"load each time": 1.0 if on_cpu else 2.0, "one at a time": 1.0}
MIB = 2**20

Pictures = list[torch.Tensor]
Work = Callable[[Pictures], object]


@dataclass
class Cost:
    """Seconds, and the highest memory above what was there before, in MiB."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Task:
    """files: names in the catalogue. open: builds what works on a list of pictures. prepare: photographs -> its pictures."""

    name: str
    files: tuple[str, ...]
    open: Callable[[], Work]
    prepare: Callable[[Pictures], Pictures] = list


def middle_face(image: torch.Tensor) -> Face:
    height, width = image.shape[:2]
    side = min(height, width) * 0.3
    points = (ARCFACE_112 - 56) * side / 112 + [width / 2, height / 2]
    box = np.array([width - side, height - side, width + side, height + side], np.float32) / 2
    return Face(box, 1.0, points.astype(np.float32))


class Middle(Detector):
    """Runs a detector, and returns a face in the middle of each picture."""

    name = "middle"

    def __init__(self, detector: Detector):
        self._detector = detector

    def detect(self, images: Pictures) -> list[list[Face]]:
        self._detector.detect(images)
        return [[middle_face(image)] for image in images]


class MiddleParser:
    """Runs a parser, and returns a head in the middle."""

    def __init__(self, parser: parsing.HumanParser):
        self._parser = parser

    def parse(self, images: Pictures) -> list[SimpleNamespace]:
        self._parser.parse(images)
        return [SimpleNamespace(largest=lambda label, image=image: middle_mask(image)) for image in images]


class Clear:
    """Runs the confidence network, and finds every face clear."""

    def __init__(self, confidence: landmark_confidence.LandmarkConfidence):
        self._confidence = confidence

    def score(self, images: Pictures, boxes: list[np.ndarray]) -> list[float]:
        self._confidence.score(images, boxes)
        return [1.0] * len(images)


def middle_mask(image: torch.Tensor) -> torch.Tensor:
    mask = torch.zeros(image.shape[:2], dtype=torch.bool)
    mask[image.shape[0] // 4 : -image.shape[0] // 4, image.shape[1] // 4 : -image.shape[1] // 4] = True
    return mask


def boxes(images: Pictures) -> list[np.ndarray]:
    return [middle_face(image).box for image in images]


def crops(photos: Pictures) -> Pictures:
    return [torch.nn.functional.interpolate(photo.permute(2, 0, 1)[None], (512, 512))[0].permute(1, 2, 0) for photo in photos]


def aligned(photos: Pictures) -> Pictures:
    return [align112(photo, middle_face(photo).five) for photo in photos]


def open_retouch() -> Work:
    network = retouch.open_retouch()
    return lambda images: network.retouch(images, [box[None] for box in boxes(images)])


def open_confidence() -> Work:
    network = landmark_confidence.LandmarkConfidence(models.open_network("flcm"))
    return lambda images: network.score(images, boxes(images))


def open_fusion() -> Work:
    network = fusion.open_fusion()

    def fuse(images: Pictures) -> Pictures:
        source = network.read_source(images[0], middle_face(images[0]).five)
        return network.replace(images, [fusion.target(number, middle_face(image)) for number, image in enumerate(images)], source, True)

    return fuse


def open_tagger() -> Work:
    file = load.find("deepdanbooru")
    network = tagging.Tagger(models.open_network("deepdanbooru"), load.tags(file))
    return lambda images: network.tags(images, 0.5)


def open_face_align() -> Work:
    """Every step of FaceChain's preparation."""
    networks: Any = preparation.open_networks(preparation.Stages(rotation=True, retouch=True, white=True, confidence=True))
    networks.retouch_faces, networks.parser = Middle(networks.retouch_faces), MiddleParser(networks.parser)
    networks.confidence = Clear(networks.confidence)
    detector = Middle(DamoFDDetector(preparation.open_network("damofd")))
    align = preparation.Preparation(detector, preparation.Stages(), networks)
    return lambda photos: align.run(photos, [str(number) for number in range(len(photos))], policy=NoFace.STOP)


TASKS = (
    Task("rot_bgr", ("rot_bgr",), lambda: rotation.PhotoRotation(models.open_session("rot_bgr")).quarter_turns),
    Task("DamoFD", ("damofd",), lambda: DamoFDDetector(models.open_network("damofd")).detect),
    Task("RetinaFace", ("retinaface",), lambda: retinaface.RetinaFace(models.open_network("retinaface")).detect, crops),
    Task("M2FP", ("m2fp",), lambda: parsing.HumanParser(models.open_network("m2fp")).parse, crops),
    Task("skin retouch", ("skin_unet", "skin_mask"), open_retouch, crops),
    Task("FLCM", ("flcm",), open_confidence, crops),
    Task("FairFace", ("fairface",), lambda: attributes.FaceAttributes(models.open_network("fairface")).predict, aligned),
    Task("FQA", ("fqa",), lambda: quality.FaceQuality(models.open_session("fqa")).score, aligned),
    Task("RTS", ("rts",), lambda: recognition.FaceRecognition(models.open_network("rts")).embed, aligned),
    Task("DeepDanbooru", ("deepdanbooru",), open_tagger, crops),
    Task("face fusion", (*FUSION.files, *ENHANCEMENT.files), open_fusion, crops),
    Task("Face Align", ("damofd", "rot_bgr", "retinaface", "skin_unet", "skin_mask", "m2fp", "flcm"), open_face_align),
)


class Pickles:
    """Opens networks as upstream does: built with random weights, then loaded from a pickle."""

    def __init__(self, folder: Path):
        self._folder = folder

    def write(self, name: str) -> None:
        if catalogue.get(name).network:
            torch.save(load.tensors(load.find(name)), self._folder / f"{name}.pt")

    def open(self, name: str) -> SimpleNamespace:
        tensors = torch.load(self._folder / f"{name}.pt", weights_only=True)
        network = catalogue.get(name).network
        if network is None:
            raise ValueError(f"{name} is no network of the pack")
        network(**network.sizes(tensors))
        device = comfy.model_management.get_torch_device()
        ready = network.from_state_dict(tensors).to(device)
        return SimpleNamespace(load=lambda: ready, device=device, origin=Origin.STAND_IN)


@contextmanager
def as_upstream(pickles: Pickles) -> Iterator[None]:
    """All modules that open networks get them from pickles."""
    before, places = models.open_network, (models, preparation)
    for place in places:
        vars(place)["open_network"] = pickles.open
    try:
        yield
    finally:
        for place in places:
            vars(place)["open_network"] = before


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """A one-element list with, after the block, its peak memory above that before, in MiB."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what earlier runs gave back would hide what this one takes
    found, process, ended = [0.0], psutil.Process(), threading.Event()
    if not on_cpu:
        torch.accelerator.empty_cache()
        torch.accelerator.reset_peak_memory_stats()
    before = process.memory_info().rss if on_cpu else torch.accelerator.memory_allocated()

    def watch() -> None:
        while not ended.wait(0.01):
            found[0] = max(found[0], (process.memory_info().rss - before) / MIB)

    watcher = threading.Thread(target=watch)
    if on_cpu:
        watcher.start()
    try:
        yield found
    finally:
        ended.set()
        if on_cpu:
            watcher.join()
        else:
            found[0] = (torch.accelerator.max_memory_allocated() - before) / MIB


def clock() -> float:
    if on_cpu:
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def measure(work: Callable[[], object]) -> Cost:
    comfy.model_management.unload_all_models()
    with peak_memory() as memory:
        start = clock()
        work()
        seconds = clock() - start
    return Cost(seconds, memory[0])


def ways(task: Task, pictures: Pictures, pickles: Pickles) -> dict[str, Callable[[], object]]:
    """Name of the way -> what it does with all pictures. Opening the networks is part of the work."""

    def at_once() -> None:
        task.open()(pictures)

    def one_at_a_time() -> None:
        work = task.open()
        for picture in pictures:
            work([picture])

    def load_each_time() -> None:
        with as_upstream(pickles):
            for picture in pictures:
                task.open()([picture])

    return {"at once": at_once, "one at a time": one_at_a_time, "load each time": load_each_time}


def compare(task: Task, photos: Pictures, pickles: Pickles, repeat: int) -> dict[str, Cost]:
    """The least of `repeat` runs of each way, one after the other in turn, after one picture to warm up."""
    for name in task.files:
        stand_ins.write_stand_in(name, folders.stand_in_folders()[0])
        pickles.write(name)
    pictures = task.prepare(photos)
    task.open()(pictures[:1])
    runs = [{name: measure(work) for name, work in ways(task, pictures, pickles).items()} for _ in range(repeat)]
    return {name: Cost(min(run[name].seconds for run in runs), min(run[name].memory for run in runs)) for name in runs[0]}


def show(task: Task, count: int, costs: dict[str, Cost]) -> list[str]:
    """Print a row, and return the missed goals."""
    ours, missed = costs["at once"], []
    cells = [f"{task.name:14}{count / ours.seconds:10.3f}{ours.memory:9.0f}"]
    for name, goal in GOALS.items():
        speed = costs[name].seconds / ours.seconds
        cells.append(f"{speed:10.2f}x{ours.memory / max(costs[name].memory, 1):9.2f}x")
        if task.name == "Face Align" and round(speed, 1) < goal:
            missed.append(f"{task.name} against {name}: {speed:.2f}x, expected {goal:g}x")
    print("".join(cells), flush=True)
    return missed


def sample_photos(count: int) -> Pictures:
    """The sample photo in several sizes."""
    photo = read_photo(chosen_files(SAMPLE, "", "")[0]).permute(2, 0, 1)[None]
    sizes = [(700 + 60 * (number % 4), 640 + 80 * (number % 3)) for number in range(count)]
    return [torch.nn.functional.interpolate(photo, size, mode="bilinear")[0].permute(1, 2, 0) for size in sizes]


def use_folder(folder: Path) -> None:
    """Files are searched only in `folder`, which has the stand-ins."""
    folders.register()
    folders.stand_in_folders = lambda: [folder]
    folders.category_folders = lambda category: [folder / "none"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench perception")
    parser.add_argument("names", nargs="*", help=f"which of: {', '.join(task.name for task in TASKS)}; all without one")
    parser.add_argument("--count", type=int, default=8, help="how many photos")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each way, of which the best counts")
    options = parser.parse_args(argv)
    chosen = [task for task in TASKS if not options.names or task.name in options.names]
    if on_cpu:
        torch.set_num_threads(1)
    print(f"{options.count} photos on {'the CPU, one thread' if on_cpu else torch.accelerator.current_accelerator()}; ratios: ours to ...")
    print(f"{'':14}{'images/s':>10}{'MiB':>9}{'load each time':>21}{'one at a time':>21}")
    print(f"{'':33}{'speed':>11}{'memory':>10}{'speed':>11}{'memory':>10}")
    missed = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        use_folder(Path(folder))
        photos = sample_photos(options.count)
        for task in chosen:
            missed += show(task, options.count, compare(task, photos, Pickles(Path(folder)), options.repeat))
    print("\n".join(missed) or "every goal was met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
