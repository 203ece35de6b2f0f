"""What a parity test works with: one fixture file as a Case, and the Book of everything that was compared."""

from __future__ import annotations

import ast
import json
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from launcher.testing import NEEDS_PHOTOGRAPHS

from . import recipe

HERE = Path(__file__).parent
KEYS = HERE / "keys"
TALKING = "sadtalker"
MAIN = """
align damofd deepdanbooru fact fairface flcm fusion_aei fusion_arcface fusion_blend fusion_gpen1024 fusion_recon geometry lora
m2fp onnx_inputs retinaface rts skin
"""
TALKING_HEAD = """
align animate_128_full animate_256 audio2exp audio2pose blink crop enhancer fan generator_128 generator_512 gfpgan kp_extractor
kp_transform mapping70 mapping73 mel parsenet poisson recon render_data retinaface
"""
KNOWN = {f"{name}.npz" for name in MAIN.split()} | {"tables.json", "README.md", "recipe.py"}
KNOWN_TALKING = {f"{name}.npz" for name in TALKING_HEAD.split()} | {"README.md", "fingerprints.tsv", "recipe_sadtalker.py"}
PARTS = ("sample", "stride", "shape", "stats")


class Case:
    """One fixture file. Every array in it ends up in one of three sets, or the run fails.

    case.seed                                   the seed of its weights and inputs
    case.random("flcm.x", "x_shape", 0, 255)    the input stream of the recipe, in the stored shape
    case.network(LandmarkConfidence, "flcm")    the network with the recipe's weights, from keys/flcm.tsv or its own layout
    case.input("photo_boxes")                   a stored array, marked as an input
    case.labels(), case.photo("main")           which photographs it was made from, and their pixels: RGB uint8 [H, W, 3]
    case.compare("cls", mine, max=1e-4)         compare a whole or sampled array (and its statistics); no limit means equal
    case.compare_rows(["main_boxes"], mine)     detections, matched as sets
    case.bits("post_masks")                     a stored bit mask, marked as an input: compare yours with `agree`
    case.uses("photo_dtype")                    arrays that a test has no other use for

    Arrays are float32 numpy or torch; a name is that of the whole array, without _sample, _stride, _shape, _stats. With the
    committed data, which hold nothing made from photographs, comparing an absent array does nothing and reading one skips the test.
    """

    def __init__(self, name: str, path: Path, photos: Path, committed: bool = False):
        self.name, self.path, self.photos, self.committed = name, path, photos, committed
        self.compared: set[str] = set()
        self.inputs: set[str] = set()
        self._other_decoder: set[str] = set()

    @cached_property
    def arrays(self) -> dict:
        if self.path.suffix == ".json":
            return json.loads(self.path.read_text(encoding="utf-8"))
        with np.load(self.path) as stored:
            return {name: stored[name] for name in stored.files}

    @cached_property
    def separator(self) -> str:
        return separator_of(self.path)

    @cached_property
    def names(self) -> set[str]:
        """The arrays of the file, a sampled one once and without its parts."""
        return {self._whole(name) for name in self.arrays}

    def _whole(self, name: str) -> str:
        return whole_name(name, self.arrays, self.separator)

    @property
    def seed(self) -> int:
        return int(self.input("seed")) if "seed" in self.names else 1

    def has(self, name: str) -> bool:
        return name in self.names

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the whole array `name`, which is not marked by this."""
        sampled = self.arrays.get(name + self.separator + "shape") if name not in self.arrays else None
        return tuple(int(n) for n in sampled) if sampled is not None else np.shape(self.arrays[name])

    def input(self, name: str):
        """The stored array (or text, or JSON value) `name`, marked as an input."""
        if name not in self.arrays:
            if self.committed and photographs_of(self.arrays):
                pytest.skip(NEEDS_PHOTOGRAPHS)
            pytest.fail(f"{self.path} has no array {name!r}")
        self.inputs.add(self._whole(name))
        value = self.arrays[name]
        return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value

    def uses(self, *names: str) -> None:
        for name in names:
            self.input(name)

    def random(self, stream: str, shape: str | tuple[int, ...], low: float, high: float) -> torch.Tensor:
        """The recipe's input `stream`, float32; `shape` is a tuple or the name of the array that holds it."""
        size = tuple(int(n) for n in self.input(shape)) if isinstance(shape, str) else shape
        return torch.from_numpy(recipe.array(stream, size, low, high, self.seed))

    def weights(self, keys: str, layout: dict, make: Callable = recipe.make) -> dict[str, torch.Tensor]:
        """The recipe's weights for the key list `keys`, or for `layout` where there is none."""
        listed = self.key_list(keys)
        rows = recipe.read_keys(listed) if listed.is_file() else rows_of(layout)
        arrays = make(rows, self.seed)
        expected = fingerprint_of(listed, self.seed)
        assert expected in (None, recipe.fingerprint(arrays)), f"the stand-in weights of {keys} are not those of the fixture"
        return {name: torch.from_numpy(np.require(array, requirements="CW")) for name, array in arrays.items()}

    def key_list(self, name: str) -> Path:
        """The list of the fixture folder, or the committed one where the folder has none."""
        own = self.path.parent / "keys" / f"{name}.tsv"
        return own if own.is_file() else KEYS / (TALKING if self.path.parent.name == TALKING else "") / own.name

    def network(self, network: type, keys: str, make: Callable = recipe.make) -> torch.nn.Module:
        """`network` with the recipe's weights, loaded as the pack loads a published file."""
        return network.from_state_dict(self.weights(keys, network.layout(), make))

    def labels(self) -> list[str]:
        """The photographs behind this file: "main", "portrait"... Skips the test where the file holds nothing made from them."""
        found = sorted({name.split("_")[1] for name in photographs_of(self.arrays)})
        if not found or self.committed:
            pytest.skip(NEEDS_PHOTOGRAPHS)
        return found

    def photo(self, label: str) -> np.ndarray:
        """The decoded photograph, RGB uint8 [H, W, 3]. Skips the test where no photographs are on this machine."""
        if self.committed or not self.photos.is_dir():
            pytest.skip(NEEDS_PHOTOGRAPHS)
        path = self.photos / str(self.input(f"photo_{label}_name"))
        if not path.is_file():
            pytest.fail(f"{path} is not there, but {self.path.name} was made from it. Name the folder of the pictures with --photos.")
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        assert pixels.shape == tuple(self.input(f"photo_{label}_shape"))
        if zlib.crc32(pixels.tobytes()) != int(self.input(f"photo_{label}_crc32")):
            self._other_decoder.add(label)
        return pixels

    def picture(self, label: str) -> torch.Tensor:
        """The photograph as the pack's nodes see it: float32 RGB [H, W, 3] in 0..1."""
        return torch.from_numpy(self.photo(label).astype(np.float32) / 255)

    def compare(
        self,
        name: str,
        mine,
        *,
        max: float = 0.0,
        rel: float | None = None,
        mean: float | None = None,
        share: float = 1.0,
        photo: str = "",
    ) -> None:
        """Fail unless `mine` is the array `name`: at least `share` of it within `max`, ||difference|| <= rel * ||expected||, and
        the average difference at most `mean`.

        With `rel` alone no limit is put on single elements. `photo` names the photograph that `mine` was computed from, so that a
        machine whose decoder gives other pixels gets ten times the limits, and two levels for uint8, as the fixtures ask."""
        if self.committed and name not in self.names:
            return
        mine = as_array(mine)
        expected, mine = self._expected(name, mine)
        if expected.dtype.kind in "USOb":
            assert np.array_equal(expected, mine), f"{self.name} {name}: {mine} instead of {expected}"
        else:
            limit = np.inf if rel is not None and not max else max
            if photo in self._other_decoder:
                limit, rel = (2.0, rel) if expected.dtype == np.uint8 else (limit * 10, rel and rel * 10)
            close(f"{self.name} {name}", expected, mine, limit, rel, mean, share)
        self.compared.add(name)

    def _expected(self, name: str, mine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The stored elements of `name` and the same elements of `mine`, flat where the array is sampled."""
        sample = name + self.separator + "sample"
        if name not in self.names:
            pytest.fail(f"{self.path} has no array {name!r}")
        assert mine.shape == self.shape(name), f"{self.name} {name}: shape {mine.shape} instead of {self.shape(name)}"
        stats = self.arrays.get(name + self.separator + "stats")
        if stats is not None:
            self._check_stats(name, mine, stats)
        if sample not in self.arrays:
            return np.asarray(self.arrays[name]), mine
        return self.arrays[sample], mine.reshape(-1)[:: int(self.arrays[name + self.separator + "stride"])]

    def _check_stats(self, name: str, mine: np.ndarray, stats: np.ndarray) -> None:
        """A coarse look at what lies between the samples."""
        wide = mine.astype(np.float64)
        found = np.array([wide.mean(), wide.std(), np.abs(wide).max()])
        assert np.abs(found - stats).max() <= 0.01 * max(stats[2], 1e-12), f"{self.name} {name}: mean, std, max {found} instead of {stats}"

    def compare_rows(
        self, names: list[str], mine, *, box: float = 1e-2, score: float = 1e-4, share: float = 0.99, count: str = "", photo: str = ""
    ) -> None:
        """Fail unless `share` of the stored detections have a partner in `mine`, rows x0 y0 x1 y1 score then coordinates.

        `names`: arrays that hold the columns, side by side. `count`: the array with the number of detections before the file
        cut them; without one the numbers of rows must agree, to 1 - `share`."""
        if self.committed and not set(names) <= self.names:
            return
        mine = as_array(mine).astype(np.float64)
        expected = np.hstack([as_array(self.input(name)) for name in names]).astype(np.float64)
        total = int(self.input(count)) if count else len(expected)
        assert abs(len(mine) - total) <= (1 - share) * total, f"{self.name} {names}: {len(mine)} rows instead of {total}"
        factor = 10 if photo in self._other_decoder else 1
        limits = np.full(expected.shape[1], box * factor)
        limits[4] = score * factor
        matched = paired(expected, mine, limits)
        assert matched >= share * len(expected), f"{self.name} {names}: {matched} of {len(expected)} rows have a partner"
        self.compared.update(names)

    def bits(self, name: str) -> np.ndarray:
        """The bit mask stored as NAME_bits with NAME_shape, bool. Counted as compared once handed to `agree`."""
        shape = tuple(self.input(f"{name}_shape"))
        packed = np.unpackbits(self.input(f"{name}_bits"))
        return packed[: int(np.prod(shape))].reshape(shape).astype(bool)

    def agree(self, name: str, expected: np.ndarray, mine: np.ndarray, iou: float = 0.999, stray: int = 2) -> None:
        """Fail unless every mask of `mine` [N, ...] overlaps its partner in `expected` by `iou`, or but for `stray` pixels; counts
        NAME_bits."""
        assert expected.shape == mine.shape, f"{self.name} {name}: shape {mine.shape} instead of {expected.shape}"
        axes = tuple(range(1, expected.ndim))
        union, differing = (expected | mine).sum(axes), (expected ^ mine).sum(axes)
        wrong = differing > np.maximum((1 - iou) * union, stray)
        assert not wrong.any(), f"{self.name} {name}: {differing[wrong].tolist()} pixels differ in masks of {union[wrong].tolist()}"
        self.compared.add(f"{name}_bits")

    def untouched(self) -> list[str]:
        """The arrays that no test compared or used. Tests of photographs do not run on the committed data."""
        spared = photographs_of(self.arrays) if self.committed else []
        return sorted(self.names - self.compared - self.inputs - {"seed", *spared})


@dataclass(frozen=True)
class Ready:
    """Stands where perception classes expect a network under the host's memory manager."""

    network: torch.nn.Module
    device: str = "cpu"
    origin: str = "published"

    def load(self) -> torch.nn.Module:
        return self.network


def separator_of(file: Path) -> str:
    """What stands between the name of an array and that of its part in a fixture file."""
    return "__" if file.parent.name == TALKING else "_"


def whole_name(name: str, stored: Iterable[str], separator: str) -> str:
    """The array that the stored entry `name` is a part of, or `name`."""
    for part in PARTS:
        base = name.removesuffix(separator + part)
        if base != name and (base in stored or base + separator + "sample" in stored):
            return base
    return name


def photographs_of(stored: Iterable[str]) -> list[str]:
    """The entries that say which photographs a fixture file was made from."""
    labels = [name[6:-5] for name in stored if re.fullmatch("photo_[a-z]+_name", name)]
    return [f"photo_{label}_{part}" for label in labels for part in ("name", "shape", "crc32")]


def as_array(value) -> np.ndarray:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


def close(what: str, expected: np.ndarray, mine: np.ndarray, limit: float, rel, mean, share: float) -> None:
    difference = np.abs(mine.astype(np.float64) - expected.astype(np.float64))
    assert np.isfinite(difference).all(), f"{what}: not finite"
    inside = float((difference <= limit).mean()) if difference.size else 1.0
    assert inside >= share, f"{what}: differs by up to {difference.max():.3g}, {inside:.4%} lie within {limit:.3g}"
    if rel is not None:
        norm = float(np.linalg.norm(difference) / max(np.linalg.norm(expected.astype(np.float64)), 1e-300))
        assert norm <= rel, f"{what}: relative difference {norm:.3g}, at most {rel:.3g}"
    if mean is not None:
        assert difference.mean() <= mean, f"{what}: differs by {difference.mean():.3g} on average, at most {mean:.3g}"


def paired(expected: np.ndarray, mine: np.ndarray, limits: np.ndarray) -> int:
    """How many rows of `expected` have a row of `mine` of their own within `limits` [columns]."""
    free = np.ones(len(mine), bool)
    for row in expected:
        near = np.flatnonzero(free & (np.abs(mine - row) <= limits).all(1))
        if near.size:
            free[near[np.abs(mine[near] - row).max(1).argmin()]] = False
    return int(len(mine) - free.sum())


def rows_of(layout: dict) -> list[tuple[str, tuple[int, ...], str]]:
    return [(name, shape, str(dtype).removeprefix("torch.")) for name, (shape, dtype) in layout.items()]


def fingerprint_of(keys: Path, seed: int) -> int | None:
    """The crc32 that a key list (or the talking head's table) states for the weights of `seed`, None where it states none."""
    tables = [folder / "fingerprints.tsv" for folder in (keys.parent, keys.parent.parent)]
    lines = [line for table in tables if table.is_file() for line in table.read_text(encoding="utf-8").splitlines()]
    stated = {(name, int(number)): int(crc) for name, number, _, crc in map(str.split, lines)}
    if keys.is_file():
        heads = [line.split() for line in keys.read_text(encoding="utf-8").splitlines() if line.startswith("# crc32 seed ")]
        stated |= {(keys.stem, int(head[3])): int(head[4]) for head in heads}
    return stated.get((keys.stem, seed))


@dataclass
class Book:
    """The fixture folder of a run: its files, the cases opened, and which test modules ran to their end."""

    folder: Path
    photos: Path
    committed: bool
    cases: dict[str, Case] = field(default_factory=dict)
    expected: dict[Path, int] = field(default_factory=dict)
    finished: dict[Path, int] = field(default_factory=dict)
    partial: set[Path] = field(default_factory=set)

    def open(self, name: str) -> Case:
        """The case of "flcm", "tables" or "sadtalker/fan". Skips the test when the folder has no such file."""
        if name not in self.cases:
            path = self.files.get(name)
            if path is None:
                pytest.skip(f"{self.folder} has no {name}")
            self.cases[name] = Case(name, path, self.photos, self.committed or HERE in path.parents)
        return self.cases[name]

    @cached_property
    def files(self) -> dict[str, Path]:
        """Name -> fixture file of the folder, or of the repository where it was recorded for this repository alone."""
        main = {path.stem: path for path in sorted(self.folder.glob("*.*")) if path.suffix in (".npz", ".json")}
        return recorded() | main | {f"{TALKING}/{path.stem}": path for path in sorted((self.folder / TALKING).glob("*.npz"))}

    def complete(self, module: Path) -> bool:
        return module not in self.partial and 0 < self.expected.get(module, 0) == self.finished.get(module, 0)

    def problems(self) -> list[str]:
        """What is wrong with this run besides failed tests."""
        tested = declared(HERE.glob("test_*.py"))
        found = [f"{path} is no fixture that the READMEs name" for path in self._strangers()]
        if all(self.complete(module) for module in HERE.glob("test_*.py")):
            found += [f"{name} has no test" for name in self.files if name not in tested]
        for name, modules in tested.items():
            if name in self.files and all(self.complete(module) for module in modules):
                untouched = self.cases[name].untouched() if name in self.cases else ["the whole file"]
                found += [f"{name}: never compared or used: {', '.join(untouched)}"] if untouched else []
                compared = len(self.cases[name].compared) if name in self.cases else 0
                if self.committed and compared < (least := floor().get(name, 1)):
                    found.append(f"{name}: {compared} arrays compared, there were {least}")
        return found

    def _strangers(self) -> list[Path]:
        here = [path for path in self.folder.iterdir() if path.is_file() and path.name not in KNOWN and path.stem not in recorded()]
        talking = self.folder / TALKING
        there = [path for path in talking.iterdir() if path.is_file() and path.name not in KNOWN_TALKING] if talking.is_dir() else []
        return here + there

    def lines(self) -> list[str]:
        rows = sorted(self.cases.items())
        lines = [
            f"{name}: {len(case.compared)} of {len(case.names)} arrays compared, {len(case.inputs - case.compared)} used as input"
            for name, case in rows
        ]
        count = sum(len(case.compared) for case in self.cases.values())
        return [*lines, f"{count} arrays of {len(rows)} fixture files compared"] if rows else []

    def told(self) -> dict:
        """What a process of a parallel run tells the one that started it, in plain words and numbers."""
        cases = {name: [sorted(case.compared), sorted(case.inputs)] for name, case in self.cases.items()}
        counts = [{str(path): count for path, count in counted.items()} for counted in (self.expected, self.finished)]
        return {"cases": cases, "expected": counts[0], "finished": counts[1], "partial": [str(path) for path in self.partial]}

    def add(self, told: dict) -> None:
        """Take in what another process compared. Each collects every test and runs some of them."""
        for name, (compared, inputs) in told["cases"].items():
            case = self.open(name)
            case.compared |= set(compared)
            case.inputs |= set(inputs)
        self.expected = {Path(path): count for path, count in told["expected"].items()}
        for path, count in told["finished"].items():
            self.finished[Path(path)] = self.finished.get(Path(path), 0) + count
        self.partial |= {Path(path) for path in told["partial"]}


@cache
def floor() -> dict[str, int]:
    """How many arrays of each committed file are compared, at least: neither a shorter extract nor a test that stops comparing passes."""
    rows = (line.split("\t") for line in (HERE / "floor.tsv").read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    return {name: int(count) for name, count in rows}


def declared(modules: Iterable[Path]) -> dict[str, set[Path]]:
    """Fixture name -> the test modules whose FIXTURES tuple names it."""
    found: dict[str, set[Path]] = {}
    for module in modules:
        for statement in ast.parse(module.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") == "FIXTURES":
                for name in ast.literal_eval(statement.value):
                    found.setdefault(name, set()).add(module)
    return found


def recorded() -> dict[str, Path]:
    """Fixture name -> committed file, of those that `record` wrote: a test declares them, and the whole fixtures have none of them."""
    files = {path.stem: path for path in (HERE / "data").glob("*.npz") if path.name not in KNOWN}
    return {name: files[name] for name in declared(HERE.glob("test_*.py")) if name in files}
