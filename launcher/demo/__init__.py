"""`run.py demo`: photos in; a trained face LoRA, portraits, and a page that shows it all out, through a real ComfyUI over HTTP."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .. import base_models, console, environment, places
from ..console import Failure, say
from ..server import Server, device_arguments
from . import material, page
from .results import DONE, Results
from .settings import POCKET, USUAL
from .steps import PAINT, PORTRAIT, TRAIN, Demo

__all__ = ["PAINT", "PORTRAIT", "TRAIN", "add_arguments", "run"]

OURS = (page.FILE_NAME, "base", "people", "painted", "workflows", "reports.json")
DESCRIPTION = """
Without --photos, four sample people are trained: two paintings, a photograph by NASA, and a person drawn by a program.
Without --checkpoint or --base they are trained on the pocket model, a toy that comes with this repository: faces of 128
pixels in minutes on two cores, recognisable and soft. A base model gives real portraits; it wants a GPU.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photos of one person (default: the sample people)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="your base model (default: the pocket model, a toy)")
    base_models.add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo-output"), help="where the results go (default: %(default)s)")
    parser.add_argument("--who", default="a person", metavar="WORDS", help="what the person is called in captions (default: %(default)s)")
    for name, text in _NUMBERS.items():
        usual = getattr(USUAL, name) or "200 to 300 a photo"
        text = f"{text} (default: {getattr(POCKET, name)}; with a base model: {usual})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=text)


_NUMBERS = {
    "steps": "training steps of each person",
    "size": "side of the pictures in pixels",
    "portraits": "number of portraits",
    "sampling_steps": "sampling steps of each portrait",
}


def run(options: argparse.Namespace) -> int:
    """Returns the exit status; problems are raised as Failure."""
    checkpoint = _checkpoint(options)
    is_pocket = checkpoint is None and options.base is None
    people = material.people(options.photos, is_pocket)
    _usable_folder(options.out)
    if is_pocket:
        material.require_pocket()
    host = environment.ready(install=options.install)
    if options.base is not None:
        checkpoint = base_models.fetched(host, options.base, options.yes)
    results = Results((POCKET if is_pocket else USUAL).changed(options), is_pocket, people)
    out, start = _output_folder(options.out), time.monotonic()
    with page.following(out, results), places.temporary_base({"models/facechain_stand_ins": material.made_folder()}) as base:
        say(f"The page with the results, which fills while this runs: {(out / page.FILE_NAME).as_uri()}")
        model = material.prepare(host, base, checkpoint)
        material.place_inputs(people, base)
        log, models = places.home() / "logs" / "demo.log", [host.store() / "models"]
        with Server(host, base, log, device_arguments(host), models=models) as server:
            Demo(server, out, results, model, options.who).run()
        results.state = DONE
    say(f"\nDone in {console.elapsed(time.monotonic() - start)}. Everything is in {out}")
    for warning in page.warnings(results):
        say(f"NOTE: {warning}")
    say(f"The page with all results: {out / page.FILE_NAME}")
    return 0


def _checkpoint(options: argparse.Namespace) -> Path | None:
    file = options.checkpoint
    if file is None:
        return None
    if options.base is not None:
        raise Failure("choosing the base model", "both --base and --checkpoint name one", "Leave one of them out.")
    if not file.is_file():
        raise Failure(f"looking for the checkpoint {file}", "there is no such file", "Give --checkpoint the path of a .safetensors file.")
    return file.resolve()


def _usable_folder(folder: Path) -> Path:
    """An empty folder, or one of an earlier demo. Raises Failure for any other."""
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not (folder / page.FILE_NAME).is_file():
        step = f"preparing the output folder {folder}"
        raise Failure(step, "it contains other files", "Name a new or empty folder with --out; your files are never overwritten.")
    return folder


def _output_folder(folder: Path) -> Path:
    """The same with the earlier demo's files taken out."""
    folder = _usable_folder(folder)
    for name in OURS:
        places.remove(folder / name)
    (folder / page.FILE_NAME).write_text("The demo is starting.", encoding="utf-8")
    return folder
