"""The report on a set of photos, on made-up faces and, where they are, on real photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

photo_study = pytest.importorskip("facechain_impl.photos.study", reason="set COMFYUI_PATH")
from facechain_impl.errors import MissingWeights  # noqa: E402
from facechain_impl.geometry.affine import ARCFACE_112  # noqa: E402
from facechain_impl.types import Face, Faces, Picture, Report, digest_of  # noqa: E402

SIDE = 128


def noise(seed: int) -> torch.Tensor:
    return torch.rand(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(seed))


def face(vector: int | None = 0, side: float = 100, shift: float = 0) -> Face:
    points = (ARCFACE_112 + [0, 0]).astype(np.float32)
    points[2, 0] += shift
    embedding = None if vector is None else np.eye(512, dtype=np.float32)[vector]
    return Face(np.array([5, 5, 5 + side, 5 + side], np.float32), 1.0, points, embedding=embedding)


def known(photos: list[torch.Tensor], faces: list[list[Face]]) -> Faces:
    return Faces([Picture(found, tuple(photo.shape[:2]), digest_of(photo)) for photo, found in zip(photos, faces)])


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def missing(name):
        raise MissingWeights(f"{name} is not here")

    monkeypatch.setattr(photo_study.models, "open_network", missing)
    monkeypatch.setattr(photo_study.models, "open_session", missing)


def summary(found) -> str:
    report = Report("Photos")
    photo_study.fill(report, found, [f"{letter}.jpg" for letter, _ in zip("abcdef", found.facts)])
    return report.notes[0]


def problems(photos, faces) -> list[str]:
    return photo_study.verdicts(photo_study.study(photos, known(photos, faces)))


def test_good_photos():
    photos = [noise(seed) for seed in range(4)]
    found = photo_study.study(photos, known(photos, [[face(shift=shift)] for shift in (-8, -2, 3, 8)]))
    assert photo_study.verdicts(found) == [""] * 4
    assert "4 of 4 photos are good, from different sides" in summary(found)
    np.testing.assert_allclose(found.embedding, np.eye(512, dtype=np.float32)[0])


def test_every_problem_is_named():
    photos = [noise(seed) for seed in range(6)]
    photos[1] = torch.full((SIDE, SIDE, 3), 0.5)
    photos[5] = photos[0].clone() * 0.98
    faces = [[face()], [face()], [face(), face(None, 20)], [face(side=20)], [face(shift=20)], [face()]]
    found = problems(photos, faces)
    assert found[0] == "" and "blurred" in found[1] and "1 more faces" in found[2]
    assert "small" in found[3] and "turned far" in found[4] and "nearly the same as photo 1" in found[5]


def test_two_different_people():
    photos = [noise(seed) for seed in range(4)]
    found = photo_study.study(photos, known(photos, [[face(0)], [face(0)], [face(7)], [face(0)]]))
    assert ["another person" in text for text in photo_study.verdicts(found)] == [False, False, True, False]
    assert summary(found).startswith("c.jpg: another person than in most photos")


def test_without_a_face_and_without_the_network():
    photos = [noise(0), noise(1)]
    found = photo_study.study(photos, known(photos, [[], [face(None)]]))
    assert photo_study.verdicts(found)[0] == "no face was found"
    assert found.embedding is None and "Without the recognition network" in found.notes[0]


def test_report_has_a_row_for_each_photo():
    photos = [noise(0), noise(1)]
    report = Report("Photos")
    photo_study.fill(report, photo_study.study(photos, known(photos, [[face()], []])), ["a.jpg", "b.jpg"])
    assert [(row.name, row.status) for row in report.rows] == [("a.jpg", "good"), ("b.jpg", "check")]
    assert report.rows[0].values["sharpness"] > photo_study._BLURRED and report.notes[0].startswith("1 of 2 photos are good")


def test_a_duplicate_is_named_by_its_photo():
    photos = [noise(0), noise(0) * 0.98]
    report = Report("Photos")
    photo_study.fill(report, photo_study.study(photos, known(photos, [[face()], [face()]])), ["anna.jpg", "anna copy.jpg"])
    assert report.rows[1].reason == "nearly the same as anna.jpg"


def test_others_on_the_whole_photo_count_for_its_crop():
    crop, whole = noise(0), torch.rand(200, 200, 3, generator=torch.Generator().manual_seed(9))
    faces = Faces(
        [Picture([face(), face(None, 30)], (200, 200), digest_of(whole))], crops=[Picture([face()], (SIDE, SIDE), digest_of(crop))]
    )
    assert "1 more faces" in photo_study.verdicts(photo_study.study([crop], faces))[0]


def test_real_photographs(photographs):
    from facechain_impl.photos.load import load_photos

    folder = photographs / "person_a"
    photos = load_photos(sorted(folder.glob("*.jpg")))
    found = photo_study.study(list(photos.images))
    sharp = [one.main.blur for one in found.facts if one.main is not None]
    assert len(sharp) >= 3 and min(sharp) > 5


class TestBest:
    """The first photo was taken; a black one became the face of the person."""

    def test_the_sharpest_clean_photo_without_the_quality_network(self):
        soft = torch.nn.functional.avg_pool2d(noise(1).movedim(-1, 0)[None], 3, 1, 1)[0].movedim(0, -1)
        photos = [torch.zeros(SIDE, SIDE, 3), soft, noise(2)]
        found = photo_study.study(photos, known(photos, [[face()], [face()], [face()]]))
        assert photo_study.best(photos, found) == 2

    def test_strangers_and_photos_without_a_face_are_not_chosen(self):
        photos = [noise(seed) for seed in range(4)]
        found = photo_study.study(photos, known(photos, [[], [face(1)], [face()], [face()]]))
        assert photo_study.best(photos, found) in (2, 3)
        nobody = photo_study.study(photos, known(photos, [[], [], [], []]))
        assert photo_study.best(photos, nobody) == 0

    def test_the_highest_quality_where_the_network_is_here(self, monkeypatch):
        monkeypatch.setattr(photo_study.models, "open_session", lambda name: name)
        monkeypatch.setattr(photo_study.FaceQuality, "score", lambda self, aligned: [0.2, 0.9, 0.4][: len(aligned)])
        photos = [noise(seed) for seed in range(3)]
        assert photo_study.best(photos, photo_study.study(photos, known(photos, [[face()], [face()], [face()]]))) == 1
