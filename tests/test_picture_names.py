"""What pictures are called, and that no file makes up names of its own."""

from __future__ import annotations

import re

import pytest

from facechain_impl import picture_names
from facechain_impl.errors import BadInput
from launcher.places import ROOT


def test_numbers_start_at_one():
    assert picture_names.numbered("photo", [0, 0]) == ["photo 1", "photo 2"] == [picture_names.nth("photo", index) for index in (0, 1)]


@pytest.mark.parametrize("none", [None, [], ()])
def test_without_names_pictures_are_numbered(none):
    assert picture_names.given(none, [0, 0]) == ["picture 1", "picture 2"]
    assert picture_names.given(none, [0], "photo") == ["photo 1"]


def test_given_names_are_kept():
    assert picture_names.given(("a.png", "b.png"), [0, 0]) == ["a.png", "b.png"]


@pytest.mark.parametrize("names", [["a.png"], ["a.png"] * 3])
def test_another_number_of_names_is_refused(names):
    with pytest.raises(BadInput, match=rf"names has {len(names)} and images has 2 entries"):
        picture_names.given(names, [0, 0])


def test_names_are_made_in_one_place():
    """No other f-string puts a number behind picture, photo, reference or face image."""
    made_up = re.compile(r"[\"' ](picture|photo|reference|face image) \{(number|index|n|i|\w+ \+ 1)\b", re.IGNORECASE)
    files = [*(ROOT / "facechain_impl").rglob("*.py"), *(ROOT / "nodes").glob("*.py")]
    assert [file.name for file in files if made_up.search(file.read_text(encoding="utf-8"))] == []
