"""Files that appear whole or not at all."""

from __future__ import annotations

import ast
import errno
import os

import pytest
import safetensors.torch
import torch

from facechain_impl import atomic
from facechain_impl.errors import BadInput, FaceChainError, WeightsError
from facechain_impl.identity.lora import formats
from facechain_impl.identity.training.state import StateStore
from facechain_impl.talking.video import VideoWriter
from facechain_impl.weights import convert
from launcher.places import ROOT

FULL = OSError(errno.ENOSPC, "No space left on device")


def video(folder):
    with VideoWriter(folder, (32, 32), torch.zeros(1, 1600), 16000, 1) as writer:
        writer.write(torch.zeros(1, 32, 32, 3, dtype=torch.uint8).numpy())


def state(folder):
    store = StateStore("run")
    store.folder, store.file = folder, folder / "state.pt"
    store.save({"a": torch.ones(3)}, {})


# Where something takes the place of a file or folder: the writer, the store of persons, which exchanges folders in a journal, and
# the setup, which imports nothing of the pack.
REPLACERS = {"facechain_impl/atomic.py", "facechain_impl/identity/persons.py", "launcher/hosts.py", "launcher/stamps.py"}
MOVES = {"os.replace", "os.rename", "os.renames", "shutil.move"}
WRITERS = {
    "text": lambda folder: atomic.write(folder / "card.json", "{}"),
    "LoRA": lambda folder: formats.write(folder / "a.safetensors", {"a": torch.ones(3)}, {}),
    "weights": lambda folder: convert.write(folder / "a.safetensors", {"a": torch.ones(3)}, {}),
    "training state": state,
    "video": video,
}


@pytest.fixture(params=WRITERS)
def writer(request):
    return WRITERS[request.param]


def test_a_written_file_is_alone_in_its_folder(writer, tmp_path):
    writer(tmp_path / "new")
    (file,) = (tmp_path / "new").iterdir()
    assert file.suffix != atomic.SUFFIX and file.stat().st_size > 0


@pytest.mark.parametrize("how", [KeyboardInterrupt(), FULL, PermissionError(errno.EACCES, "Permission denied"), ZeroDivisionError()])
def test_nothing_is_left_of_a_failed_write(writer, tmp_path, monkeypatch, how):
    def fail(*_):
        raise how

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FaceChainError if isinstance(how, OSError) else type(how)):
        writer(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so(writer, tmp_path, monkeypatch):
    def full(descriptor):
        raise FULL

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FaceChainError, match=r"The disk is full: .*Free some space"):
        writer(tmp_path)


@pytest.mark.parametrize("text", ["No space left on device", "I/O error: Error while serializing: os error 28"])
def test_libraries_that_tell_a_full_disk_in_words(text, tmp_path):
    for error in (safetensors.SafetensorError(text), RuntimeError(text)):
        with pytest.raises(WeightsError, match=r"disk is full.*It needs 2\.0 MB"), atomic.replacing(tmp_path / "a", WeightsError, 2 << 20):
            raise error


@pytest.mark.parametrize("error", [RuntimeError("an operator failed"), BadInput("look at this"), FaceChainError("No space left, it says")])
def test_what_is_no_matter_of_writing_is_left_as_it_is(error, tmp_path):
    with pytest.raises(type(error)) as raised, atomic.replacing(tmp_path / "a"):
        raise error
    assert raised.value is error and list(tmp_path.iterdir()) == []


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "a.json"
    atomic.write(file, "old")
    with pytest.raises(ZeroDivisionError), atomic.replacing(file) as partial:
        partial.write_text("half of the n")
        assert file.read_text() == "old"
        raise ZeroDivisionError
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]
    atomic.write(file, b"new")
    assert file.read_text() == "new"


def test_an_unfinished_file_is_in_no_list(tmp_path):
    """What a killed process leaves: hidden, and with an ending that the host lists in no folder of models or pictures."""
    folder_paths = pytest.importorskip("folder_paths")
    with atomic.replacing(tmp_path / "Ann.safetensors") as partial:
        partial.write_bytes(b"half")
        assert partial.name.startswith(".Ann") and partial.suffix == ".part"
        assert partial.suffix not in folder_paths.supported_pt_extensions
        assert list(tmp_path.glob("*.safetensors")) == [] and folder_paths.filter_files_content_types([partial.name], ["image"]) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with atomic.replacing(tmp_path / "a") as first, atomic.replacing(tmp_path / "a") as second:
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1"  # the outer block ends last
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("other_disk", [False, True], ids=["one disk", "two disks"])
def test_moving_replaces_what_was_there(tmp_path, monkeypatch, folder, other_disk):
    source, target = tmp_path / "source", tmp_path / "there" / "target"
    for place, text in ((source, "new"), (target, "old")):
        inside = place / "file" if folder else place
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_text(text)
    if other_disk:
        monkeypatch.setattr(os, "replace", apart(os.replace, source))
    atomic.move(source, target)
    assert (target / "file" if folder else target).read_text() == "new"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "there"] and list((tmp_path / "there").iterdir()) == [target]


def test_a_failed_move_to_another_disk_keeps_the_source(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "there" / "target"
    source.write_text("new")
    monkeypatch.setattr(os, "replace", apart(os.replace, source))
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(FULL))
    with pytest.raises(WeightsError, match="The disk is full"):
        atomic.move(source, target, WeightsError)
    assert source.read_text() == "new" and list(target.parent.iterdir()) == []


def apart(replace, source):
    """os.replace where `source` lies on a disk of its own."""

    def replaced(start, end):
        if start == source:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(start, end)

    return replaced


def test_nobody_else_puts_files_in_place():
    sources = [path for part in ("facechain_impl", "nodes", "launcher") for path in (ROOT / part).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in sources if moves(path.read_text(encoding="utf-8"))}
    assert found == REPLACERS


def moves(source: str) -> set[str]:
    """What of `MOVES` a source uses, by its full name or imported from its module."""
    tree = ast.parse(source)
    named = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return MOVES & (named | {f"{node.module}.{word.name}" for node in imports for word in node.names})


@pytest.mark.parametrize("source", ["import os\nos.replace(a, b)", "from shutil import move", "def f():\n    from os import rename as r"])
def test_a_move_is_seen(source):
    assert moves(source)
