"""RetinaFace against upstream: the raw network, its anchors, and faces of whole photographs."""

from __future__ import annotations

import zlib

import cv2
import numpy as np
import pytest
import torch

from facechain_impl.networks import retinaface
from facechain_impl.perception.retinaface import LIMIT, REDUCED, RetinaFace

from .harness import Ready

FIXTURES = ("retinaface",)


@pytest.fixture(scope="module")
def network(case):
    return case.network(retinaface.RetinaFace, "retinaface")


def test_network(case, network):
    x = case.random("retinaface.x", "x_shape", *case.input("x_range"))
    raw = network(x)
    case.compare("loc", raw.boxes, max=1e-4, rel=2e-5)
    case.compare("conf", raw.scores, max=1e-4, rel=2e-5)
    case.compare("landms", raw.points, max=1e-4, rel=2e-5)
    case.compare("priors", retinaface.anchors(*x.shape[2:]), max=1e-6)


def test_photos(case, network):
    for label in case.labels():
        faces = RetinaFace(Ready(network)).detect([case.picture(label)])[0]
        compare_faces(case, label, rows(faces), label)


def test_large_photo(case, network):
    """Sides over 1500 pixels are reduced. Upstream divides the scores by the scale as well."""
    pixels = cv2.resize(case.photo("group"), tuple(case.input("big_size_wh").tolist()), interpolation=cv2.INTER_LINEAR)
    assert max(pixels.shape) > LIMIT
    same = zlib.crc32(pixels.tobytes()) == case.input("big_crc32")
    faces = rows(RetinaFace(Ready(network)).detect([torch.from_numpy(pixels) / 255])[0])
    faces[:, 4] /= REDUCED / max(pixels.shape)
    compare_faces(case, "big", faces, "group", factor=1 if same else 10)


def test_batch_gives_the_same_faces(case, network):
    label = case.labels()[0]
    image = case.picture(label)
    detector = RetinaFace(Ready(network))
    first, _, last = detector.detect([image, image.flip(1), image])
    assert np.abs(rows(first) - rows(last)).max() < 1e-3
    assert np.abs(rows(first) - rows(detector.detect([image])[0])).max() < 1e-2


def rows(faces):
    """x0 y0 x1 y1, score, five points: [N, 15]."""
    return np.array([[*face.box, face.score, *face.points.flatten()] for face in faces])


def compare_faces(case, label, found, photo, factor=1):
    names = [f"{label}_boxes", f"{label}_landmarks"]
    case.compare_rows(names, found, box=1e-2 * factor, score=1e-4 * factor, count=f"{label}_count", photo=photo)
