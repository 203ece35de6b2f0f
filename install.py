"""Adds OpenCV and onnxruntime to the running interpreter, only where they are missing.

ComfyUI-Manager and comfy-cli run this file after installing requirements.txt. Both packages come in several builds that overwrite
each other's files, so they cannot be in a requirements file: an installed build is used and never changed.
"""

import importlib.metadata
import importlib.util
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

# The headless build needs no display library. OpenCV 5 no longer has the cascades of the built-in face detector.
OPENCV = "opencv-python-headless>=4.8,<5"
OPENCV_BUILD = re.compile(r"opencv-(contrib-)?python(-headless)?$")
ONNXRUNTIME_BUILD = re.compile(r"(ort|onnxruntime)(-.*)?$")


def installed() -> dict[str, str]:
    """{name: version} of every package of this interpreter."""
    found = ((entry.metadata["Name"], entry.version) for entry in importlib.metadata.distributions())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found if name}


def torch_has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.version.cuda is not None


def onnxruntime_package() -> str:
    """The GPU build where torch has CUDA and that build exists."""
    has_gpu_build = sys.platform in ("linux", "win32") and platform.machine().lower() in ("x86_64", "amd64")
    return "onnxruntime-gpu" if has_gpu_build and torch_has_cuda() else "onnxruntime"


def missing(packages: dict[str, str]) -> list[str]:
    """The packages to add: an installed build counts, even if it does not load at the moment."""
    needed = []
    if importlib.util.find_spec("cv2") is None and not any(OPENCV_BUILD.match(name) for name in packages):
        needed.append(OPENCV)
    if importlib.util.find_spec("onnxruntime") is None and not any(ONNXRUNTIME_BUILD.match(name) for name in packages):
        needed.append(onnxruntime_package())
    return needed


def install(needed: list[str], packages: dict[str, str]) -> int:
    """Install with every present package held at its version. Returns pip's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        held = Path(folder) / "held.txt"
        # A local build tag such as +cpu cannot be found on an index; pip compares it as written.
        held.write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages.items())), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "-c", str(held), *needed]
        return subprocess.run(command).returncode


def main() -> int:
    packages = installed()
    needed = missing(packages)
    if not needed:
        print("FaceChain Studio: OpenCV and onnxruntime are installed; nothing to add.")
        return 0
    print(f"FaceChain Studio: adding {', '.join(needed)}")
    status = install(needed, packages)
    if status:
        words = " ".join(f'"{package}"' for package in needed)
        print(f"FaceChain Studio: pip could not add them. Install them yourself: {sys.executable} -m pip install {words}")
    return status


if __name__ == "__main__":
    sys.exit(main())
