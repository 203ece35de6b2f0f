"""Who goes onto which face."""

from __future__ import annotations

import numpy as np
import pytest

from facechain_impl.errors import BadInput
from facechain_impl.perception.faces import left_to_right
from facechain_impl.portrait import people
from facechain_impl.portrait.people import Assign
from facechain_impl.types import Face, Person


def direction(index, towards=None, share=0.0):
    vector = np.zeros(512, np.float32)
    vector[index] = 1
    if towards is not None:
        vector[towards] = share
    return vector / np.linalg.norm(vector)


def face(x, embedding=None, person=None, size=40):
    return Face(np.array([x, 10, x + size, 10 + size], np.float32), 0.9, embedding=embedding, person=person)


def person(name, embedding=None):
    return Person(name, {}, f"<fcsks>, {name}", embedding=embedding)


THREE = [person("ann", direction(0)), person("ben", direction(1)), person("cy", direction(2))]


def test_likeness_beats_order():
    faces = [face(0, direction(2)), face(50, direction(0)), face(100, direction(1))]
    assert people.assign(faces, THREE, Assign.AUTO).person_of == [2, 0, 1]


def test_mirroring_the_picture_keeps_everybody_on_their_face():
    faces = [face(0, direction(2, 1, 0.4)), face(50, direction(0)), face(100, direction(1, 2, 0.3))]
    mirrored = left_to_right([face(400 - one.box[2], one.embedding) for one in faces])
    plain = people.assign(faces, THREE, Assign.AUTO).person_of
    assert people.assign(mirrored, THREE, Assign.AUTO).person_of == plain[::-1]


def test_the_best_total_wins_not_the_best_single_pair():
    first = face(0, direction(0, 1, 0.9))
    second = face(50, direction(0))
    assert people.assign([first, second], THREE[:2], Assign.LIKENESS).person_of == [1, 0]


def test_without_embeddings_the_order_decides_and_the_note_says_why():
    result = people.assign([face(0), face(50)], [person("ann"), person("ben")], Assign.AUTO)
    assert result.person_of == [0, 1] and "left to right" in result.notes[0] and "ann, ben" in result.notes[0]


def test_order_ignores_likeness():
    faces = [face(0, direction(2)), face(50, direction(0))]
    assert people.assign(faces, THREE[:2], Assign.ORDER).person_of == [0, 1]


def test_likeness_that_cannot_be_had_is_an_error():
    with pytest.raises(BadInput, match="no likeness is known of ben"):
        people.assign([face(0, direction(0)), face(50, direction(1))], [THREE[0], person("ben")], Assign.LIKENESS)
    with pytest.raises(BadInput, match="likeness of the faces"):
        people.assign([face(0)], THREE[:1], Assign.LIKENESS)


def test_fewer_persons_than_faces_leave_the_others_alone():
    faces = [face(0, direction(5)), face(50, direction(1)), face(100, direction(6))]
    assert people.assign(faces, [THREE[1]], Assign.AUTO).person_of == [None, 0, None]
    assert people.assign([face(0), face(50)], [person("ann")], Assign.AUTO).person_of == [0, None]


def test_more_persons_than_faces_use_the_best():
    assert people.assign([face(0, direction(2))], THREE, Assign.AUTO).person_of == [2]
    assert people.assign([face(0)], [person("ann"), person("ben")], Assign.AUTO).person_of == [0]


def test_names_on_the_faces_come_first():
    faces = [face(0, direction(0), person="cy"), face(50, direction(1)), face(100, direction(2))]
    assert people.assign(faces, THREE, Assign.AUTO).person_of == [2, 1, 0]
    assert people.assign(faces[:1], THREE, Assign.ORDER).person_of == [2]


def test_a_list_says_it_all():
    faces = [face(0), face(50), face(100), face(150)]
    assert people.assign(faces, THREE, Assign.LIST, "cy, 0, 1; cy").person_of == [2, None, 0, 2]


@pytest.mark.parametrize(
    "entries, message", [("1", "names 1 persons"), ("1, 4", "names '4'"), ("1, dora", "1 ann, 2 ben, 3 cy"), ("", "names 0")]
)
def test_a_list_that_does_not_fit_is_refused(entries, message):
    with pytest.raises(BadInput, match=message):
        people.assign([face(0), face(50)], THREE, Assign.LIST, entries)


def test_choosing_faces():
    faces = [face(0), face(50, size=80), face(150)]
    assert people.chosen(faces, "auto", anybody=True) == [0, 1, 2]
    assert people.chosen(faces, "auto", anybody=False) == [1]
    assert people.chosen(faces, " All ", anybody=False) == [0, 1, 2]
    assert people.chosen(faces, "3, 1, 3", anybody=True) == [0, 2]
    assert people.chosen(faces, "none", anybody=True) == []


@pytest.mark.parametrize("choice", ["4", "0", "left", "1,,2", "-1", ""])
def test_faces_that_are_not_there_cannot_be_chosen(choice):
    with pytest.raises(BadInput, match="has 3"):
        people.chosen([face(0), face(50), face(100)], choice, anybody=True)


def test_left_to_right_goes_by_the_left_edge():
    faces = [face(70), face(5), face(30)]
    assert [float(one.box[0]) for one in left_to_right(faces)] == [5, 30, 70]
