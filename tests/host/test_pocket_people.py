"""Two people trained on the pocket model by a real ComfyUI: each LoRA shows its person and no other."""

from __future__ import annotations

import itertools

import pytest

from bench import _likeness, _pocket
from bench.learning import A_COPY, compared, copies, identity_problems, nearest
from facechain_impl.weights import pocket
from launcher.server import Server

from . import pocket_people
from .test_train import nobody  # noqa: F401

pytestmark = [pytest.mark.host, pytest.mark.slow]

STEPS, PORTRAITS = 125, 6
PHOTOS = {"girl": "paintings/girl_with_a_pearl_earring.jpg", "astronaut": "sample/eileen_collins.png"}


@pytest.fixture(scope="module")
def made(server: Server) -> dict:
    """For each person the training picture and portraits; portraits of the base under an empty name, and those at strength 0."""
    client = server.client
    model = pocket.assemble(server.base / "models" / "checkpoints" / pocket.FILE_NAME).name
    found = {"": pocket_people.pictures(client, client.run(pocket_people.portraits(model, PORTRAITS)), "save")}
    for name, photo in PHOTOS.items():
        entry = client.run(pocket_people.training(client, model, name, photo, STEPS), timeout=3600)
        found[f"{name} photo"] = pocket_people.pictures(client, entry, "cut")
        found[name] = pocket_people.pictures(client, client.run(pocket_people.portraits(model, PORTRAITS, name)), "save")
        found[f"{name} at 0"] = pocket_people.pictures(client, client.run(pocket_people.portraits(model, PORTRAITS, name, 0.0)), "save")
    return found


@pytest.fixture(scope="module")
def judged(made: dict) -> dict:
    """As `bench learning` judges them."""
    measure = _likeness.Measure(_pocket.USUAL_FACE)
    shown = {name: measure.align(made[f"{name} photo"]) for name in PHOTOS}
    people = {}
    for name in PHOTOS:
        aligned = measure.align(made[name])
        people[name] = {
            "likeness": compared(aligned, shown),
            "faces": sum(one.found for one in aligned),
            "painted": True,
            "unchanged": all((one == other).all() for one, other in zip(made[f"{name} at 0"], made[""], strict=True)),
            **copies(made[name], made[f"{name} photo"]),
        }
    return {"base": compared(measure.align(made[""]), shown), "noise_faces": 0, "people": people}


def test_portraits_are_nearer_to_their_person_than_to_the_other_and_than_the_bases(judged):
    assert identity_problems(judged) == []


def test_a_shuffled_assignment_of_people_fails(judged):
    """The control: with the LoRAs exchanged, nearly no portrait passes."""
    girl, astronaut = judged["people"].values()
    exchanged = {**judged, "people": {"girl": astronaut, "astronaut": girl}}
    assert all(nearest(exchanged, name, name) <= 1 for name in PHOTOS)
    assert len(identity_problems(exchanged)) >= 2


def test_portraits_differ_from_each_other_and_from_the_photo(made):
    for name in PHOTOS:
        pairs = [*itertools.combinations(made[name], 2), *((portrait, made[f"{name} photo"][0]) for portrait in made[name])]
        assert max(_likeness.copied(*pair) for pair in pairs) < A_COPY, name


def test_strength_zero_is_the_base_bit_for_bit(made):
    for name in PHOTOS:
        assert all((one == other).all() for one, other in zip(made[f"{name} at 0"], made[""], strict=True)), name
        assert all((one != other).any() for one, other in zip(made[name], made[""], strict=True)), name
