"""Captions: triggers by age and gender, tags, and what the user may write."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl import provenance
from facechain_impl.errors import BadInput, FaceNotFound
from facechain_impl.identity import captions, tagger
from facechain_impl.identity.tagger import AUTOMATIC, AttributeReader, CaptionSettings, caption_pictures
from facechain_impl.perception.detection import Detector
from facechain_impl.provenance import Origin, Used
from facechain_impl.types import Face, Faces, NoFace, Picture, digest_of

MALE, FEMALE = [1.0, 0.0], [0.0, 1.0]
UPSTREAM, PAPER = captions.AGE_TABLES.values()
POINTS = np.array([[30, 40], [70, 40], [50, 60], [35, 80], [65, 80]], np.float32)


def age(index: int) -> np.ndarray:
    return np.eye(9)[index]


@pytest.mark.parametrize(
    ("index", "upstream", "paper"),
    [(0, "a boy", "a boy"), (1, "a boy", "a boy"), (2, "a handsome man", "a boy"), (3, "a handsome man", "a handsome man"),
     (4, "a handsome man", "a handsome man"), (5, "a mature man", "a mature man"), (8, "a mature man", "a mature man")],
)  # fmt: skip
def test_age_tables(index, upstream, paper):
    assert captions.trigger_of(MALE, age(index), UPSTREAM) == upstream
    assert captions.trigger_of(MALE, age(index), PAPER) == paper


def test_female_triggers():
    found = [captions.trigger_of(FEMALE, age(index), UPSTREAM) for index in (0, 3, 8)]
    assert found == ["a girl", "a beautiful woman", "a mature woman"]


def test_the_set_decides_not_one_picture():
    faces = [{"gender": [0.6, 0.4], "age": age(3)}, {"gender": [0.1, 0.9], "age": age(3)}, {"gender": [0.6, 0.4], "age": age(6)}]
    assert captions.trigger_of(*captions.summed(faces), UPSTREAM) == "a beautiful woman"


def test_caption_is_one_line_of_fields():
    assert captions.caption("<fcsks>", "a girl") == "<fcsks>, a girl, children"
    assert captions.caption(" <fcsks> ", "a person", ["smile ", ""]) == "<fcsks>, a person, smile"
    assert captions.caption("", "Eva") == "Eva"


def test_identity_tags_are_taken_out():
    tags = ["1girl", "smile", "blue_eyes", "eyewear", "eyewear_on_head", "old_man", "nose_blush", "red_lips", "upper_body", "teeth", "hat"]
    assert captions.without_identity(tags) == ["smile", "eyewear", "eyewear_on_head", "hat"]


def test_chosen_tags_are_sorted_and_rated_ones_left_out():
    found = captions.chosen_tags({"smile": 0.5, "rating:safe": 1.0, "hat": 0.9, "zz": 0.49}, 0.5)
    assert found == ["hat", "smile"]
    assert captions.escaped("hat_(cap)\\") == "hat_\\(cap\\)\\\\"


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["x, a mature woman", "x, a handsome man", "x, nobody"], "x, a handsome man"),
        (["<fcsks>, a girl, children, hat", "<fcsks>, a girl, children"], "<fcsks>, a girl"),
        (["x, a boy", "x, a mature man", "x, a mature man, hat"], "x, a mature man"),
        (["x, Eva, smile", "x, Eva, smile"], "x, Eva"),
        (["x, Eva"] * 3 + ["x, a boy"], "x"),
        (["x, Eva in red", "x, Eva at sea"], "x"),
        (["Eva", "Eva, smile"], "Eva"),
        (["Eva in red", "a photo of Eva"], ""),
        ([], ""),
    ],
)
def test_common_trigger(texts, expected):
    assert captions.common_trigger(texts) == expected


def test_common_tags_need_more_than_half():
    texts = ["t, a, smile, long_hair", "t, a, smile", "t, a, long_hair, hat", "t, a, hat"]
    assert captions.common_tags(texts) == []
    assert captions.common_tags(texts[:3]) == ["smile", "long_hair"]


def test_extra_tags_for_all_or_each():
    assert captions.extra_tags("a, b", 3) == [["a", "b"]] * 3
    assert captions.extra_tags("a\n\nc, d", 3) == [["a"], [], ["c", "d"]]
    assert captions.extra_tags(" ", 2) == [[], []]
    with pytest.raises(BadInput, match="2 lines for 3 pictures"):
        captions.extra_tags("a\nb", 3)


class OneFace(Detector):
    """Finds a face wherever the first pixel is not black."""

    name = "One face"

    def __init__(self):
        self.seen = 0

    def detect(self, images):
        self.seen += len(images)
        return [[Face(np.array([0, 0, 90, 90], np.float32), 1.0, POINTS.copy())] if image[0, 0].sum() else [] for image in images]


class Reader:
    """Everybody is a woman whose age group is the blue of the face times ten."""

    def __init__(self):
        self.calls = []

    def predict(self, aligned):
        self.calls.append(len(aligned))
        return [{"gender": np.array(FEMALE), "age": age(round(float(face[56, 56, 2]) * 10))} for face in aligned]


def picture(group: int, face: bool = True) -> torch.Tensor:
    image = torch.zeros(128, 128, 3)
    image[..., 2] = group / 10
    image[0, 0] = 1.0 if face else 0.0
    return image


@pytest.fixture
def automatic(monkeypatch):
    """Settings with the automatic trigger, and the reader behind it."""
    reader = AttributeReader(OneFace(), Reader())
    monkeypatch.setattr(tagger, "open_attribute_reader", lambda detector: reader)
    return SimpleNamespace(settings=CaptionSettings(trigger=AUTOMATIC), reader=reader)


def test_own_words_need_no_network():
    found = caption_pictures([picture(1), picture(2)], CaptionSettings(own_words="a pirate", extra_tags="hat\nbeard"))
    assert found.texts == ["<fcsks>, a pirate, hat", "<fcsks>, a pirate, beard"]
    assert found.trigger == "<fcsks>, a pirate"
    assert found.common == ""


def test_listed_trigger():
    assert caption_pictures([picture(1)], CaptionSettings(trigger="a boy", token="<me>")).texts == ["<me>, a boy, children"]


def test_empty_own_words():
    with pytest.raises(BadInput, match="because own_words is"):
        caption_pictures([picture(1)], CaptionSettings(own_words=" "))


def test_pictures_that_cannot_be_used():
    with pytest.raises(BadInput, match="No picture arrived"):
        caption_pictures([], CaptionSettings())
    with pytest.raises(BadInput, match="picture 1 contains 16384 NaN or infinite pixels"):
        caption_pictures([torch.full((128, 128, 3), float("nan"))], CaptionSettings())


def test_automatic(automatic):
    found = caption_pictures([picture(3), picture(3), picture(7)], automatic.settings)
    assert found.texts == ["<fcsks>, a beautiful woman"] * 3
    assert found.report.rows[2].values["age"] == "60-69"
    assert automatic.reader.attributes.calls == [3]


def test_automatic_without_a_face(automatic):
    pictures = [picture(3), picture(8, face=False)]
    with pytest.raises(FaceNotFound, match=r"picture 2 \(1 of 2\)"):
        caption_pictures(pictures, automatic.settings)
    skip = CaptionSettings(trigger=AUTOMATIC, no_face=NoFace.SKIP)
    found = caption_pictures(pictures, skip)
    assert found.texts == ["<fcsks>, a beautiful woman"] * 2
    assert "does not count" in found.report.rows[1].reason
    with pytest.raises(FaceNotFound, match="2 of 2"):
        caption_pictures([picture(3, face=False)] * 2, skip)


def test_known_faces_and_attributes_are_not_read_again(automatic):
    image = picture(3)
    known = Face(np.array([0, 0, 90, 90], np.float32), 1.0, POINTS.copy(), attributes={"gender": np.array(MALE), "age": age(0)})
    faces = Faces([Picture([known], (128, 128), digest_of(image))])
    assert caption_pictures([image], automatic.settings, faces).texts == ["<fcsks>, a boy, children"]
    assert automatic.reader.detector.seen == 0
    assert automatic.reader.attributes.calls == [0]


def test_attributes_go_on_with_the_faces(automatic):
    images = [picture(3), picture(7)]
    first = caption_pictures(images, automatic.settings)
    again = caption_pictures(images, automatic.settings, first.faces)
    assert again.texts == first.texts and all(face.attributes for picture in first.faces.pictures for face in picture.faces)
    assert automatic.reader.detector.seen == 2 and automatic.reader.attributes.calls == [2, 0]
    assert caption_pictures(images, CaptionSettings(trigger="a boy"), first.faces).faces is first.faces


def test_seen_tags_follow_the_users(monkeypatch):
    seen = SimpleNamespace(tags=lambda images, threshold: [{"smile": 0.9, "brown_eyes": 0.8, "hat_(cap)": threshold} for _ in images])
    stand_in = Used("network", "deepdanbooru", Origin.STAND_IN)
    monkeypatch.setattr(tagger, "open_tagger", lambda: provenance.register(stand_in) or seen)
    with provenance.recording():
        found = caption_pictures([picture(1)] * 2, CaptionSettings(trigger="a girl", extra_tags="outdoors", tag_threshold=0.6))
    assert found.texts == ["<fcsks>, a girl, children, outdoors, hat_\\(cap\\), smile"] * 2
    assert found.common == "smile"
    assert found.report.record.stand_ins == ("deepdanbooru",) and "deepdanbooru" in found.report.text()


def test_sentences_take_the_place_of_the_seen_tags(monkeypatch):
    monkeypatch.setattr(tagger, "open_tagger", lambda: pytest.fail("the tagger is not needed"))
    settings = CaptionSettings(sentences=["She smiles,\noutdoors. ", ""], extra_tags="grain", tag_threshold=0.5)
    found = caption_pictures([picture(1), picture(2)], settings)
    assert found.texts == ["<fcsks>, a person, She smiles, outdoors., grain", "<fcsks>, a person, grain"]
    assert found.report.notes == ["append_tags has no effect while captions are connected: they take the place of the tags."]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["one"], "captions has 1 and images has 2 entries; expected one for each. A node that gets a batch writes one text for all"),
        (["a", "b", "c"], "captions has 3 and images has 2 entries; expected one for each. Let the same pictures go"),
        ([], "captions has 0 and images has 2 entries"),
    ],
)
def test_another_number_of_sentences_is_refused(texts, said):
    with pytest.raises(BadInput, match=said):
        caption_pictures([picture(1), picture(2)], CaptionSettings(sentences=texts))
