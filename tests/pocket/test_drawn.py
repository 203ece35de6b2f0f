"""The program that draws people."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from launcher.places import ROOT
from pocket import drawn

ASSETS = ROOT / "assets" / "drawn"


def people(count: int) -> list[drawn.DrawnPerson]:
    return [drawn.person(np.random.default_rng(seed)) for seed in range(count)]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


def test_the_same_person_and_view_give_the_same_picture():
    who, seen = people(1)[0], drawn.view(np.random.default_rng(5))
    assert np.array_equal(drawn.draw(who, seen, 64, 1), drawn.draw(who, seen, 64, 1))


def test_a_person_differs_more_from_others_than_between_lights():
    front = drawn.View(background="grey")
    pictures = [drawn.draw(who, front, 64) for who in people(6)]
    lit = drawn.draw(people(1)[0], replace(front, light=(0.3, 0.6, 0.9)), 64)
    assert difference(pictures[0], lit) < min(difference(pictures[0], other) for other in pictures[1:])


@pytest.mark.parametrize("yaw", [-25, 25])
def test_a_turned_head_turns_the_features(yaw):
    """The dark iris of a turned head lies on the side that it turns to."""
    who = replace(people(1)[0], skin=drawn.SKINS[0], hat=False, hair_volume=0.0, beard=0.0)
    front, turned = (drawn.draw(who, drawn.View(yaw=angle, light=(0, 0.2, 1), grain=0), 128).mean(-1) for angle in (0, yaw))
    darks = [picture.max() - picture for picture in (front[52:66, 20:108], turned[52:66, 20:108])]
    middles = [np.average(np.arange(20, 108), weights=(dark**2).sum(0)) for dark in darks]
    assert np.sign(middles[1] - middles[0]) == np.sign(yaw)


def test_light_comes_from_where_it_is_said():
    who = people(1)[0]
    left, right = (drawn.draw(who, drawn.View(light=(side, 0.2, 0.6), grain=0), 64).astype(float).mean(-1) for side in (-1, 1))
    face = slice(20, 44)
    assert left[face, 20:32].mean() > right[face, 20:32].mean()
    assert left[face, 32:44].mean() < right[face, 32:44].mean()


def test_what_is_said_of_a_person_is_what_is_drawn():
    bearded = next(who for who in people(60) if who.beard)
    assert {"beard", f"{bearded.hair} hair" if bearded.hair_volume else "bald"} <= set(bearded.words.extras)
    assert bearded.words.sex == "man"
    assert all(("hat" in who.words.extras) == who.hat for who in people(60))


def test_the_sample_persons_pictures_are_those_in_assets():
    views, held_out = drawn.sample_pictures()
    files = {f"view_{number}.png": picture for number, picture in enumerate(views, 1)} | {"held_out.png": held_out}
    assert {path.name for path in ASSETS.glob("*.png")} == set(files)
    for name, picture in files.items():
        assert difference(cv2.imread(str(ASSETS / name))[..., ::-1], picture) < 0.05, name


def test_the_pocket_model_never_sees_the_sample_person():
    who = drawn.sample_person()
    from pocket import pictures

    assert all(pictures._person(number).width != who.width for number in range(pictures.Numbers().people))
