"""Which photos go on to a training, with what is known about their faces."""

from __future__ import annotations

import pytest
import torch

choose = pytest.importorskip("facechain_impl.photos.choose", reason="set COMFYUI_PATH")
from facechain_impl.errors import BadInput, MissingWeights  # noqa: E402
from facechain_impl.photos import study as photo_study  # noqa: E402
from facechain_impl.photos.choose import LeaveOut  # noqa: E402
from facechain_impl.types import Face, Faces, Picture, Report, digest_of  # noqa: E402

from .test_study import SIDE, face, known, noise  # noqa: E402

GREY = torch.full((SIDE, SIDE, 3), 0.5)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch):
    def missing(name):
        raise MissingWeights(f"{name} is not here")

    monkeypatch.setattr(photo_study.models, "open_network", missing)


def kept(photos: list[torch.Tensor], faces: list[list[Face]], rule: LeaveOut = LeaveOut.BAD) -> list[int]:
    return choose.chosen(photo_study.study(photos, known(photos, faces)), rule)


def test_bad_photos_stay_behind_and_others_with_a_remark_go_on():
    photos = [noise(0), GREY, noise(2), noise(3), noise(4), noise(5), noise(0) * 0.98, noise(7)]
    faces = [[face()], [face()], [], [face(7)], [face(), face(None, 20)], [face(side=20)], [face()], [face(shift=20)]]
    assert kept(photos, faces) == [0, 4, 5, 7]
    assert kept(photos, faces, LeaveOut.REMARKED) == [0]
    assert kept(photos, faces, LeaveOut.NOTHING) == list(range(8))


def test_a_copy_goes_on_where_no_other_copy_does():
    """Else both are lost: the first because it is blurred, the second because it is like the first."""
    blurred = torch.nn.functional.avg_pool2d(noise(0).movedim(-1, 0)[None], 9, 1, 4)[0].movedim(0, -1)
    found = photo_study.study([blurred, noise(0), noise(0) * 0.98], known([blurred, noise(0), noise(0) * 0.98], [[face()]] * 3))
    found.facts[1].duplicate_of, found.facts[2].duplicate_of = 0, 1
    assert choose.chosen(found, LeaveOut.BAD) == [1]
    assert choose.chosen(found, LeaveOut.REMARKED) == [1]


def test_nothing_left_is_an_error_that_gives_every_reason():
    found = photo_study.study([GREY, noise(1)], known([GREY, noise(1)], [[face()], []]))
    with pytest.raises(BadInput, match=r"anna\.jpg: the face is blurred; ben\.jpg: no face was found.*leave_out to Nothing"):
        choose.check_some_are_left(choose.chosen(found, LeaveOut.BAD), found, ["anna.jpg", "ben.jpg"])
    choose.check_some_are_left([0], found, ["anna.jpg", "ben.jpg"])


def test_faces_are_those_of_the_kept_photos_in_their_order():
    photos = [noise(seed) for seed in range(3)]
    given = known(photos, [[face(0)], [], [face(1)]])
    found = photo_study.study(photos, given)
    faces = choose.faces_of(found, given, [0, 2])
    assert [picture.digest for picture in faces.pictures] == [digest_of(photos[0]), digest_of(photos[2])]
    assert faces.of(photos[2]).faces[0].embedding[1] == 1 and faces.of(photos[1]) is None


def test_crops_stay_beside_the_photos_that_they_were_cut_out_of():
    wholes, crops = [torch.rand(200, 160, 3) for _ in range(2)], [noise(0), noise(1)]
    given = Faces(
        [Picture([face(), face(None, 30)], (200, 160), digest_of(whole)) for whole in wholes],
        [Picture([face()], (SIDE, SIDE), digest_of(crop), source=digest_of(whole)) for crop, whole in zip(crops, wholes)],
    )
    faces = choose.faces_of(photo_study.study(crops, given), given, [1])
    assert [one.digest for one in (*faces.pictures, *faces.crops)] == [digest_of(wholes[1]), digest_of(crops[1])]
    assert "1 more faces" in photo_study.verdicts(photo_study.study(crops[1:], faces))[0]


def test_the_report_marks_what_is_left_out_and_judges_the_rest():
    photos = [noise(seed) for seed in range(4)]
    found = photo_study.study(photos, known(photos, [[face(0)], [face(0)], [face(7)], [face(0)]]))
    report = Report("Photos")
    photo_study.fill(report, found, ["a", "b", "c", "d"], {2})
    assert [row.status for row in report.rows] == ["good", "good", "left out", "good"]
    assert report.rows[2].reason == "shows another person than most photos"
    assert report.notes[0].startswith("3 of 4 photos are good")
