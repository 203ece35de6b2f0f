"""The store of people: whole or not at all, names that cannot leave their folder, everything gone after deleting."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceChainError
from facechain_impl.types import Person, replace

persons = pytest.importorskip("facechain_impl.identity.persons", reason="set COMFYUI_PATH")
from facechain_impl.identity import cli  # noqa: E402
from facechain_impl.identity.persons import IfExists  # noqa: E402


def ann(name="Ann") -> Person:
    template = torch.linspace(0, 1, 4 * 4 * 3).reshape(4, 4, 3)
    embedding = np.eye(512, dtype=np.float32)[3]
    return Person(name, {"a": torch.ones(2, 2)}, "a woman", template, embedding, {"steps": 3})


def test_saved_and_loaded(home):
    stored = persons.save(ann(), {"k": "v"})
    loaded = persons.load("Ann")
    assert loaded.trigger == "a woman" and loaded.report == {"steps": 3} and torch.equal(loaded.lora["a"], torch.ones(2, 2))
    assert (loaded.photo - ann().photo).abs().max() <= 0.5 / 255 and np.array_equal(loaded.embedding, ann().embedding)
    assert stored.lora_file == home / "models/facechain/persons/Ann/Ann.safetensors"


def test_the_lora_is_in_the_hosts_list(home):
    import folder_paths

    persons.save(ann(), {})
    folder_paths.filename_list_cache.clear()
    assert persons.lora_name("Ann") in folder_paths.get_filename_list("loras")


def test_policies_for_a_taken_name(home):
    persons.save(ann(), {})
    assert persons.save(ann(), {}).name == "Ann-2"
    with pytest.raises(BadInput, match="already stored"):
        persons.save(ann(), {}, IfExists.STOP)
    changed = replace(ann(), trigger="another")
    assert persons.save(changed, {}, IfExists.REPLACE).name == "Ann"
    assert persons.load("Ann").trigger == "another" and persons.names() == ["Ann", "Ann-2"]


def test_a_failed_save_changes_nothing(home, monkeypatch):
    persons.save(ann(), {})
    monkeypatch.setattr(persons.json, "dumps", lambda *a, **k: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    changed = replace(ann(), trigger="another")
    with pytest.raises(FaceChainError, match="The disk is full.*Free some space"):
        persons.save(changed, {}, IfExists.REPLACE)
    assert persons.load("Ann").trigger == "a woman"
    assert [path.name for path in (home / "models/facechain/persons").iterdir()] == ["Ann"]


def test_rename_and_delete_leave_nothing_behind(home):
    persons.save(ann(), {})
    persons.rename("Ann", "Bea")
    assert persons.load("Bea").name == "Bea" and persons.names() == ["Bea"]
    assert not (home / "models/facechain/persons/Ann").exists()
    persons.delete("Bea")
    assert [path for path in (home / "models").rglob("*") if path.is_file()] == []


class Killed(BaseException):
    pass


def kill_at(monkeypatch, number: int) -> None:
    """End the process, as it were, at the `number`-th move of a file or folder, and let no `finally` clean up."""
    moves, real = iter(range(1, 100)), os.replace

    def replace_or_die(source, target):
        if next(moves) == number:
            monkeypatch.setattr(persons.shutil, "rmtree", lambda *arguments, **options: None)
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", replace_or_die)


def moves_of(action, monkeypatch) -> int:
    count, real = [0], os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda source, target: (count.__setitem__(0, count[0] + 1), real(source, target)))
        action()
    return count[0]


def replaced() -> None:
    persons.save(replace(ann(), trigger="another"), {}, IfExists.REPLACE)


@pytest.mark.parametrize("action", [replaced, lambda: persons.rename("Ann", "Bea")], ids=["replace", "rename"])
def test_a_kill_between_two_moves_loses_nobody(home, monkeypatch, action):
    persons.save(ann(), {})
    last = moves_of(action, monkeypatch)
    assert last >= 3
    for number in range(1, last + 1):
        for name in persons.names():
            persons.delete(name)
        persons.save(ann(), {})
        with monkeypatch.context() as patch:
            kill_at(patch, number)
            with pytest.raises(Killed):
                action()
        people = [persons.load(name) for name in persons.names()]
        assert people and all(torch.equal(person.lora["a"], torch.ones(2, 2)) for person in people), number
        files = {path.name for path in (home / "models/facechain/persons").rglob("*.safetensors")}
        assert files == {f"{person.name}.safetensors" for person in people}


def test_a_deletion_that_was_cut_short_is_finished(home, monkeypatch):
    persons.save(ann(), {})
    with monkeypatch.context() as patch:
        patch.setattr(persons.shutil, "rmtree", lambda *arguments, **options: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            persons.delete("Ann")
    assert persons.names() == [] and not [path for path in (home / "models").rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["../Ann", "..", ".", "a/../b", "/tmp/x", "LPT1", "con.png", "tail.", "\x01"])
@pytest.mark.parametrize("action", [persons.delete, persons.load, lambda name: persons.rename("Ann", name)])
def test_names_stay_inside(home, name, action):
    persons.save(ann(), {})
    with pytest.raises(BadInput, match="cannot be the name"):
        action(name)
    assert persons.names() == ["Ann"]


def test_unknown_people_are_named_with_those_there_are(home):
    persons.save(ann(), {})
    for action in (persons.load, persons.delete):
        with pytest.raises(BadInput, match="no person 'Eve'. Stored persons: Ann"):
            action("Eve")


def test_a_name_in_use_is_not_overwritten_by_renaming(home):
    persons.save(ann(), {})
    persons.save(ann("Bea"), {})
    with pytest.raises(BadInput, match="already stored"):
        persons.rename("Ann", "Bea")


def test_watch_counts_losses_only(home):
    watch = persons.FileWatch()
    assert watch.missing_count("Ann") == 0
    watch.stored("Ann", persons.save(ann(), {}).lora_file)
    assert watch.missing_count("Ann") == 0
    persons.delete("Ann")
    assert [watch.missing_count("Ann") for _ in range(2)] == [1, 1]


class TestCommand:
    def test_list(self, home, capsys):
        assert cli.main(["list"]) == 0 and "No person" in capsys.readouterr().out
        persons.save(ann(), {})
        assert cli.main(["list"]) == 0 and capsys.readouterr().out.startswith("Ann  a woman  unknown")

    def test_rename(self, home, capsys):
        persons.save(ann(), {})
        assert cli.main(["rename", "Ann", "Bea"]) == 0 and persons.names() == ["Bea"]
        assert cli.main(["rename", "Ann", "Eve"]) == 1 and "no person 'Ann'" in capsys.readouterr().err

    def test_delete_asks_for_the_name(self, home, monkeypatch, capsys):
        persons.save(ann(), {})
        monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
        assert cli.main(["delete", "Ann"]) == 1 and persons.names() == ["Ann"]
        monkeypatch.setattr("sys.stdin", io.StringIO("Ann\n"))
        assert cli.main(["delete", "Ann"]) == 0 and persons.names() == []

    def test_delete_without_asking(self, home, capsys):
        persons.save(ann(), {})
        assert cli.main(["delete", "Ann", "--yes"]) == 0 and persons.names() == []
        assert cli.main(["delete", "../Ann", "--yes"]) == 1
