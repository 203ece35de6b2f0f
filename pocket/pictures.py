"""What the pocket model is taught: painted portraits from a list with their hashes, varied, and drawn people. 128 px, RGB."""

from __future__ import annotations

import csv
import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from . import drawn
from .captions import Words

LIST = Path(__file__).with_name("pictures.tsv")
SIDE = drawn.SIDE
DRAWN_SEED, PAINTED_SEED = 1000, 2000


@dataclass(frozen=True)
class Painting:
    """A row of the list. box: the face as x, y, width, height in pixels, found by a detector and looked at."""

    file: str
    sha256: str
    box: tuple[int, int, int, int]
    words: Words
    title: str
    source: str
    licence: str


@dataclass(frozen=True)
class Numbers:
    """How many painted pictures in all, drawn people, and pictures of each of them."""

    painted: int = 12000
    people: int = 800
    views: int = 5


class WrongPictures(Exception):
    """The folder of pictures is not what the list names."""


def paintings(path: Path = LIST) -> list[Painting]:
    with path.open(encoding="utf-8", newline="") as lines:
        return [_painting(row) for row in csv.DictReader(lines, delimiter="\t")]


def _painting(row: dict[str, str]) -> Painting:
    x, y, width, height = map(int, row["face"].split())
    words = Words("painting", row["sex"], tuple(filter(None, row["shows"].split(", "))))
    return Painting(row["file"], row["sha256"], (x, y, width, height), words, row["title"], row["source"], row["licence"])


def check(folder: Path, listed: list[Painting]) -> None:
    """Raises WrongPictures where a listed picture is missing or another one. Others in the folder are not used."""
    missing = [one.file for one in listed if not (folder / one.file).is_file()]
    changed = [one.file for one in listed if one.file not in missing and _sha256(folder / one.file) != one.sha256]
    said = [f"{len(names)} {what}, such as {names[0]}" for what, names in (("missing", missing), ("other than listed", changed)) if names]
    if said:
        raise WrongPictures(
            f"{folder} does not hold the {len(listed)} pictures of {LIST.name}: {'; '.join(said)}. Get them from the sources named there."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make(folder: Path, listed: list[Painting], numbers: Numbers) -> tuple[np.ndarray, list[Words]]:
    """All pictures, (N, 128, 128, 3) uint8, and what each shows. The same on every machine with the same OpenCV and NumPy."""
    times = -(-numbers.painted // len(listed))
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        painted = pool.map(partial(_variants, folder, times), listed)
        people = pool.map(partial(_views, numbers.views), range(numbers.people))
    words = [one.words for one in listed for _ in range(times)]
    words += [_person(number).words for number in range(numbers.people) for _ in range(numbers.views)]
    return np.stack([*(picture for part in painted for picture in part), *(picture for part in people for picture in part)]), words


def _person(number: int) -> drawn.DrawnPerson:
    return drawn.person(np.random.default_rng([DRAWN_SEED, number]))


def _views(views: int, number: int) -> list[np.ndarray]:
    rng = np.random.default_rng([DRAWN_SEED, number, 1])
    return [drawn.draw(_person(number), drawn.view(rng), SIDE, seed) for seed in range(views)]


def _variants(folder: Path, times: int, painting: Painting) -> list[np.ndarray]:
    cv2.setNumThreads(1)
    picture = cv2.imread(str(folder / painting.file), cv2.IMREAD_COLOR)
    if picture is None:
        raise WrongPictures(f"{painting.file} is no picture that OpenCV reads.")
    seed = int(painting.sha256[:8], 16)
    return list(variants(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), painting.box, np.random.default_rng([PAINTED_SEED, seed]), times))


def variants(picture: np.ndarray, box: tuple[int, int, int, int], rng: np.random.Generator, times: int) -> Iterator[np.ndarray]:
    """Crops of a face, mirrored, shifted, turned, scaled and lit in other ways."""
    x, y, width, height = box
    for _ in range(times):
        reach = max(width, height) * rng.uniform(1.3, 2.0)
        middle = np.array([x + width / 2, y + height / 2]) + rng.uniform(-0.08, 0.08, 2) * reach
        crop = _crop(picture, middle, reach, rng.normal(0, 4))
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        yield _relit(crop, rng)


def _crop(picture: np.ndarray, middle: np.ndarray, reach: float, angle: float) -> np.ndarray:
    fine = 2 * SIDE
    matrix = cv2.getRotationMatrix2D((float(middle[0]), float(middle[1])), angle, fine / reach)
    matrix[:, 2] = matrix[:, 2] + fine / 2 - middle
    crop = cv2.warpAffine(picture, matrix, (fine, fine), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.resize(crop, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _relit(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    light = crop.astype(np.float32) / 255
    light = light ** rng.uniform(0.75, 1.25) * rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    across, down = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE))
    slope = rng.uniform(-0.15, 0.15, 2)
    light = light * (1 + slope[0] * across + slope[1] * down)[..., None]
    grey = light.mean(-1, keepdims=True)
    light = grey + (light - grey) * rng.uniform(0.7, 1.25)
    return (np.clip(light, 0, 1) * 255 + 0.5).astype(np.uint8)
