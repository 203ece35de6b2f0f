"""Folders of their own for everything that run.py makes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher import places

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def foreground() -> Iterator[None]:
    """Commands that a test starts hear every signal, even where the run itself is in the background of a shell or under nohup."""
    usual = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    numbers = {getattr(signal, name): handler for name, handler in usual.items() if hasattr(signal, name)}
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, numbers[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FACECHAIN_HOME, and no ComfyUI of the user's."""
    monkeypatch.setenv("FACECHAIN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("COMFYUI_PYTHON", raising=False)
    return tmp_path / "home"


@pytest.fixture
def host(home: Path, host_path: Path) -> dict[str, str]:
    """The variables that name a ComfyUI of the user's: the one of the test run, with this interpreter."""
    return {"COMFYUI_PATH": str(host_path), "COMFYUI_PYTHON": sys.executable}


@pytest.fixture
def own_host(home: Path, host_path: Path, tmp_path: Path) -> dict[str, str]:
    """As `host`, with folders of its own: ComfyUI's code where a user has stored nothing yet."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    for item in host_path.iterdir():
        if item.is_file():
            shutil.copy(item, folder)
        elif item.name not in (*places.DATA_FOLDERS, "custom_nodes"):
            (folder / item.name).symlink_to(item)
    return {"COMFYUI_PATH": str(folder), "COMFYUI_PYTHON": sys.executable}


@pytest.fixture
def run_py(home: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`run_py("demo", ..., COMFYUI_PATH=...)`: run.py as a user starts it."""

    def run(*arguments: str | Path, timeout: float = 1200, **env: str | Path) -> subprocess.CompletedProcess:
        words = [sys.executable, str(ROOT / "run.py"), *map(str, arguments)]
        given = {name: str(value) for name, value in env.items()}
        return subprocess.run(words, env={**os.environ, **given}, capture_output=True, text=True, timeout=timeout, cwd=home.parent)

    return run


@pytest.fixture
def old_host(tmp_path: Path) -> Path:
    """A folder that looks like ComfyUI 0.29."""
    folder = tmp_path / "ComfyUI"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "comfyui_version.py").write_text('__version__ = "0.29.3"\n')
    return folder
