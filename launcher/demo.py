"""`run.py demo`: photos in, a trained face LoRA and ranked portraits out, through a real ComfyUI over HTTP."""

from __future__ import annotations

import argparse
import csv
import json
import mimetypes
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import base_models, console, environment, page, places
from .base_models import BaseModel
from .client import HttpError, PromptFailed
from .console import Failure, say
from .hosts import Host
from .server import Server, device_arguments
from .stamps import Stamps, Step, fingerprint
from .workflows import Workflow

NAME = "demo"
PHOTOS = "photos"
TRAIN, PORTRAIT = "Train My Portrait", "Portrait In A Style"
OURS = (page.FILE_NAME, "crops", "portraits", "workflows", "captions.txt", "loss.png", "ranking.csv", "ranking.json", "reports.json")
PROMPT = "<fcsks>, {}, upper body, solo, wearing a dark suit, studio portrait, soft light, high detail face, photorealistic, best quality"
DAY = 24 * 3600
STAND_IN_SOURCES = ("weights/stand_ins/*.py", "host/checkpoints.py", "networks/rts.py")


@dataclass(frozen=True)
class Sizes:
    """The size of the demo. steps: of the training, 0 for 200 a photo. size: of pictures, in pixels."""

    steps: int
    size: int
    portraits: int
    sampling_steps: int


FOR_STAND_IN = Sizes(steps=12, size=128, portraits=3, sampling_steps=6)
FOR_CHECKPOINT = Sizes(steps=0, size=512, portraits=4, sampling_steps=40)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--photos", type=Path, metavar="DIR", help="photos of one person (default: the sample photo)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE", help="your checkpoint; without one, random weights are used")
    base_models.add_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", default=Path("demo-output"), help="where the results go (default: %(default)s)")
    parser.add_argument("--who", default="a person", metavar="WORDS", help="what the person is called in captions (default: %(default)s)")
    for name, text in (("steps", "training steps"), ("size", "side of the pictures in pixels"), ("portraits", "number of portraits")):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=text)
    parser.add_argument("--sampling-steps", type=int, metavar="N", help="sampling steps of each portrait")


def run(options: argparse.Namespace) -> int:
    """Returns the exit status; problems are raised as Failure."""
    photos, checkpoint = _photo_files(options.photos), _checkpoint(options)
    _usable_folder(options.out)
    host = environment.ready(install=options.install)
    if options.base is not None:
        checkpoint = base_models.fetched(host, options.base, options.yes)
    out = _output_folder(options.out)
    sizes = _sizes(options, FOR_CHECKPOINT if checkpoint else FOR_STAND_IN)
    start = time.monotonic()
    with places.temporary_base({"models/facechain_stand_ins": _stand_in_folder()}) as base:
        model = _prepare(host, base, checkpoint)
        _copy_all(photos, base / "input" / PHOTOS)
        log, models = places.home() / "logs" / "demo.log", [host.store() / "models"]
        with Server(host, base, log, device_arguments(host), models=models) as server:
            demo = Demo(server, out, sizes, options.who)
            lora = demo.train(model, bool(photos))
            demo.portraits(model, lora, bool(photos))
            demo.write_page()
    say(f"\nDone in {console.elapsed(time.monotonic() - start)}. Everything is in {out}")
    for warning in demo.warnings():
        say(f"NOTE: {warning}")
    say(f"The page with all results: {out / page.FILE_NAME}")
    return 0


class Demo:
    """The two workflows on a running server, and their results in `out`."""

    def __init__(self, server: Server, out: Path, sizes: Sizes, who: str):
        self.server, self.client, self.out, self.sizes, self.who = server, server.client, out, sizes, who
        self.results = page.Results(sizes=vars(sizes))

    def train(self, model: BaseModel, has_photos: bool) -> Path:
        """Returns the LoRA, copied beside the page."""
        workflow = Workflow(TRAIN)
        workflow.change("FaceChain_LoadPhotos", **_source(has_photos))
        workflow.change("FaceChain_FaceAlign", no_face="Skip")
        workflow.change("FaceChain_Tagger", own_words=self.who)
        model.choose(workflow)
        workflow.change("FaceChain_TrainFaceLoRA", name=NAME, steps=self.sizes.steps, resolution=self.sizes.size)
        outputs = self._run(workflow)
        crops = _trained_names(outputs[workflow.id_of("FaceChain_CheckPhotos")])
        self._save_crops(outputs[workflow.id_of("PreviewImage")]["images"], crops)
        self._save_captions(outputs[workflow.id_of("FaceChain_Tagger")], crops)
        (self.out / "loss.png").write_bytes(self.client.view(outputs[workflow.id_of("LossGraphNode")]["images"][0]))
        lora = next((self.server.base / "models" / "facechain" / "persons").rglob("*.safetensors"))
        copied = self.results.lora = Path(shutil.copy2(lora, self.out / lora.name))
        return copied

    def portraits(self, model: BaseModel, lora: Path, has_photos: bool) -> None:
        workflow = Workflow(PORTRAIT)
        workflow.change("FaceChain_LoadPhotos", **_source(has_photos))
        model.choose(workflow)
        workflow.change("FaceChain_LoRAMerge", face_lora=self._choice_of(lora))
        workflow.change("EmptyLatentImage", width=self.sizes.size, height=self.sizes.size, batch_size=self.sizes.portraits)
        workflow.change("KSampler", steps=self.sizes.sampling_steps)
        workflow.change("CLIPTextEncode", "What to show", text=PROMPT.format(self.who))
        outputs = self._run(workflow)
        rows = outputs[workflow.id_of("FaceChain_RTSRank")]["report"][0]["rows"]
        self._save_portraits(outputs[workflow.id_of("SaveImage")]["images"], rows)

    def write_page(self) -> None:
        (self.out / "reports.json").write_text(json.dumps(self.results.reports, indent=2, ensure_ascii=False), encoding="utf-8")
        page.write(self.out, self.results)

    def warnings(self) -> list[str]:
        return page.warnings(self.results)

    def _run(self, workflow: Workflow) -> dict:
        """The outputs of a successful workflow, by node."""
        say(f"Running {workflow.title}")
        progress = console.Progress(workflow.title)
        folder = self.out / "workflows"
        folder.mkdir(exist_ok=True)
        self.results.workflows += workflow.save(folder)
        try:
            entry = self.client.run(workflow.api, DAY, lambda: progress.show(self.server.last_line()), workflow.editor)
        except (PromptFailed, HttpError, OSError) as error:
            raise _failure(workflow.title, error, self.server) from error
        finally:
            progress.close()
        titles = {number: node["_meta"]["title"] for number, node in workflow.api.items()}
        self.results.add_reports(workflow.title, {titles[number]: shown for number, shown in entry["outputs"].items()})
        return entry["outputs"]

    def _choice_of(self, lora: Path) -> str:
        """The server's name for a LoRA."""
        choices = self.client.object_info("FaceChain_LoRAMerge")["FaceChain_LoRAMerge"]["input"]["required"]["face_lora"][1]["options"]
        return next(choice for choice in choices if Path(choice.replace("\\", "/")).name == lora.name)

    def _save_crops(self, images: list[dict], names: list[str]) -> None:
        for image, name in zip(images, names, strict=True):
            file = self.out / "crops" / f"{Path(name).stem}.png"
            self._save(image, file)
            self.results.crops.append(file)

    def _save_captions(self, shown: dict, names: list[str]) -> None:
        captions = [row["values"]["caption"] for row in shown["report"][0]["rows"]]
        self.results.captions = captions
        lines = [f"{name}\t{caption}\n" for name, caption in zip(names, captions, strict=True)]
        (self.out / "captions.txt").write_text("".join(lines), encoding="utf-8")

    def _save_portraits(self, images: list[dict], rows: list[dict]) -> None:
        """The server saved them best first, in the order of the rows; rows of skipped pictures come last."""
        for place, image in enumerate(images, 1):
            file = self.out / "portraits" / f"{place:02d}.png"
            self._save(image, file)
            self.results.portraits.append(file)
        self.results.ranking = [
            {"place": place, "file": f"portraits/{place:02d}.png", **row["values"], "status": row["status"], "reason": row["reason"]}
            for place, row in enumerate(rows[: len(images)], 1)
        ]
        (self.out / "ranking.json").write_text(json.dumps(self.results.ranking, indent=2), encoding="utf-8")
        with (self.out / "ranking.csv").open("w", newline="", encoding="utf-8") as table:
            writer = csv.DictWriter(table, list(self.results.ranking[0]))
            writer.writeheader()
            writer.writerows(self.results.ranking)

    def _save(self, image: dict, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(self.client.view(image))


def _failure(title: str, error: Exception, server: Server) -> Failure:
    if not server.is_running():
        return Failure(
            title, f"ComfyUI ended:\n    {server.tail()}", f"The log is {server.log}. Out of memory is the usual cause: try --size 256."
        )
    return Failure(title, str(error), f"Fix the error it reports, then run this again (log: {server.log}).")


def _photo_files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    step = f"reading the photos in {folder}"
    if not folder.is_dir():
        raise Failure(step, "it is not a folder", "Give --photos a folder with photos of one person.")
    files = sorted(file for file in folder.iterdir() if (mimetypes.guess_type(file.name)[0] or "").startswith("image/"))
    if not files:
        raise Failure(step, "there is no picture in it", "Give --photos a folder with photos of one person, as JPEG or PNG.")
    return files


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
    for item in [*(folder / name for name in OURS), *folder.glob(f"{NAME}*.safetensors")]:
        places.remove(item)
    (folder / page.FILE_NAME).write_text("The demo has not finished yet.", encoding="utf-8")
    return folder


def _sizes(options: argparse.Namespace, defaults: Sizes) -> Sizes:
    given = {name: getattr(options, name) for name in vars(defaults)}
    return Sizes(**{name: value if given[name] is None else given[name] for name, value in vars(defaults).items()})


def _stand_in_folder() -> Path:
    folder = places.home() / "demo"
    folder.mkdir(exist_ok=True)
    return folder


def _stand_in_sources() -> list[Path]:
    """The code that determines the stand-ins: when it changes they are made again."""
    return [file for pattern in STAND_IN_SOURCES for file in sorted((places.ROOT / "facechain_impl").glob(pattern))]


def _prepare(host: Host, base: Path, checkpoint: Path | None) -> BaseModel:
    """Stand-ins for missing files; the base model where the host looks for it."""
    folder = _stand_in_folder()
    words = ["rts"] if checkpoint else ["rts", "--checkpoint"]
    log, env = places.home() / "logs" / "stand-ins.log", environment.pack_env(host)
    command = environment.pack_command(host, base, "stand-ins", folder, *words)
    action = partial(console.call, command, "making stand-ins", "Run this again.", log, env)
    title = "Stand-ins for weights that are not here"
    Stamps(folder / "steps").run([Step("-".join(words), title, fingerprint(*_stand_in_sources()), action)])
    return base_models.place(checkpoint or next(folder.glob("stand-in-*.safetensors")), base)


def _copy_all(files: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _source(has_photos: bool) -> dict:
    return {"source": "Folder", "folder": PHOTOS} if has_photos else {"source": "Sample photo"}


def _trained_names(shown: dict) -> list[str]:
    return [row["name"] for row in shown["report"][0]["rows"] if row["status"] != "left out"]
