"""Captions changed by hand: each stays with its picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.identity import edits
from facechain_impl.identity.tagger import CaptionSettings, caption_pictures
from facechain_impl.types import Face, Faces, Picture, digest_of, from_plain, plain

SIDE = 64


def picture(seed: int) -> torch.Tensor:
    return torch.rand(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(seed))


def key(image: torch.Tensor) -> str:
    return digest_of(image)[: edits.KEY]


def captioned(images: list[torch.Tensor], changed: dict[str, str], known: Faces | None = None, **settings):
    return caption_pictures(images, CaptionSettings(edits=changed, **settings), known)


def test_lines_of_text():
    found = edits.parsed("0123456789ab: <fcsks>, a person: smiling\n\n  ba9876543210:hat \r\n000000000000:\n")
    assert found == {"0123456789ab": "<fcsks>, a person: smiling", "ba9876543210": "hat"}
    assert edits.parsed("") == {}


@pytest.mark.parametrize("line", ["smile", "012: smile", "0123456789AB: smile", "anna.jpg: smile"])
def test_a_line_without_a_key_is_refused(line):
    with pytest.raises(BadInput, match=r"edits, line 2: .* is not an edited caption\. Expected the key"):
        edits.parsed(f"0123456789ab: hat\n{line}")


def test_two_captions_of_one_picture_are_refused():
    with pytest.raises(BadInput, match="line 2: picture 0123456789ab has an edited caption already"):
        edits.parsed("0123456789ab: hat\n0123456789ab: no hat")


def test_an_edit_stays_with_its_picture_wherever_that_is():
    images = [picture(seed) for seed in range(3)]
    changed = {key(images[1]): "<fcsks>, a person, laughing"}
    assert captioned(images, changed).texts == ["<fcsks>, a person", "<fcsks>, a person, laughing", "<fcsks>, a person"]
    moved = captioned([images[1], picture(9), images[0]], changed)
    assert moved.texts == ["<fcsks>, a person, laughing", "<fcsks>, a person", "<fcsks>, a person"]
    assert [(row.status, row.reason) for row in moved.report.rows] == [("edited", "edited by hand"), ("captioned", ""), ("captioned", "")]
    assert [line.automatic for line in moved.lines] == ["<fcsks>, a person"] * 3


def test_an_edit_of_a_picture_that_is_gone_is_not_used_and_not_forgotten():
    found = captioned([picture(0)], {"0123456789ab": "laughing"})
    assert found.texts == ["<fcsks>, a person"]
    (note,) = found.report.notes
    assert note == "Not among these pictures, so not used, but kept: the edited caption 0123456789ab: laughing"


def test_an_edit_outlives_another_background_of_the_same_photo():
    whole, crop = picture(5), picture(0)
    face = Face(np.array([0, 0, 40, 40], np.float32), 1.0)
    known = [
        Faces([Picture([face], (SIDE, SIDE), digest_of(whole))], [Picture([face], (SIDE, SIDE), digest_of(cut), source=digest_of(whole))])
        for cut in (crop, crop * 0.5)
    ]
    first = captioned([crop], {}, known[0])
    changed = {first.lines[0].key: "<fcsks>, a person, laughing"}
    assert list(changed) == [key(whole)]
    assert captioned([crop * 0.5], changed, from_plain(plain(known[1]))).texts == ["<fcsks>, a person, laughing"]
    assert captioned([crop], {key(crop): "laughing"}, known[0]).texts == ["laughing"], "edited while faces was not connected"


def test_an_edit_that_prompts_would_not_call_up_is_marked():
    images = [picture(0), picture(1)]
    changed = {key(images[0]): "a woman, laughing", key(images[1]): "<fcsks>, a person, laughing"}
    reasons = [row.reason for row in captioned(images, changed).report.rows]
    assert reasons == ["edited by hand; it does not begin with '<fcsks>, a person', as prompts of this person do", "edited by hand"]


def test_common_tags_are_those_of_the_captions_that_are_used():
    images = [picture(0), picture(1)]
    assert captioned(images, {key(images[0]): "<fcsks>, a person, hat"}, extra_tags="smile").common == ""
    assert captioned(images, {}, extra_tags="smile").common == "smile"
