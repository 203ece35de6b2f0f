"""Gender and age: which outputs mean what, and batches."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from facechain_impl.perception.attributes import AGES, BATCH, GENDERS, FaceAttributes, prepared


class Fixed:
    """Stands for the network: race 0, then a man of 30-39, whatever it sees."""

    def __init__(self):
        self.batches = []

    def __call__(self, x):
        self.batches.append(tuple(x.shape))
        logits = torch.zeros(len(x), 18)
        logits[:, 0], logits[:, 7], logits[:, 9 + 4] = 9, 2, 5
        return logits


def test_what_the_outputs_mean():
    (found,) = FaceAttributes(SimpleNamespace(load=Fixed, device="cpu")).predict([torch.rand(112, 112, 3)])
    assert GENDERS[found["gender"].argmax()] == "Male" and AGES[found["age"].argmax()] == "30-39"
    assert found["gender"] == pytest.approx([0.8808, 0.1192], abs=1e-4)
    assert found["gender"].sum() == pytest.approx(1) and found["age"].sum() == pytest.approx(1)
    assert found["gender"].shape == (2,) and found["age"].shape == (9,)


def test_faces_go_through_in_batches():
    network = Fixed()
    faces = FaceAttributes(SimpleNamespace(load=lambda: network, device="cpu"))
    assert len(faces.predict([torch.rand(112, 112, 3)] * (BATCH + 3))) == BATCH + 3
    assert network.batches == [(BATCH, 3, 224, 224), (3, 3, 224, 224)]
    assert faces.predict([]) == []


def test_input_is_normalised_rgb():
    red = torch.zeros(112, 112, 3)
    red[..., 0] = 1
    assert prepared(red)[:, 5, 5].tolist() == pytest.approx([2.2489, -2.0357, -1.8044], abs=1e-3)
