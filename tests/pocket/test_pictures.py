"""The list of paintings, and what is made of them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest

from pocket import pictures
from pocket.captions import FRAMES, NOTHING, Words, captions, choose

KEPT_OUT = ("pearl earring", "mona lisa", "ermine", "red vest", "van gogh", "collins")


@pytest.fixture
def folder(tmp_path):
    """A folder with one picture and its row."""
    picture = np.random.default_rng(0).integers(0, 255, (200, 160, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    digest = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    return tmp_path, pictures.Painting("a.png", digest, (50, 60, 60, 80), Words("painting", "woman", ("hat",)), "A", "https://a", "CC0")


class TestList:
    listed = pictures.paintings()

    def test_every_row_says_what_it_is_and_where_it_is_from(self):
        assert len(self.listed) >= 60
        assert len({one.sha256 for one in self.listed}) == len({one.file for one in self.listed}) == len(self.listed)
        for one in self.listed:
            assert re.fullmatch(r"[0-9a-f]{64}", one.sha256)
            assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/blob/[0-9a-f]{40}/.+", one.source)
            assert one.licence in ("CC0", "public domain (PD-Art)")
            assert one.title and one.words.sex in ("man", "woman")
            assert min(one.box[2:]) >= 50

    def test_painters_died_over_a_hundred_years_ago(self):
        years = [int(year) for one in self.listed for year in re.findall(r"died (?:about )?(\d{4})", one.title)]
        assert len(years) == sum("Rijksmuseum" not in one.title for one in self.listed)
        assert max(years) < 1926

    def test_the_demos_people_are_not_among_them(self):
        said = " ".join(f"{one.title} {one.file}".lower().replace("_", " ") for one in self.listed)
        assert [name for name in KEPT_OUT if name in said] == []


class TestCheck:
    def test_the_listed_pictures(self, folder):
        pictures.check(folder[0], [folder[1]])

    def test_a_missing_one(self, folder):
        with pytest.raises(pictures.WrongPictures, match=r"pictures\.tsv: 1 missing, such as b\.png"):
            pictures.check(folder[0], [folder[1], replace(folder[1], file="b.png")])

    def test_another_one_of_that_name(self, folder):
        (folder[0] / "a.png").write_bytes(b"other")
        with pytest.raises(pictures.WrongPictures, match=r"1 other than listed, such as a\.png"):
            pictures.check(folder[0], [folder[1]])

    def test_no_folder(self, folder):
        with pytest.raises(pictures.WrongPictures, match="1 missing"):
            pictures.check(folder[0] / "none", [folder[1]])


class TestVariants:
    def test_they_differ_and_show_the_face(self):
        picture = np.full((300, 300, 3), 30, np.uint8)
        picture[130:170, 130:170] = 220
        made = list(pictures.variants(picture, (120, 120, 60, 60), np.random.default_rng(1), 8))
        assert all(one.shape == (128, 128, 3) and one.dtype == np.uint8 for one in made)
        assert all(one[54:74, 54:74].mean() > one[:, :10].mean() + 60 for one in made)
        assert all(np.abs(made[0].astype(int) - other).mean() > 1 for other in made[1:])

    def test_the_same_again(self):
        picture = np.random.default_rng(0).integers(0, 255, (90, 90, 3), dtype=np.uint8)
        first, second = (list(pictures.variants(picture, (20, 20, 40, 40), np.random.default_rng(3), 3)) for _ in range(2))
        assert all(np.array_equal(a, b) for a, b in zip(first, second))


class TestCaptions:
    words = Words("drawing", "woman", ("red hair", "hat"))

    def test_they_say_what_is_there(self):
        said = captions(self.words)
        assert {"a person", "a woman, close-up", "a drawing of a woman", "a woman, hat, close-up"} <= set(said)
        assert len(said) == len(set(said)) == 3 * len(FRAMES) + 2

    def test_sometimes_nothing_is_said(self):
        rng, said = np.random.default_rng(0), captions(self.words)
        chosen = [choose(said, rng) for _ in range(600)]
        assert 30 < chosen.count(NOTHING) < 100
        assert set(chosen) == {*said, NOTHING}
