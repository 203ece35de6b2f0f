"""Faces chosen by place, size and likeness."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceNotFound
from facechain_impl.perception.recognition import Embedding
from facechain_impl.photos import pick as picking
from facechain_impl.photos.pick import PickRule, pick
from facechain_impl.types import Face, Faces, NoFace, Picture, Report, digest_of, replace

# name: box, score
PEOPLE = {
    "anna": ([10, 50, 30, 80], 0.7),
    "bert": ([100, 10, 160, 90], 0.9),
    "carl": ([60, 40, 75, 60], 0.8),
}


def unit(*values) -> np.ndarray:
    return np.array(values, np.float32) / np.linalg.norm(values)


LIKE_ANNA = {"anna": unit(1, 0.1), "bert": unit(0, 1), "carl": unit(1, 1)}


@pytest.fixture
def faces() -> Faces:
    people = [Face(np.array(box, np.float32), score, person=name) for name, (box, score) in PEOPLE.items()]
    return Faces([Picture(people, (100, 200), "digest", "party.jpg")])


def names(faces: Faces) -> list[str]:
    return [face.person for face in faces.pictures[0].faces]


@pytest.mark.parametrize(
    "rule, expected",
    [
        (PickRule(), ["anna", "carl", "bert"]),
        (PickRule(order=picking.RIGHT), ["bert", "carl", "anna"]),
        (PickRule(order=picking.TOP), ["bert", "carl", "anna"]),
        (PickRule(order=picking.LARGE), ["bert", "anna", "carl"]),
        (PickRule(order=picking.SURE), ["bert", "carl", "anna"]),
        (PickRule(first=2, count=1), ["carl"]),
        (PickRule(first=2), ["carl", "bert"]),
        (PickRule(order=picking.LARGE, count=2), ["bert", "anna"]),
        (PickRule(min_size=30), ["anna", "bert"]),
        (PickRule(max_size=30), ["anna", "carl"]),
        (PickRule(min_size=21, max_size=79), ["anna"]),
    ],
)
def test_order_count_and_size(faces, rule, expected):
    report = Report("test")
    assert names(pick(faces, rule, None, NoFace.STOP, report)) == expected
    assert [row.status for row in report.rows].count("picked") == len(expected) and len(report.rows) == 3


def test_mirroring_the_picture_mirrors_the_order(faces):
    boxes = [(face.box * [-1, 1, -1, 1] + [200, 0, 200, 0])[[2, 1, 0, 3]] for face in faces.pictures[0].faces]
    people = [replace(face, box=box) for face, box in zip(faces.pictures[0].faces, boxes)]
    mirrored = Faces([Picture(people, (100, 200), "other", "mirror.jpg")])
    assert names(pick(mirrored, PickRule(), None, NoFace.STOP, Report("test"))) == ["bert", "carl", "anna"]


def test_likeness_orders_and_leaves_out(faces):
    people = [replace(face, embedding=LIKE_ANNA[face.person]) for face in faces.pictures[0].faces]
    faces = Faces([replace(faces.pictures[0], faces=people)])
    report = Report("test")
    assert names(pick(faces, PickRule(order=picking.LIKE), unit(1, 0), NoFace.STOP, report)) == ["anna", "carl", "bert"]
    assert report.rows[0].values["likeness"] == pytest.approx(1 / np.hypot(1, 0.1))
    assert names(pick(faces, PickRule(min_likeness=0.5), unit(1, 0), NoFace.STOP, Report("test"))) == ["anna", "carl"]
    people[0] = replace(people[0], embedding=None)
    faces = Faces([replace(faces.pictures[0], faces=people)])
    assert names(pick(faces, PickRule(order=picking.LIKE), unit(1, 0), NoFace.STOP, Report("test")))[-1] == "anna"


def test_likeness_without_a_reference_is_refused(faces):
    for rule in (PickRule(order=picking.LIKE), PickRule(min_likeness=0.1)):
        with pytest.raises(BadInput, match="needs a reference: connect a picture or a person"):
            pick(faces, rule, None, NoFace.STOP, Report("test"))


def test_a_picture_without_a_fitting_face_follows_the_policy(faces):
    with pytest.raises(FaceNotFound, match="No face is left in: party.jpg"):
        pick(faces, PickRule(min_size=500), None, NoFace.STOP, Report("test"))
    report = Report("test")
    assert names(pick(faces, PickRule(min_size=500), None, NoFace.SKIP, report)) == []
    assert all(row.reason == "its size is outside the limits" for row in report.rows)


def test_what_was_given_stays_as_it_was(faces):
    pick(faces, PickRule(count=1), None, NoFace.STOP, Report("test"))
    assert len(faces.pictures[0].faces) == 3


class Recognition:
    """The embedding of a face is its colour."""

    def embed(self, aligned):
        return [Embedding(unit(*face.mean((0, 1)).tolist()), 0.0) for face in aligned]


def test_missing_embeddings_are_made_from_the_pictures_on_copies():
    image = torch.zeros(100, 200, 3)
    image[:, :100, 0], image[:, 100:, 1] = 1, 1
    points = np.array([[20, 20], [40, 20], [30, 30], [22, 40], [38, 40]], np.float32)
    people = [Face(np.array([0, 0, 60, 60.0]), 1.0, points), Face(np.array([120, 0, 180, 60.0]), 1.0, points + [120, 0])]
    faces = Faces([Picture(people, (100, 200), digest_of(image), "p")])
    known = picking.embedded(faces, [image], Recognition())
    assert np.argmax(known.pictures[0].faces[0].embedding) == 0 and np.argmax(known.pictures[0].faces[1].embedding) == 1
    assert people[0].embedding is None
    with pytest.raises(BadInput, match="Likeness needs the pixels of p"):
        picking.embedded(faces, [], Recognition())
    assert picking.embedded(known, [], Recognition()).pictures[0].faces[0].embedding is not None
