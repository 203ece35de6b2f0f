"""What every test can ask for: the host's modules, the shared fixtures, a torch that behaves."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
HOST = os.environ.get("COMFYUI_PATH")
if HOST and HOST not in sys.path:
    sys.path.insert(0, HOST)


def pytest_configure(config):
    """The host parses the command line when it is imported; a machine without a GPU needs its --cpu."""
    if HOST:
        import comfy.cli_args

        comfy.cli_args.args.cpu = True


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with photographs and parity fixtures that is not part of the repository."""
    folder = Path(os.environ.get("FACECHAIN_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the shared folder with photographs and fixtures is not beside this checkout")
    return folder


@pytest.fixture(autouse=True)
def _inference():
    """The host runs every node under inference mode."""
    with torch.inference_mode():
        yield
