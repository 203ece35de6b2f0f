"""The pack with the real OpenCV 5, which lacks the cascades' files and, outside its contrib builds, what runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from facechain_impl.perception import detection
from facechain_impl.photos.load import read_photo
from facechain_impl.photos.sources import SAMPLE_FOLDER
from launcher.console import clean_env
from launcher.places import ROOT

from .simulated import run

PLAIN, CONTRIB = "opencv-python-headless==5.0.0.93", "opencv-contrib-python-headless==5.0.0.93"
CASCADES = "CascadeClassifier"
CODE = """
import importlib, json, pkgutil, sys
import comfy.cli_args
comfy.cli_args.args.cpu = True
import cv2, facechain_impl
for module in pkgutil.walk_packages(facechain_impl.__path__, "facechain_impl."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from facechain_impl.errors import WeightsError
from facechain_impl.perception import detection
from facechain_impl.photos.load import read_photo
from facechain_impl.photos.sources import SAMPLE_FOLDER
told = {"version": cv2.__version__, "missing": [name for name in sys.argv[1:] if not hasattr(cv2, name)]}
try:
    (face,) = detection.BuiltInDetector().detect([read_photo(next(SAMPLE_FOLDER.glob("*.png")))])[0]
    told["five"] = face.five.tolist()
except WeightsError as error:
    told["message"] = str(error)
print(json.dumps(told))
"""

pytestmark = [pytest.mark.slow, pytest.mark.matrix]


def used() -> list[str]:
    """Every name that the pack takes from cv2."""
    files = [path for part in ("facechain_impl", "nodes") for path in (ROOT / part).rglob("*.py")]
    return sorted({name for path in files for name in re.findall(r"\bcv2\.(\w+)", path.read_text(encoding="utf-8"))})


@pytest.fixture
def told(tmp_path, host_path):
    """`told(package)`: what a process says that finds this OpenCV before that of the environment."""

    def ask(package: str) -> dict:
        run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path, package)
        env = clean_env(PYTHONPATH=os.pathsep.join(map(str, (tmp_path, ROOT, host_path))))
        done = subprocess.run([sys.executable, "-c", CODE, *used()], env=env, cwd=host_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return ask


def test_a_usual_build_lacks_only_what_the_message_says(told):
    found = told(PLAIN)
    assert found["version"].startswith("5.") and CASCADES in used()
    assert found["missing"] == [CASCADES]
    assert found["message"] == detection.NO_CASCADES.format(version=found["version"])


def test_a_contrib_build_finds_the_face_with_the_packs_cascades(told):
    found = told(CONTRIB)
    assert found["version"].startswith("5.") and found["missing"] == []
    (face,) = detection.BuiltInDetector().detect([read_photo(next(SAMPLE_FOLDER.glob("*.png")))])[0]
    assert np.abs(np.array(found["five"]) - face.five).max() < 3
