"""Where things go, and that nothing of the user's goes with them."""

from __future__ import annotations

import sys

import pytest

from launcher import places
from launcher.console import Failure


def test_home_is_where_the_user_says(home):
    assert places.home() == home
    assert home.is_dir()


def test_a_home_that_cannot_be_written_says_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FACECHAIN_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(Failure) as failed:
        places.home()
    assert "FACECHAIN_HOME" in failed.value.remedy


def test_the_pack_is_linked_under_its_own_name(tmp_path):
    pack = places.add_pack(tmp_path)
    assert pack == tmp_path / "custom_nodes" / "facechain-studio"
    assert pack.resolve() == places.ROOT
    assert places.add_pack(tmp_path) == pack


def test_a_link_to_another_pack_is_replaced_and_that_pack_stays(tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "__init__.py").write_text("")
    link = tmp_path / "base" / "custom_nodes" / "facechain-studio"
    link.parent.mkdir(parents=True)
    link.symlink_to(other)
    assert places.add_pack(tmp_path / "base").resolve() == places.ROOT
    assert (other / "__init__.py").is_file()


def test_where_folders_cannot_be_linked_the_pack_is_copied(tmp_path, monkeypatch):
    def refuse(target, link):
        raise OSError("no links here")

    monkeypatch.setattr(places, "link_folder", refuse)
    pack = places.add_pack(tmp_path)
    assert not pack.is_symlink()
    assert (pack / "nodes" / "photos.py").read_bytes() == (places.ROOT / "nodes" / "photos.py").read_bytes()
    assert (pack / "assets" / "sample" / "eileen_collins.png").is_file()
    assert not list(pack.rglob("__pycache__"))
    assert not (pack / "tests").exists()


def test_a_temporary_base_goes_away_and_what_it_showed_stays(tmp_path):
    shown = tmp_path / "models"
    shown.mkdir()
    (shown / "weights").write_text("1")
    with places.temporary_base({"models/detection": shown}) as base:
        assert (base / "models" / "detection" / "weights").read_text() == "1"
        assert (base / "custom_nodes" / "facechain-studio" / "run.py").is_file()
        (base / "output").mkdir()
    assert not base.exists()
    assert (shown / "weights").read_text() == "1"
    assert (places.ROOT / "run.py").is_file()


def test_a_temporary_base_goes_away_after_a_failure(tmp_path):
    with pytest.raises(KeyboardInterrupt), places.temporary_base({}) as base:
        raise KeyboardInterrupt
    assert not base.exists()


def test_the_launcher_needs_nothing_but_python():
    import ast

    files = [places.ROOT / "run.py", *(places.ROOT / "launcher").glob("*.py")]
    foreign = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
            foreign |= {(file.name, name) for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert foreign == {("run.py", "launcher.cli")}
