"""An environment that was cut off half-way is repaired; one that is complete is used as it is."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from launcher import environment, hosts
from launcher.console import Failure
from launcher.packages import Packages
from launcher.stamps import Stamps

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def wheel(folder: Path, name: str) -> Path:
    """A package of one module, as an index would serve it."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "value = 1\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


@pytest.fixture
def own(home, tmp_path, monkeypatch):
    """The own setup with two small packages in the place of PyTorch and ComfyUI's, all from local files."""
    packages = tmp_path / "wheels"
    packages.mkdir()
    wheels = {name: wheel(packages, name) for name in ("first", "second")}
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setattr(environment, "TORCH", str(wheels["first"]))
    monkeypatch.setattr(environment, "VISION", (str(wheels["second"]),))
    monkeypatch.setattr(environment, "REFERENCE", str(wheels["first"]))
    monkeypatch.setattr(environment._OwnHost, "_check_vision", lambda self: None)
    monkeypatch.setattr(Packages, "pack", lambda self, name: None)
    fetched = []

    def fetch(folder, python, log):
        fetched.append(folder)
        folder.mkdir()
        (folder / "requirements.txt").write_text("torch\ntorchvision\nfirst\n")

    monkeypatch.setattr(hosts, "fetch", fetch)
    home.mkdir(parents=True)
    made = environment._OwnHost(home)
    made.fetched = fetched
    return made


def value(host: hosts.Host, module: str) -> str:
    return subprocess.run(
        [str(host.python), "-c", f"import {module}; print({module}.value)"], capture_output=True, text=True
    ).stdout.strip()


@pytest.mark.slow
def test_set_up_reuse_and_repair(own, capsys):
    host = own.ready(for_tests=False)
    assert (value(host, "first"), value(host, "second")) == ("1", "1")
    assert own.fetched == [host.path]
    capsys.readouterr()

    assert own.ready(for_tests=False) == host
    assert capsys.readouterr().out == ""

    site = own.venv / SITE
    (site / "first.py").unlink()
    (site / "~econd").mkdir()
    (own.stamps.folder / "torch").unlink()
    (own.stamps.folder / "torch.started").write_text("")
    own.ready(for_tests=False)
    assert value(host, "first") == "1"
    assert not (site / "~econd").exists()
    assert "interrupted" in capsys.readouterr().out
    assert own.stamps.unfinished() == []

    (own.venv / "made").unlink()
    (site / "second.py").write_text("value = 2\n")
    own.ready(for_tests=False)
    assert value(host, "second") == "1"


def test_a_changed_requirements_file_is_noticed(own, monkeypatch, tmp_path):
    installed = []
    monkeypatch.setattr(Packages, "pack", lambda self, name: installed.append(name))
    monkeypatch.setattr(environment.places, "ROOT", tmp_path)
    for name in ("requirements.txt", "requirements-test.txt"):
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(own, "_make_venv", lambda: None)
    monkeypatch.setattr(environment, "_task", lambda name: b"")
    for step in ("_install_torch", "_install_vision", "_install_text", "_install_reference"):
        monkeypatch.setattr(own, step, lambda *_: None)
    own.ready(for_tests=True)
    own.ready(for_tests=True)
    assert installed == ["requirements.txt", "requirements-test.txt"]
    (tmp_path / "requirements.txt").write_text("2")
    own.ready(for_tests=True)
    assert installed == ["requirements.txt", "requirements-test.txt", "requirements.txt"]


def test_torch_is_not_installed_by_the_hosts_list(own):
    own.host.mkdir()
    (own.host / "requirements.txt").write_text("aiohttp>=3\ntorch\ntorchsde\ntorchvision\ntorchaudio\n")
    assert own._host_requirements() == "aiohttp>=3\ntorchsde"


def test_a_full_disk_is_named_before_anything_is_made(own, monkeypatch):
    monkeypatch.setattr(environment, "FREE_BYTES", 2**60)
    with pytest.raises(Failure, match="GB free"):
        own.ready(for_tests=False)
    assert not own.venv.exists()


def test_a_failing_install_is_a_failure_with_its_log(own, monkeypatch):
    monkeypatch.setattr(environment, "TORCH", "there-is-no-such-package")
    with pytest.raises(Failure) as failed:
        own.ready(for_tests=False)
    assert failed.value.step == "installing PyTorch"
    assert "there-is-no-such-package" in failed.value.why
    assert Stamps(own.stamps.folder).unfinished() == ["torch"]


@pytest.fixture
def clients(home, tmp_path, monkeypatch) -> Path:
    """The list of the clients, with a small package from a local file on it."""
    monkeypatch.setattr(environment.places, "ROOT", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    for name in ("first", "second"):
        wheel(tmp_path, name)
    listed = tmp_path / environment.CLIENTS
    listed.write_text("first\n")
    return listed


@pytest.mark.slow
def test_the_clients_have_an_environment_of_their_own(clients, home, capsys):
    python = environment.clients_ready(install=True)
    assert home in python.parents and python != environment._OwnHost(home).python
    assert value(hosts.Host(home, python, False), "first") == "1"
    capsys.readouterr()
    assert environment.clients_ready(install=False) == python
    assert capsys.readouterr().out == ""

    clients.write_text("second\n")
    with pytest.raises(Failure, match="older than requirements-clients.txt"):
        environment.clients_ready(install=False)
    assert environment.clients_ready(install=True) == python
    host = hosts.Host(home, python, False)
    assert (value(host, "first"), value(host, "second")) == ("", "1"), "what is no longer listed is gone"


def test_clients_that_could_not_be_installed_are_not_taken_for_ready(clients, monkeypatch):
    def make_venv(venv, logs):
        environment._python_of(venv).parent.mkdir(parents=True)
        environment._python_of(venv).touch()

    def fail(*_):
        raise Failure("installing requirements-clients.txt", "no network", "Check the network.")

    monkeypatch.setattr(environment, "_make_venv", make_venv)
    monkeypatch.setattr(environment.Packages, "install", fail)
    with pytest.raises(Failure, match="no network"):
        environment.clients_ready(install=True)
    with pytest.raises(Failure, match="are not in"):
        environment.clients_ready(install=False)
