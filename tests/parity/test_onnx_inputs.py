"""What the ONNX networks are given, and the rules around them. Their weights are not part of the fixtures."""

from __future__ import annotations

import json

import numpy as np
import torch

from facechain_impl.geometry.affine import align112
from facechain_impl.perception import quality, rotation
from facechain_impl.perception.faces import large_enough, largest
from facechain_impl.types import Face

FIXTURES = ("onnx_inputs",)
LEVEL = 2 / 255  # of an input in -1..1


def test_rotation_input(case):
    for label in case.labels():
        case.compare(f"{label}_rot_bgr_input", rotation.prepared(case.picture(label))[None], max=0.2 * rotation.FACTOR.max(), photo=label)


def test_turning(case):
    source = torch.from_numpy(case.input("rotate_source"))
    for quarters in range(4):
        case.compare(f"rotated_{quarters}", rotation.rotate(source, quarters))


def test_quality_input(case):
    """The warp itself may differ by two levels between versions of OpenCV."""
    for label in (label for label in case.labels() if case.has(f"{label}_points")):
        aligned = align112(case.picture(label), case.input(f"{label}_points"))
        rounded = (aligned * 255).round() / 255
        given = quality.prepared([rounded])
        case.compare(f"{label}_fqa_dtype", str(given.dtype))
        case.compare(f"{label}_fqa_input", given, max=2.01 * LEVEL, mean=0.1 * LEVEL, photo=label)


def test_choice_of_the_face(case):
    cases = json.loads(case.input("choose_face"))
    for one in cases:
        faces = [Face(np.array(box, np.float32), score) for box, score in zip(one["boxes"], one["scores"])]
        chosen = largest(large_enough(faces))
        assert one["chosen"] == next((index for index, face in enumerate(faces) if face is chosen), None)
    case.compare("choose_face", case.input("choose_face"))
