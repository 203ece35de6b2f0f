"""DamoFD: raw maps of random input, and whole detections on photographs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.networks.damofd import STRIDES, DamoFD
from facechain_impl.perception.detection import DamoFDDetector
from facechain_impl.types import Origin

FIXTURES = ("damofd",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(DamoFD, "damofd")


@pytest.fixture(scope="module")
def detector(network):
    return DamoFDDetector(SimpleNamespace(load=lambda: network, device=torch.device("cpu"), origin=Origin.STAND_IN))


def test_maps(case, network):
    found = network(case.random("damofd.x", "x_shape", *case.input("x_range")))
    for stride, maps in zip(STRIDES, found):
        for name, mine in zip(("cls", "reg", "kps"), maps):
            case.compare(f"{name}_stride{stride}", mine, max=1e-4, rel=2e-5)


def variants(case):
    """(name in the file, label, picture): the photographs, and those that upstream handed over as BGR."""
    for label in case.labels():
        yield f"{label}_rgb", label, case.picture(label)
        if case.has(f"{label}_bgr_dets"):
            yield f"{label}_bgr", label, case.picture(label).flip(-1)


def test_inputs(case, detector):
    for name, label, picture in variants(case):
        ground, size, scale = detector.prepare(picture)
        case.compare(f"{name}_input", ground, max=1e-5, photo=label)
        case.compare(f"{name}_resized_hw", size)
        case.compare(f"{name}_scale_factor", np.tile(scale, 2), max=1e-6)


def test_detections(case, detector):
    """All pictures in one call: what is found in one does not depend on the others."""
    names, labels, pictures = zip(*variants(case))
    for name, label, faces in zip(names, labels, detector.detect(list(pictures))):
        assert [face.score for face in faces] == sorted((face.score for face in faces), reverse=True)
        rows = np.array([[*face.box, face.score, *face.points.ravel()] for face in faces])
        case.compare_rows([f"{name}_dets"], rows, count=f"{name}_count", photo=label)
