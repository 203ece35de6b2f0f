"""The 70 landmarks of faces in crops, from the host's face mesh."""

from __future__ import annotations

import numpy as np
import torch

from facechain_impl.perception.landmarks import MESH_PUPILS, MESH_TO_68
from facechain_impl.portrait.inpaint.landmarkers import MediaPipe
from facechain_impl.types import Face


def mesh(centre=(256.0, 256.0)):
    """478 points around `centre`."""
    return np.random.default_rng(0).normal(size=(478, 2)) * 30 + centre


class Recorder:
    def __init__(self, meshes):
        self.meshes, self.seen = meshes, []

    def detect_batch(self, images, num_faces, score_thresh, variant):
        self.seen += images
        return self.meshes


def test_mediapipe_takes_the_mesh_that_lies_on_the_face():
    here, there = mesh(centre=(100.0, 100.0)), mesh(centre=(300.0, 100.0))
    meshes = [{"bbox_xyxy": np.array([230.0, 20, 370, 200]), "landmarks_xy": there}]
    meshes.append({"bbox_xyxy": np.array([30.0, 20, 170, 200]), "landmarks_xy": here})
    model = Recorder([meshes])
    found = MediaPipe(model).find([torch.full((256, 400, 3), 0.5)], [Face(np.array([40.0, 30, 160, 190]), 0.9)])
    assert np.array_equal(found[0], here[[*MESH_TO_68, *MESH_PUPILS]])
    assert model.seen[0].dtype == np.uint8 and (model.seen[0] == 128).all()


def test_mediapipe_sees_nothing_where_no_mesh_meets_the_face():
    model = Recorder([[{"bbox_xyxy": np.array([200.0, 0, 300, 90]), "landmarks_xy": mesh()}], []])
    faces = [Face(np.array([0.0, 0, 50, 50]), 0.9)] * 2
    assert MediaPipe(model).find([torch.zeros(300, 300, 3)] * 2, faces) == [None, None]
