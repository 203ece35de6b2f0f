"""Faces found once and taken over, and which of them is the main one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.perception.detection import Detector
from facechain_impl.perception.faces import enriched, find_faces, large_enough, largest, main_face, with_face
from facechain_impl.types import Face, Faces, Picture, digest_of, replace


class Counting(Detector):
    """Finds one face per picture, as wide as the picture is, and counts the pictures it saw."""

    name = "Counting"

    def __init__(self):
        self.seen = 0

    def detect(self, images):
        self.seen += len(images)
        return [[face(0, 0, image.shape[1], 5)] for image in images]


def face(x0, y0, x1, y1, points=True) -> Face:
    return Face(np.array([x0, y0, x1, y1], np.float32), 0.9, np.zeros((5, 2), np.float32) if points else None)


@pytest.fixture
def pictures() -> list[torch.Tensor]:
    return [torch.full((20, 30, 3), 0.1), torch.full((40, 30, 3), 0.2), torch.full((20, 30, 3), 0.3)]


def test_every_picture_gets_its_entry(pictures):
    found = find_faces(pictures, Counting(), names=["a", "b", "c"])
    assert [picture.name for picture in found.pictures] == ["a", "b", "c"]
    assert [picture.size for picture in found.pictures] == [(20, 30), (40, 30), (20, 30)]
    assert [picture.digest for picture in found.pictures] == [digest_of(image) for image in pictures]
    assert found.used == () and found.pictures[0].detector == "Counting"


def test_known_pictures_are_not_looked_at_again(pictures):
    detector = Counting()
    known = find_faces(pictures[:2], detector)
    again = find_faces(pictures[::-1], detector, known)
    assert detector.seen == 3
    assert [picture.digest for picture in again.pictures] == [digest_of(image) for image in pictures[::-1]]
    assert again.pictures[1].faces is known.pictures[1].faces


def test_a_detector_is_not_opened_when_all_is_known(pictures):
    known = find_faces(pictures, Counting())
    assert len(find_faces(pictures, "no such detector", known)) == 3
    with pytest.raises(BadInput, match="no such detector"):
        find_faces([*pictures, torch.zeros(20, 30, 3)], "no such detector", known)


def test_one_changed_pixel_is_another_picture(pictures):
    detector = Counting()
    known = find_faces(pictures, detector)
    pictures[0] = pictures[0].clone()
    pictures[0][0, 0, 0] += 1e-6
    find_faces(pictures, detector, known)
    assert detector.seen == 4


def test_faces_of_other_sizes_are_refused(pictures):
    known = find_faces(pictures, Counting())
    with pytest.raises(BadInput, match="found in 30x20, 30x40, this picture is 31x20"):
        find_faces([torch.zeros(20, 31, 3)], Counting(), known)


def test_crops_are_known_too(pictures):
    crop = torch.rand(64, 64, 3)
    known = Faces([], crops=[Picture([face(1, 2, 3, 4)], (64, 64), digest_of(crop))])
    detector = Counting()
    assert find_faces([crop], detector, known).pictures[0].faces[0].box[2] == 3
    assert detector.seen == 0


def test_the_main_face_must_be_four_times_as_large():
    small, large = face(0, 0, 10, 10), face(0, 0, 20, 20)
    assert largest([small, large], 4) is large
    assert largest([small, face(0, 0, 19, 20)], 4) is None
    assert largest([small, face(0, 0, 19, 20)], 1).width == 19
    assert largest([small], 4) is small
    assert largest([], 4) is None and largest([]) is None


def test_the_face_to_recognise_is_ten_pixels_wide_and_has_points():
    assert large_enough([face(0, 0, 9.9, 50)]) == []
    best = face(0, 0, 12, 12)
    assert main_face([face(0, 0, 9, 500), best, face(0, 0, 99, 99, points=False)]) is best
    assert main_face([]) is None


def test_what_is_found_later_joins_what_is_known(pictures):
    known = find_faces(pictures[:2], Counting(), names=["a", "b"])
    known = replace(known, crops=[Picture([face(1, 2, 3, 4)], (64, 64), "crop", "a")])
    found = [known.pictures[1], known.crops[0], *find_faces(pictures[2:], Counting(), names=["c"]).pictures]
    later = [with_face(picture, picture.faces[0], replace(picture.faces[0], quality=0.5)) for picture in found]
    joined = enriched(known, later)
    assert [(picture.name, picture.faces[0].quality) for picture in joined.pictures] == [("a", None), ("b", 0.5), ("c", 0.5)]
    assert joined.crops == (later[1],)
    assert known.pictures[1].faces[0].quality is None, "what another node put out stays as it is"
    assert enriched(None, later).pictures == tuple(later)


def test_faces_that_know_nothing_refuse_nothing(pictures):
    detector = Counting()
    assert len(find_faces(pictures, detector, Faces([]))) == 3 and detector.seen == 3
