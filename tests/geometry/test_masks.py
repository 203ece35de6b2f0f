"""The head mask on shapes whose outcome is known."""

from __future__ import annotations

import numpy as np
import pytest

from facechain_impl.errors import FaceNotFound
from facechain_impl.geometry.masks import head_mask


def box(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros((100, 100), bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_face_and_hair_join_and_holes_close():
    face, hair = box(30, 30, 60, 70), box(20, 10, 70, 40)
    face[45:50, 40:50] = False
    head = head_mask(face, hair, np.ones((100, 100), bool))
    assert head.dtype == np.float32 and set(np.unique(head)) == {0, 1}
    assert head[45:50, 40:50].all()
    assert head[15, 25] and head[65, 45] and not head[80, 80]


def test_only_the_largest_piece_stays():
    hair = box(40, 10, 60, 30) | box(2, 90, 8, 98)
    head = head_mask(box(40, 30, 60, 60), hair, np.ones((100, 100), bool))
    assert head[20, 50] and not head[90:98, 2:8].any()


def test_what_is_not_of_a_person_is_left_out_but_never_the_face():
    human = box(0, 0, 50, 100)
    head = head_mask(box(40, 30, 60, 60), box(40, 10, 60, 30), human)
    assert not head[15, 55] and head[45, 55]


def test_a_bald_head_and_one_without_a_body_are_heads():
    face = box(40, 30, 60, 60)
    assert head_mask(face, None, None)[45, 50] == 1
    assert head_mask(face, np.zeros_like(face), face).sum() == face.sum()


@pytest.mark.parametrize("face", [np.zeros((100, 100), bool), box(10, 10, 40, 40)])
def test_nothing_in_common_is_no_head(face):
    with pytest.raises(FaceNotFound, match="No head was found"):
        head_mask(face, None, np.zeros((100, 100), bool))
