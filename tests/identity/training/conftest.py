"""Likeness without a network and without drawing; an optional package."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch

from launcher.testing import in_ci


class Scripted:
    """Scores in the order in which looks ask for them, one for all portraits of a look; None: no face in any."""

    def __init__(self):
        self.values: list = []
        self.asked = 0

    def __call__(self, pictures):
        self.asked += 1
        value = self.values.pop(0)
        return [None if value is None else value + 0.01 * (index % 2) for index in range(len(pictures))]


@pytest.fixture
def scripted(monkeypatch) -> Scripted:
    """Portraits, which it does not look at, are not drawn."""
    looks = importlib.import_module("facechain_impl.identity.training.looks")
    pictures = [torch.zeros(8, 8, 3)] * len(looks.PROMPTS)
    monkeypatch.setattr(looks.Sitting, "portraits", lambda self, seeds: pictures * len(seeds))
    return Scripted()


@pytest.fixture(scope="module")
def prodigyopt(tmp_path_factory):
    """The real package, in a folder of its own."""
    folder = tmp_path_factory.mktemp("prodigyopt")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "prodigyopt>=1.1"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        (pytest.fail if in_ci() else pytest.skip)(f"prodigyopt cannot be installed: {done.stderr[-300:]}")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("prodigyopt")
        sys.modules.pop("prodigyopt", None)
