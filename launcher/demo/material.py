"""What the demo works with: people and their pictures, the base model, and stand-ins for weights that are not here."""

from __future__ import annotations

import mimetypes
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import base_models, console, environment, places
from ..base_models import BaseModel
from ..console import Failure
from ..hosts import Host
from ..stamps import Stamps, Step, fingerprint

ASSETS = places.ROOT / "assets"
POCKET = ASSETS / "pocket-model.safetensors"
POCKET_FILE = "facechain-pocket-model.safetensors"
PAINTINGS, DRAWN = ASSETS / "paintings", ASSETS / "drawn"
CANVAS = PAINTINGS / "mona_lisa.jpg"
CANVAS_FACE = PAINTINGS / "mona_lisa_face.png"
CANVAS_FOLDER = "painted_into"
CANVAS_TITLE = "Mona Lisa, Leonardo da Vinci, about 1503 to 1506"
STAND_IN_SOURCES = ("weights/stand_ins/*.py", "networks/rts.py")
POCKET_SOURCES = ("weights/pocket.py", "host/checkpoints.py")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody to train. name: of folders and of the LoRA. credit: whose picture it is. held_out: a picture that is not trained on."""

    name: str
    title: str
    photos: tuple[Path, ...]
    credit: str = ""
    held_out: Path | None = None
    is_sample: bool = True

    @property
    def comparison(self) -> str:
        """The folder, in the server's input, of the pictures that portraits are compared with."""
        return f"{self.name}_held_out" if self.held_out else self.name


GIRL = Person(
    name="girl_with_a_pearl_earring", title="Girl with a Pearl Earring", credit="Johannes Vermeer, about 1665; public domain",
    photos=(PAINTINGS / "girl_with_a_pearl_earring.jpg",),
)  # fmt: skip
MONA_LISA = Person(
    name="mona_lisa",
    title="Mona Lisa",
    credit="Leonardo da Vinci, about 1503 to 1506; public domain",
    photos=(PAINTINGS / "mona_lisa.jpg",),
)
ASTRONAUT = Person(
    name="eileen_collins",
    title="Eileen Collins",
    credit="photograph by NASA; public domain",
    photos=(ASSETS / "sample" / "eileen_collins.png",),
)
DRAWN_PERSON = Person(
    name="drawn_person", title="A person who does not exist", credit="drawn by a program of this project",
    photos=tuple(DRAWN / f"view_{number}.png" for number in range(1, 7)), held_out=DRAWN / "held_out.png",
)  # fmt: skip
SAMPLES = (GIRL, DRAWN_PERSON, MONA_LISA, ASTRONAUT)


def people(folder: Path | None, is_pocket: bool) -> tuple[Person, ...]:
    """Those of the demo: the person in the user's photos; else four for the pocket model, and one for a base model, which takes longer.

    Raises Failure."""
    if folder is not None:
        return (Person(name="demo", title="The person in your photos", photos=tuple(_photo_files(folder)), is_sample=False),)
    return SAMPLES if is_pocket else (ASTRONAUT,)


def _photo_files(folder: Path) -> list[Path]:
    step = f"reading the photos in {folder}"
    if not folder.is_dir():
        raise Failure(step, "it is not a folder", "Give --photos a folder with photos of one person.")
    files = sorted(file for file in folder.iterdir() if (mimetypes.guess_type(file.name)[0] or "").startswith("image/"))
    if not files:
        raise Failure(step, "there is no picture in it", "Give --photos a folder with photos of one person, as JPEG or PNG.")
    return files


def require_pocket() -> None:
    """Raises Failure in a copy of the pack that came without the pocket model."""
    if not POCKET.is_file():
        raise Failure(
            "looking for the pocket model, the demo's own small base model",
            f"{POCKET} is not there: copies of the pack from ComfyUI's registry come without it",
            "Get the pack with `git clone`, or give a base model: --checkpoint FILE, or --base film to download one.",
        )


def place_inputs(chosen: tuple[Person, ...], base: Path) -> None:
    """Everybody's pictures, and the picture to paint into with its mask, in the input folder of a server."""
    for person in chosen:
        _copy_all(person.photos, base / "input" / person.name)
        if person.held_out:
            _copy_all((person.held_out,), base / "input" / person.comparison)
    _copy_all((CANVAS,), base / "input" / CANVAS_FOLDER)
    _copy_all((CANVAS_FACE,), base / "input")


def _copy_all(files: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)


def made_folder() -> Path:
    """Where what the demo makes itself is kept for the next time. The server reads stand-ins there."""
    folder = places.home() / "demo"
    folder.mkdir(exist_ok=True)
    return folder


def prepare(host: Host, base: Path, checkpoint: Path | None) -> BaseModel:
    """Make the stand-ins and the pocket model, and put the base model where the host looks for it. Raises Failure."""
    folder = made_folder()
    steps = [_step(host, base, "rts", "A stand-in for the face recognition", STAND_IN_SOURCES, "stand-ins", folder, "rts")]
    if checkpoint is None:
        target = folder / POCKET_FILE
        steps.append(_step(host, base, "pocket", "The pocket model", POCKET_SOURCES, "pocket", target, also=(POCKET,)))
    Stamps(folder / "steps").run(steps)
    return base_models.place(checkpoint or folder / POCKET_FILE, base)


def _step(host: Host, base: Path, name: str, title: str, sources: Sequence[str], *words: str | Path, also: Sequence[Path] = ()) -> Step:
    """A command of the pack, repeated when the code that decides its result, or one of the files `also`, has changed."""
    log, command = places.home() / "logs" / f"{name}.log", environment.pack_command(host, base, *words)
    action = partial(console.call, command, f"making {title[0].lower()}{title[1:]}", "Run this again.", log, environment.pack_env(host))
    return Step(name, title, fingerprint(*source_files(sources), *also), action)


def source_files(patterns: Sequence[str]) -> list[Path]:
    return [file for pattern in patterns for file in sorted((places.ROOT / "facechain_impl").glob(pattern))]
