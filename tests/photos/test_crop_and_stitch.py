"""A batch of crops of all faces of all pictures, and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput, FaceNotFound
from facechain_impl.photos.crop_and_stitch import boxes_of, cut_faces, put_back
from facechain_impl.types import Face, Faces, Picture, Report, digest_of


def face(x0, y0, x1, y1) -> Face:
    return Face(np.array([x0, y0, x1, y1], np.float32), 0.9)


@pytest.fixture
def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [
        torch.rand(120, 200, 3, generator=generator),
        torch.rand(90, 80, 3, generator=generator),
        torch.rand(50, 50, 3, generator=generator),
    ]


@pytest.fixture
def faces(images) -> Faces:
    """Two faces in the first picture, none in the second, one in the third."""
    found = [[face(20, 30, 50, 70), face(120, 40, 150, 80)], [], [face(10, 10, 30, 34)]]
    return Faces(
        [Picture(people, tuple(image.shape[:2]), digest_of(image), f"{n}.png") for n, (people, image) in enumerate(zip(found, images))]
    )


def back(images, crops, faces, masks=(), report=None):
    return put_back(images, crops, faces, list(masks), 0.1, report or Report("test"))


def test_every_face_gets_a_crop_in_order(images, faces):
    crops, cut = cut_faces(images, faces, 64, 0.5, False)
    assert [crop.shape for crop in crops] == [(64, 64, 3)] * 3
    assert [len(picture.faces) for picture in cut.pictures] == [2, 0, 1] and len(cut.crops) == 3
    assert faces.pictures[0].faces[0].crop_transform is None
    for crop, known in zip(crops, cut.crops):
        assert cut.of(crop) is known
        assert max(known.faces[0].width, known.faces[0].height) == pytest.approx(32, abs=0.01)


def test_unchanged_crops_give_the_pictures_back_bit_by_bit(images, faces):
    crops, cut = cut_faces(images, faces, 64, 0.5, True)
    report = Report("test")
    assert all(torch.equal(a, b) for a, b in zip(back(images, crops, cut, report=report), images))
    assert [(row.status, row.values["edited"]) for row in report.rows] == [("unchanged", 0)] * 3


def test_one_edited_face_changes_its_own_place_only(images, faces):
    crops, cut = cut_faces(images, faces, 64, 0.5, False)
    crops[1] = torch.zeros(64, 64, 3)
    first, second, third = back(images, crops, cut)
    assert torch.equal(second, images[1]) and torch.equal(third, images[2])
    changed = (first != images[0]).any(-1).nonzero()
    assert changed[:, 1].min() > 90 and (first[60, 135] == 0).all()


def test_pictures_may_come_back_in_another_order_and_twice(images, faces):
    crops, cut = cut_faces(images, faces, 64, 0.5, False)
    edited = [torch.zeros(64, 64, 3), torch.ones(64, 64, 3), crops[2]]
    third, first, again = back([images[2], images[0], images[0]], edited, cut)
    assert torch.equal(third, images[2]) and torch.equal(first, again)
    assert (first[50, 35] == 0).all() and (first[60, 135] == 1).all()


def test_equal_pictures_keep_their_own_edits():
    image = torch.full((60, 60, 3), 0.5)
    twice = Faces([Picture([face(20, 20, 40, 40)], (60, 60), digest_of(image), name) for name in "ab"])
    crops, cut = cut_faces([image, image], twice, 64, 0.5, False)
    first, second = back([image, image], [torch.zeros(64, 64, 3), torch.ones(64, 64, 3)], cut)
    assert first[30, 30, 0] == 0 and second[30, 30, 0] == 1


def test_counts_shapes_and_strangers_are_refused(images, faces):
    crops, cut = cut_faces(images, faces, 64, 0.5, False)
    with pytest.raises(BadInput, match="2 crops are connected for 3 faces"):
        back(images, crops[:2], cut)
    with pytest.raises(BadInput, match="2 masks for 3 crops"):
        back(images, crops, cut, [torch.ones(64, 64)] * 2)
    with pytest.raises(BadInput, match="must be square; these are 32x64, 64x64"):
        back(images, [torch.zeros(64, 32, 3), *crops[1:]], cut)
    with pytest.raises(BadInput, match="not cropped yet"):
        back(images, crops, faces)
    with pytest.raises(BadInput, match="Picture 1 is not one of those"):
        back([images[0] * 0.5], crops, cut)
    with pytest.raises(BadInput, match="Picture 2 is not one of those"):
        cut_faces([images[0], images[1] * 0.5], faces, 64, 0.5, False)


def test_no_face_at_all_is_an_error(images, faces):
    with pytest.raises(FaceNotFound, match="no face to crop in 1 pictures"):
        cut_faces(images[1:2], faces, 64, 0.5, False)


def test_one_mask_serves_all_crops(images, faces):
    crops, cut = cut_faces(images, faces, 64, 0.5, False)
    edited = [torch.zeros(64, 64, 3)] * 3
    assert all(torch.equal(a, b) for a, b in zip(back(images, edited, cut, [torch.zeros(16, 16)]), images))
    assert torch.equal(back(images, edited, cut, [torch.ones(64, 64)])[0], back(images, edited, cut)[0])


def test_boxes_for_the_hosts_nodes(faces):
    boxes = boxes_of(faces)
    assert [len(frame) for frame in boxes] == [2, 0, 1]
    assert boxes[2][0] == {"x": 10.0, "y": 10.0, "width": 20.0, "height": 24.0, "label": "face", "score": 0.9}
