"""The README's picture and the template cards that show people."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from launcher import places
from launcher.demo import material
from launcher.tasks import draw_cards


@pytest.fixture
def results(tmp_path):
    """What a demo leaves, each picture in a colour of its own."""
    files = [f"people/{person}/portraits/noise_{number}.png" for person in (draw_cards.GIRL, draw_cards.DRAWN) for number in range(1, 5)]
    files += [f"people/{person}/crops/view.png" for person in (draw_cards.GIRL, draw_cards.DRAWN)]
    for number, name in enumerate([*files, "base/noise_1.png", "painted/before.jpg", "painted/after.png"]):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (96, 128), (10 * number, 255 - 10 * number, 40)).save(tmp_path / name)
    return tmp_path


def test_every_card_shows_its_pictures_side_by_side(results):
    for name, shown in draw_cards.cards(results).items():
        card = np.asarray(draw_cards.drawn("Title", shown)).astype(int)
        row = card[draw_cards.CARD[1] // 2]
        seen = [tuple(np.asarray(Image.open(one.path).convert("RGB"))[64, 48].astype(int)) for one in shown]
        places_of = [np.flatnonzero(np.abs(row - colour).sum(-1) < 12) for colour in seen]
        assert all(len(found) > 150 for found in places_of), name
        assert [found.mean() for found in places_of] == sorted(found.mean() for found in places_of)


def test_cards_are_drawn_for_the_readme_and_for_shipped_workflows_alone(results):
    assert set(draw_cards.cards(results)) == set(draw_cards.CARDS)
    for name in draw_cards.CARDS:
        assert (places.ROOT / name).is_file()
        assert name == draw_cards.README_PICTURE or (places.ROOT / name).with_suffix(".json").is_file()


def test_they_show_painters_sitters_and_drawn_people_only():
    assert {draw_cards.GIRL, draw_cards.DRAWN} == {material.GIRL.name, material.DRAWN_PERSON.name}


def test_every_card_says_what_made_it(results, monkeypatch):
    shown = draw_cards.cards(results)[draw_cards.PORTRAIT]
    labelled = np.asarray(draw_cards.drawn("Title", shown)).astype(int)
    monkeypatch.setattr(draw_cards, "LABEL", " ")
    without = np.asarray(draw_cards.drawn("Title", shown)).astype(int)
    rows, columns = np.nonzero(np.abs(labelled - without).sum(-1))
    assert rows.min() > 0.9 * draw_cards.CARD[1] and np.ptp(columns) > 300
    assert "pocket model" in draw_cards.CARDS[0].replace("-", " ")


def test_the_readme_shows_its_picture_and_says_what_it_is():
    text = (places.ROOT / "README.md").read_text(encoding="utf-8")
    picture = text[: text.index("## Try it")]
    assert f"({draw_cards.README_PICTURE})" in picture and "pocket model, a toy" in picture
