"""The harness itself: it must not let anything through."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_impl.networks.flcm import FLCM
from facechain_impl.perception.landmark_confidence import LandmarkConfidence
from launcher.testing import shared_folder

from . import extract, harness, recipe, record
from .harness import HERE, KNOWN, KNOWN_TALKING, TALKING, Book, Case, Ready, declared, photographs_of, recorded, rows_of
from .test_flcm import landmarks

ROOT = HERE.parent.parent
MEGABYTES = 12.0


@pytest.fixture
def stored(tmp_path):
    """A fixture file with a whole, a sampled and a byte array, a list of words and a photograph."""
    whole = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    arrays = {"seed": 3, "whole": whole, "bytes": np.array([10, 20, 30], np.uint8), "words": np.array(["a", "b"]), "x_shape": (2, 3)}
    arrays |= {"big_sample": whole.ravel()[::5], "big_stride": 5, "big_shape": whole.shape}
    arrays |= {"big_stats": np.float32([whole.mean(), whole.std(), 1])}
    arrays |= {"photo_main_name": "a.png", "photo_main_shape": pixels.shape, "photo_main_crc32": 1}
    np.savez(tmp_path / "flcm.npz", **arrays)
    return Case("flcm", tmp_path / "flcm.npz", tmp_path), whole


def test_whole_and_sampled_arrays(stored):
    case, whole = stored
    assert case.names == {"seed", "whole", "big", "bytes", "words", "x_shape", "photo_main_name", "photo_main_shape", "photo_main_crc32"}
    case.compare("whole", whole + 1e-5, max=1e-4)
    case.compare("big", torch.from_numpy(whole), rel=1e-6)
    case.compare("words", ["a", "b"])
    assert case.compared == {"whole", "big", "words"}


@pytest.mark.parametrize(
    ("name", "change", "limits"),
    [
        ("whole", lambda whole: whole + 1e-3, {"max": 1e-4}),
        ("whole", lambda whole: whole * 1.01, {"rel": 1e-3}),
        ("whole", lambda whole: whole + 1e-3, {"max": 1.0, "mean": 1e-4}),
        ("whole", lambda whole: whole.T, {"max": 9.0}),
        ("whole", lambda whole: whole * np.nan, {"max": 9.0}),
        ("whole", lambda whole: np.nextafter(whole, 2), {}),
        ("big", lambda whole: whole + 1e-3 * (np.arange(12).reshape(3, 4) == 5), {"max": 1e-4}),
        ("big", lambda whole: whole + 0.5 * (np.arange(12).reshape(3, 4) == 6), {"max": 1e-4}),
        ("bytes", lambda whole: np.array([10, 20, 32], np.uint8), {"max": 1}),
        ("words", lambda whole: ["b", "a"], {}),
    ],
)
def test_differences_fail(stored, name, change, limits):
    case, whole = stored
    with pytest.raises(AssertionError, match=f"flcm {name}"):
        case.compare(name, change(whole), **limits)
    assert not case.compared


def test_another_decoder_gets_ten_times_the_limit_where_the_photo_counts(stored):
    case, whole = stored
    assert case.photo("main").shape == (6, 5, 3)
    case.compare("whole", whole + 5e-4, max=1e-4, photo="main")
    case.compare("bytes", np.array([12, 20, 30], np.uint8), max=1, photo="main")
    with pytest.raises(AssertionError):
        case.compare("whole", whole + 5e-4, max=1e-4)


def test_rows_are_matched_as_sets(tmp_path):
    boxes = np.random.default_rng(1).random((200, 5)) * [99, 99, 99, 99, 1]
    np.savez(tmp_path / "flcm.npz", boxes=boxes[:100], count=200)
    case = Case("flcm", tmp_path / "flcm.npz", tmp_path)
    shuffled = boxes[::-1] + 1e-3 * np.array([1, -1, 1, -1, 0.01])
    case.compare_rows(["boxes"], shuffled, count="count")
    for wrong in (shuffled + 0.1, shuffled[:190], np.vstack([shuffled[:100], shuffled[:100]])):
        with pytest.raises(AssertionError, match="rows"):
            case.compare_rows(["boxes"], wrong, count="count")


def test_unknown_files_and_untouched_arrays_are_problems(tmp_path):
    (tmp_path / "sadtalker").mkdir()
    for name in ("flcm.npz", "new.npz", "sadtalker/other.npz", "sadtalker/fan.npz", "README.md"):
        np.savez(tmp_path / name, cls=np.zeros(1)) if name.endswith("npz") else (tmp_path / name).touch()
    book = Book(tmp_path, tmp_path, committed=False)
    strange = [problem.split(" is no fixture")[0] for problem in book.problems()]
    assert sorted(Path(path).name for path in strange) == ["new.npz", "other.npz"]
    module = HERE / "test_flcm.py"
    book.expected[module] = book.finished[module] = 2
    assert "flcm: never compared or used: the whole file" in book.problems()
    case = book.open("flcm")
    assert "flcm: never compared or used: cls" in book.problems()
    case.compare("cls", np.zeros(1))
    assert len(book.problems()) == 2
    book.partial.add(module)
    case.compared.clear()
    assert len(book.problems()) == 2, "a run of some tests only is not asked for every array"


def test_fewer_compared_arrays_than_before_are_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "floor", lambda: {"flcm": 2})
    np.savez(tmp_path / "flcm.npz", cls=np.zeros(1), rp=np.zeros(1))
    module = HERE / "test_flcm.py"
    book = Book(tmp_path, tmp_path, committed=True, expected={module: 2}, finished={module: 2})
    case = book.open("flcm")
    case.compare("cls", np.zeros(1))
    case.uses("rp")
    assert book.problems() == ["flcm: 1 arrays compared, there were 2"]
    case.compare("rp", np.zeros(1))
    assert book.problems() == []


def test_every_committed_file_has_a_floor():
    names = {*extract.ARRAYS, *(name.removesuffix(".json") for name in extract.COPIED)}
    assert harness.floor().keys() == names and min(harness.floor().values()) > 0


def test_processes_of_a_parallel_run_are_counted_together(tmp_path):
    for name in ("flcm", "rts"):
        np.savez(tmp_path / f"{name}.npz", cls=np.zeros(1), bias=np.zeros(1), more=np.zeros(1))
    whole, modules = Book(tmp_path, tmp_path, committed=False), (HERE / "test_flcm.py", HERE / "test_rts.py")
    for module, arrays in zip(modules, (("cls", "bias", "more"), ("cls", "bias"))):
        part = Book(tmp_path, tmp_path, committed=False, expected=dict.fromkeys(modules, 2), finished={module: 2})
        case = part.open(module.stem.removeprefix("test_"))
        case.compare(arrays[0], np.zeros(1))
        case.uses(*arrays[1:])
        whole.add(json.loads(json.dumps(part.told())))
    assert "2 arrays of 2 fixture files compared" in whole.lines()
    assert whole.problems() == ["rts: never compared or used: more"]
    whole.add(part.told() | {"cases": {}, "partial": [str(modules[1])]})
    assert whole.problems() == []


@pytest.mark.slow
@pytest.mark.matrix
def test_two_processes_print_how_many_arrays_they_compared():
    """Whatever folder the run was started for: the process that starts the others reads no conftest below tests."""
    others = [f"--ignore={path}" for path in (ROOT / "tests").iterdir() if path.name not in ("parity", "test_atomic.py", "conftest.py")]
    others += [f"--ignore={path}" for path in HERE.glob("test_*.py") if path.name != "test_tables.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "-p", "no:cacheprovider", "tests", *others]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert re.search(r"^[1-9]\d* arrays of 1 fixture files compared$", done.stdout, re.MULTILINE), done.stdout


def test_a_recorded_fixture_is_one_beside_the_whole_ones(tmp_path, monkeypatch):
    """Compared from the repository whatever the folder holds, and no stranger there; without a test it is one."""
    for part in ("data", "elsewhere"):
        (tmp_path / part).mkdir()
    monkeypatch.setattr(harness, "HERE", tmp_path)
    network = torch.nn.Linear(3, 2)
    keys = record.rows(network.state_dict())
    record.write("brightness", keys, folder=tmp_path, x_shape=(4, 3), out=network(torch.ones(4, 3)))
    assert recipe.read_keys(tmp_path / "keys" / "brightness.tsv") == keys == [("weight", (2, 3), "float32"), ("bias", (2,), "float32")]
    book = Book(tmp_path / "data", tmp_path, committed=True)
    assert "brightness.npz is no fixture" in "".join(book.problems())
    (tmp_path / "test_brightness.py").write_text('FIXTURES = ("brightness",)\n')
    for folder in ("data", "elsewhere"):
        book = Book(tmp_path / folder, tmp_path, committed=folder == "data")
        case = book.open("brightness")
        assert case.names == {"seed", "x_shape", "out"} and case.committed and book.problems() == []
        monkeypatch.setattr(harness, "KEYS", tmp_path / "keys")
        weights = case.weights("brightness", {})
        assert recipe.fingerprint({name: value.numpy() for name, value in weights.items()}) == recipe.fingerprint(recipe.make(keys, 1))


@pytest.fixture(scope="module")
def sources() -> Path | None:
    """The whole fixtures that the committed ones were made from, where they are on this machine."""
    folder = shared_folder() / "parity"
    return folder if folder.is_dir() else None


def test_known_files_are_those_of_the_fixtures(sources):
    here = {str(path.relative_to(HERE / "data")) for path in (HERE / "data").rglob("*.*")} - {path.name for path in recorded().values()}
    assert here == {f"{name}.npz" for name in extract.ARRAYS} | {*extract.COPIED}
    assert here <= KNOWN | {f"{TALKING}/{name}" for name in KNOWN_TALKING}
    if sources:
        assert {path.name for path in sources.iterdir() if path.is_file()} == KNOWN
        assert {path.name for path in (sources / TALKING).iterdir() if path.is_file()} == KNOWN_TALKING


def test_every_fixture_has_committed_data():
    assert {f"{name}.npz" for name in extract.ARRAYS} | {*extract.COPIED} == {
        name for name in KNOWN | {f"{TALKING}/{name}" for name in KNOWN_TALKING} if name.endswith((".npz", ".json"))
    }


def test_committed_data_hold_no_pixels_of_photographs_and_little_else():
    files = sorted((HERE / "data").rglob("*.*"))
    assert sum(path.stat().st_size for path in files) < MEGABYTES * 1e6
    for path in files:
        names = Case(path.stem, path, path).names
        photographs = photographs_of(names)
        assert not photographs or not [name for name in names - {*photographs} if extract.PIXELS.search(name)]


@pytest.mark.parametrize("name", ["main_aligned_bgr", "photo_input", "skin_mask_input", "enhanced_face35_every4"])
def test_pixels_of_photographs_are_refused(name):
    stored = {"seed": np.array(1), name: np.zeros(3)} | {f"photo_main_{part}": np.array(0) for part in ("name", "shape", "crc32")}
    with pytest.raises(ValueError, match=f"{name} may hold pixels"):
        extract.chosen(stored, ["*"], "_")


def test_the_last_word_for_a_name_counts():
    whole = np.arange(60, dtype=np.float32).reshape(3, 20)
    stored = {"seed": np.array(1), "out_a": whole, "out_b": whole, "out_c_sample": whole.ravel()[::4], "out_c_stride": np.array(4)}
    stored |= {"out_c_shape": np.array([3, 20]), "out_c_stats": np.ones(3), "rows": whole, "other": whole}
    kept = extract.chosen(stored, ["out_*", "out_[bc]/5", "rows@1"], "_")
    parts = [f"out_{name}_{part}" for name in "bc" for part in ("sample", "stride", "shape", "stats")]
    assert sorted(kept) == sorted(["seed", "out_a", "rows", *parts])
    assert kept["rows"].shape == (1, 20) and kept["out_b_sample"].tolist() == list(range(0, 60, 5)) and kept["out_b_stride"] == 5
    assert kept["out_c_sample"].tolist() == [0, 20, 40] and kept["out_c_stride"] == 20
    assert np.allclose(kept["out_b_stats"], [whole.mean(), whole.std(), 59])


def test_committed_files_are_what_the_script_extracts(sources, tmp_path):
    """Where the fixtures are not on this machine, at least every committed array is one that the script would take."""
    if sources is None:
        for name, words in extract.ARRAYS.items():
            case = Case(name, HERE / "data" / f"{name}.npz", HERE)
            kept = extract.chosen(case.arrays, [re.split("[/@]", word)[0] for word in words.split()], case.separator)
            assert kept.keys() == case.arrays.keys()
        return
    extract.extract(sources, tmp_path)
    ours = {Path(part) / f"{name}.{ending}" for name in recorded() for part, ending in (("data", "npz"), ("keys", "tsv"))}
    committed = {path.relative_to(HERE) for folder in ("data", "keys") for path in (HERE / folder).rglob("*.*")} - ours
    assert committed == {path.relative_to(tmp_path) for path in tmp_path.rglob("*.*")}
    for name in committed:
        if name.suffix != ".npz":
            assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes()
            continue
        with np.load(tmp_path / name) as fresh, np.load(HERE / name) as stored:
            assert sorted(fresh.files) == sorted(stored.files)
            assert all(np.array_equal(fresh[key], stored[key]) for key in fresh.files)


def test_tests_of_photographs_are_skipped_on_the_committed_data(stored):
    case = stored[0]
    case.committed = True
    for ask in (case.labels, lambda: case.photo("main"), lambda: case.input("photo_boxes")):
        with pytest.raises(pytest.skip.Exception, match="photographs"):
            ask()
    case.compare("made_from_one", np.zeros(3))
    case.uses("whole", "big_sample", "bytes", "words", "x_shape")
    assert case.compared == set() and case.untouched() == []
    del case.arrays["photo_main_name"]
    with pytest.raises(pytest.fail.Exception, match="has no array 'photo_boxes'"):
        case.input("photo_boxes")


@pytest.mark.slow
def test_a_folder_with_another_seed_other_sizes_and_other_pictures(tmp_path):
    """The command line as a user types it, on numbers of this very network."""
    arrays = flcm_fixture(tmp_path / "photos", seed=7)
    folders = [tmp_path / name for name in ("good", "incomplete", "other_weights", "empty")]
    for folder, changes in zip(folders, ({}, {"another": np.zeros(2)}, {"seed": 8}, None)):
        folder.mkdir()
        if changes is not None:
            np.savez(folder / "flcm.npz", **arrays | changes)
    good, incomplete, other_weights, empty = runs(folders, tmp_path / "photos")
    assert good[0] == 0 and "flcm: 7 of 14 arrays compared" in good[1], good
    assert incomplete[0] == 1 and "never compared or used: another" in incomplete[1], incomplete
    assert other_weights[0] == 1 and "flcm cls: differs" in other_weights[1], other_weights
    assert empty[0] == 4 and "holds no fixtures" in empty[1], empty


def flcm_fixture(photos, seed):
    network = FLCM.from_state_dict(weights(seed))
    shape, pixels = (3, 3, 120, 120), np.random.default_rng(seed).integers(0, 256, (90, 70, 3), np.uint8)
    photos.mkdir()
    Image.fromarray(pixels).save(photos / "b.png")
    boxes = np.float32([[3, 4, 60, 80], [-5, 10, 33, 95]])
    picture = torch.from_numpy(pixels / np.float32(255))
    scores = np.array(LandmarkConfidence(Ready(network)).score([picture] * 2, boxes), np.float32)
    return {
        "seed": seed, "x_shape": shape, "x_range": (0.0, 200.0),
        **dict(zip(("cls", "landmarks", "rp", "nose"), network(torch.from_numpy(recipe.array("flcm.x", shape, 0, 200, seed))))),
        "photo_boxes": boxes, "photo_landmarks": landmarks(network, picture, boxes), "photo_score": scores, "photo_cls": 1 - scores,
        "photo_main_name": "b.png", "photo_main_shape": pixels.shape, "photo_main_crc32": zlib.crc32(pixels.tobytes()),
    }  # fmt: skip


def weights(seed):
    return {name: torch.from_numpy(np.array(value)) for name, value in recipe.make(rows_of(FLCM.layout()), seed).items()}


RUNS = """
import sys, pytest
photos, *folders = sys.argv[1:]
for folder in folders:
    words = ["tests/parity/test_flcm.py", "--fixtures", folder, "--photos", photos, "-q", "-p", "no:cacheprovider"]
    print("STATUS", int(pytest.main(words)), flush=True)
"""


def runs(folders: list[Path], photos: Path) -> list[tuple[int, str]]:
    """Exit status and output of pytest on each of `folders`, one after the other in one process, which opens torch once."""
    command = [sys.executable, "-c", RUNS, str(photos), *map(str, folders)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    found = re.findall(r"(.*?)^STATUS (\d+)$", done.stdout, re.DOTALL | re.MULTILINE)
    assert len(found) == len(folders), done.stdout
    return [(int(status), text) for text, status in found]


def test_every_known_file_is_declared_by_its_own_name():
    names = set(declared(HERE.glob("test_*.py")))
    assert names - recorded().keys() <= {Path(name).stem for name in KNOWN} | {f"sadtalker/{Path(name).stem}" for name in KNOWN_TALKING}
