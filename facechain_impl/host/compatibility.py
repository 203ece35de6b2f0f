"""Whether this host and its packages can run the pack."""

from __future__ import annotations

import importlib.util

import comfyui_version
import numpy as np

from ..errors import FaceChainError

MINIMUM = (0, 30, 0)
# Module -> (what to call it, what to install). Requirements cannot name OpenCV: it has four builds, which overwrite each other's files.
PACKAGES = {"cv2": ("OpenCV", "opencv-python-headless>=4.8,<5"), "peft": ("peft", "peft>=0.13")}


def require() -> None:
    """Raises FaceChainError when the host is too old or a package is missing. The host shows the message in its log."""
    version = comfyui_version.__version__
    if tuple(int(part) for part in version.split(".")[:3]) < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise FaceChainError(f"FaceChain Studio needs ComfyUI {wanted}, this is {version}. Update ComfyUI and restart it.")
    missing = [module for module in PACKAGES if importlib.util.find_spec(module) is None]
    if missing:
        names, packages = zip(*(PACKAGES[module] for module in missing))
        raise FaceChainError(
            f"FaceChain Studio was not loaded: {' and '.join(names)} cannot be found. Run this with ComfyUI's Python, then restart "
            f"ComfyUI: python -m pip install {_words(packages)}"
        )


def _words(packages: tuple[str, ...]) -> str:
    """Packages as arguments of pip, with the present NumPy: the newest OpenCV would replace NumPy 1."""
    return " ".join(f'"{package}"' for package in (*packages, f"numpy=={np.__version__}"))
