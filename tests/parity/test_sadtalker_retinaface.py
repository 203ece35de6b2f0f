"""The detector of the talking head: RetinaFace of facexlib."""

from __future__ import annotations

import numpy as np
import pytest

from facechain_impl.networks.retinaface import RetinaFace
from facechain_impl.perception import retinaface

from .recipe_sadtalker import maker
from .sadtalker_parts import Held, tensor

FIXTURES = ("sadtalker/retinaface",)


@pytest.fixture(scope="module")
def network(case):
    """The published names start with "module.", which conversion takes off."""
    layout = {f"module.{name}": row for name, row in RetinaFace.layout().items()}
    arrays = case.weights("retinaface", layout, maker("retinaface"))
    return Held(RetinaFace.from_state_dict({name.removeprefix("module."): value for name, value in arrays.items()}))


def test_raw(case, network):
    picture = case.input("in_rgb")[:, :, ::-1].astype(np.float32) - retinaface.MEAN
    raw = network.load()(tensor(picture).movedim(-1, 0)[None])
    case.compare("out_loc", raw.boxes, max=1e-4)
    case.compare("out_conf", raw.scores, max=1e-4)
    case.compare("out_landmark", raw.points, max=1e-4)


@pytest.mark.parametrize(("array", "bgr"), [("bgr", True), ("pil", True), ("rgb_as_bgr", False)])
def test_detections(case, network, array, bgr):
    """Random weights are never sure of a face, hence the threshold of the file."""
    rules = retinaface.FACEXLIB._replace(min_score=float(case.input("in_threshold")))
    detector = retinaface.RetinaFace(network, bgr=bgr, rules=rules)
    (faces,) = detector.detect([tensor(case.input("in_rgb")).float() / 255])
    rows = np.array([[*face.box, face.score, *face.points.ravel()] for face in faces])
    case.compare_rows([f"out_detections_{array}"], rows, share=0.98)


def test_rules():
    assert retinaface.FACEXLIB.min_score == 0.97
