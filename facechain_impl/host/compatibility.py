"""Whether this host and its packages can run the pack."""

from __future__ import annotations

import importlib.util

import comfyui_version

from ..errors import FaceChainError

MINIMUM = (0, 30, 0)
PACKAGES = {"cv2": "opencv-python-headless<5", "peft": "peft", "diffusers": "diffusers"}


def require() -> None:
    """Raises FaceChainError when the host is too old or a package is missing. The host shows the message in its log."""
    version = comfyui_version.__version__
    if tuple(int(part) for part in version.split(".")[:3]) < MINIMUM:
        wanted = ".".join(map(str, MINIMUM))
        raise FaceChainError(f"FaceChain Studio needs ComfyUI {wanted}, this is {version}. Update ComfyUI and restart it.")
    missing = [package for module, package in PACKAGES.items() if importlib.util.find_spec(module) is None]
    if missing:
        words = " ".join(f'"{package}"' for package in missing)
        raise FaceChainError(
            f"Packages are missing: {', '.join(missing)}. Install them with ComfyUI's Python: python -m pip install {words}"
        )
