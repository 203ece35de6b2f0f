"""Ranking by likeness: order, filters, references and what happens to pictures without a face."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceNotFound
from facechain_impl.identity.ranking import Filters, Ranker
from facechain_impl.perception.detection import Detector
from facechain_impl.perception.recognition import Embedding
from facechain_impl.types import Face, Faces, NoFace, Person, Picture, Report, digest_of, replace

EVERYTHING = Filters(one_face=False, size=None)
TEMPLATE = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)


class Sketches(Detector):
    """Faces drawn by `picture`: the red of the first pixel counts them, its green is the side of each in units of 400."""

    name = "Sketches"

    def __init__(self):
        self.seen = 0

    def detect(self, images):
        self.seen += len(images)
        return [[face(float(image[0, 0, 1]) * 400) for _ in range(round(float(image[0, 0, 0]) * 10))] for image in images]


class Colours:
    """An embedding that is the colour's angle in the middle of the aligned face: blue 0 is 0, blue 1 a right angle."""

    def __init__(self):
        self.calls = []

    def embed(self, aligned):
        self.calls.append(len(aligned))
        return [Embedding(angle(float(face[56, 56, 2])), float(face[56, 56, 2])) for face in aligned]


class Blueness:
    def score(self, aligned):
        return [float(face[56, 56, 2]) for face in aligned]


def angle(turn: float) -> np.ndarray:
    vector = np.zeros(512, np.float32)
    vector[:2] = math.cos(turn * math.pi / 2), math.sin(turn * math.pi / 2)
    return vector


def face(side: float) -> Face:
    return Face(np.array([0, 0, side, side * 0.8], np.float32), 0.9, TEMPLATE.copy())


def picture(blue: float, faces: int = 1, side: float = 200) -> torch.Tensor:
    image = torch.zeros(128, 128, 3)
    image[..., 2] = blue
    image[0, 0, 0], image[0, 0, 1] = faces / 10, side / 400
    return image


@pytest.fixture
def ranker():
    return Ranker(Sketches(), Colours())


def rank(ranker, pictures, filters=EVERYTHING, policy=NoFace.STOP, known=None):
    reference = ranker.reference([picture(0.2)], None)
    return ranker.rank(pictures, known, reference, filters, policy)


def order(ranking):
    return [one.index for one in ranking.kept]


def test_sorted_by_cosine(ranker):
    blues = [0.9, 0.2, 0.5, 0.0]
    ranking = rank(ranker, [picture(blue) for blue in blues])
    assert order(ranking) == [1, 3, 2, 0]
    expected = [math.cos((blues[one.index] - 0.2) * math.pi / 2) for one in ranking.kept]
    assert ranking.scores() == pytest.approx(expected, abs=1e-5)
    assert [one.face.uncertainty for one in ranking.kept] == pytest.approx([0.2, 0.0, 0.5, 0.9])


def test_candidates_go_through_together(ranker):
    rank(ranker, [picture(blue) for blue in (0.1, 0.2, 0.3)])
    assert ranker.recognition.calls == [1, 3]


def test_filters_and_their_switches(ranker):
    pictures = [picture(0.1, faces=2), picture(0.2, side=119), picture(0.3, side=121), picture(0.4, side=299), picture(0.5, side=301)]
    assert order(rank(ranker, pictures, Filters())) == [2, 3]
    assert order(rank(ranker, pictures, Filters(one_face=False))) == [0, 2, 3]
    assert order(rank(ranker, pictures, Filters(size=None))) == [1, 2, 3, 4]
    assert order(rank(ranker, pictures, Filters(size=(100, 200)))) == [1, 2]
    dropped = {one.index: one.reason for one in rank(ranker, pictures, Filters()).dropped}
    assert dropped[0] == "2 faces instead of one"
    assert dropped[4] == "the face measures 301 px instead of 120 to 300"


@pytest.mark.parametrize(("side", "refused"), [(120, True), (120.5, False), (299.5, False), (300, True)])
def test_ends_of_the_size_range_are_excluded(side, refused):
    assert bool(Filters().reason([face(side)], face(side))) is refused


def test_faceless_pictures_follow_the_policy(ranker):
    pictures = [picture(0.9), picture(0.0, faces=0), picture(0.3)]
    with pytest.raises(FaceNotFound, match="picture 2: no face found"):
        rank(ranker, pictures)
    skipped = rank(ranker, pictures, policy=NoFace.SKIP)
    assert order(skipped) == [2, 0]
    assert [one.index for one in skipped.dropped] == [1]
    passed = rank(ranker, pictures, policy=NoFace.PASS)
    assert order(passed) == [2, 0, 1]
    assert math.isnan(passed.scores()[-1])
    report = Report("")
    passed.fill(report)
    assert [row.status for row in report.rows] == ["ranked", "ranked", "passed through"]
    assert report.json()["rows"][2] == {
        "name": "picture 2",
        "status": "passed through",
        "severity": "warning",
        "reason": "no face found",
        "values": {"score": None, "uncertainty": None, "faces": 0, "face px": None},
    }


def test_refused_pictures_are_no_reason_to_stop(ranker):
    ranking = rank(ranker, [picture(0.1, faces=3), picture(0.2)], Filters())
    assert order(ranking) == [1]
    assert [one.index for one in ranking.dropped] == [0]


def test_pass_through_keeps_refused_pictures_behind(ranker):
    assert order(rank(ranker, [picture(0.2, faces=3), picture(0.9)], Filters(), NoFace.PASS)) == [1, 0]


@pytest.mark.parametrize("policy", [NoFace.STOP, NoFace.SKIP])
def test_nothing_left_says_why(ranker, policy):
    with pytest.raises(FaceNotFound, match=r"0 of 2 pictures can be ranked\. picture 1: 2 faces.*picture 2: no face"):
        rank(ranker, [picture(0.1, faces=2), picture(0.1, faces=0)], Filters(), policy)


def test_tiny_faces_cannot_be_aligned(ranker):
    ranking = rank(ranker, [picture(0.1, side=9), picture(0.2)], policy=NoFace.SKIP)
    assert order(ranking) == [1]


def test_empty_list(ranker):
    with pytest.raises(BadInput, match="No picture arrived"):
        rank(ranker, [])


def test_pixels_that_are_not_numbers(ranker):
    broken = picture(0.1)
    broken[5, 5, 0] = math.nan
    with pytest.raises(BadInput, match="picture 2 contains 1 NaN or infinite pixels"):
        rank(ranker, [picture(0.1), broken])


def test_keep_best(ranker):
    pictures = [picture(0.9), picture(0.2), picture(0.5), picture(0.1, faces=0)]
    ranking = rank(ranker, pictures, policy=NoFace.PASS)
    ranking.keep_best(2)
    assert order(ranking) == [1, 2, 3]
    assert [(one.index, one.reason) for one in ranking.dropped] == [(0, "not among the best 2")]


def test_reference_of_best_quality(ranker):
    photos = [picture(0.0, faces=0), picture(0.3), picture(0.8), picture(0.5)]
    assert "reference 2 of 4" in ranker.reference(photos, None).note
    ranker.quality = Blueness
    found = ranker.reference(photos, None)
    assert found.note == "Compared with picture 3, reference 3 of 4, quality 0.800."
    assert found.vector == pytest.approx(angle(0.8), abs=1e-5)


def test_one_reference_needs_no_quality(ranker):
    ranker.quality = lambda: pytest.fail("the quality network was opened for a single reference")
    assert ranker.reference([picture(0.3)], None).vector == pytest.approx(angle(0.3), abs=1e-5)


def test_reference_without_face(ranker):
    with pytest.raises(FaceNotFound, match="No face was found in the reference"):
        ranker.reference([picture(0.3, faces=0)], None)
    with pytest.raises(BadInput, match="nothing to compare with"):
        ranker.reference([], None)


def test_person_by_template_then_by_embedding(ranker):
    person = Person("Eva", {}, "", photo=picture(0.4), embedding=angle(0.9))
    assert ranker.person(person).vector == pytest.approx(angle(0.4), abs=1e-5)
    person = replace(person, photo=None)
    assert ranker.person(person).vector == pytest.approx(angle(0.9))
    person = replace(person, embedding=None)
    with pytest.raises(BadInput, match="Eva was stored without a face"):
        ranker.person(person)


def test_connected_faces_replace_networks(ranker):
    image = picture(0.9)
    known_face = replace(face(200), embedding=angle(0.2), uncertainty=1.5)
    known = Faces([Picture([known_face], (128, 128), digest_of(image), "eva.jpg")])
    reference = ranker.reference([], known)
    ranking = ranker.rank([image], known, reference, EVERYTHING, NoFace.STOP)
    assert ranker.detector.seen == 0
    assert ranker.recognition.calls in ([], [0])
    assert ranking.scores() == pytest.approx([1.0])
    assert ranking.kept[0].picture.name == "eva.jpg"


def test_connected_faces_stay_as_they_are(ranker):
    image = picture(0.9)
    known = Faces([Picture([face(200)], (128, 128), digest_of(image))])
    ranking = rank(ranker, [image], known=known)
    assert known.pictures[0].faces[0].embedding is None
    assert ranking.kept[0].picture.faces[0].embedding == pytest.approx(angle(0.9), abs=1e-5)


def test_places_are_counted_among_ranked_pictures_only(ranker):
    report = Report("")
    rank(ranker, [picture(0.9), picture(0.0, faces=0), picture(0.3)], policy=NoFace.PASS).fill(report)
    assert [row.values.get("place") for row in report.rows] == [1, 2, None]


def test_references_that_were_recognised_and_judged_before_run_no_network(ranker):
    images = [picture(0.5), picture(0.9)]
    faces = [face(200), face(200)]
    faces = [replace(one, embedding=angle(turn), quality=quality) for one, turn, quality in zip(faces, (0.2, 0.4), (0.1, 0.7))]
    known = Faces([Picture([one], (128, 128), digest_of(image), "x") for one, image in zip(faces, images)])
    ranker.quality = lambda: pytest.fail("judged again")
    found = ranker.reference(images, known)
    assert found.vector == pytest.approx(angle(0.4)) and found.note.endswith("reference 2 of 2, quality 0.700.")
    assert ranker.detector.seen == 0 and ranker.recognition.calls in ([], [0])
