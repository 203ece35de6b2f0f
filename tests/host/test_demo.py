"""The demo's steps on a real server: one person, the smallest sizes."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from facechain_impl.weights.stand_ins import checkpoint as stand_in_checkpoint
from launcher.base_models import BaseModel
from launcher.demo import material, page
from launcher.demo.results import Results
from launcher.demo.settings import POCKET, STRENGTHS
from launcher.demo.steps import Demo

pytestmark = [pytest.mark.host, pytest.mark.slow]

SETTINGS = replace(
    POCKET, steps=2, steps_of_one_photo=None, size=64, portraits=2, sampling_steps=2, training={**POCKET.training, "learning_rate": 0.05}
)


def pixels(file) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def results(server, checkpoint, stand_in, tmp_path_factory) -> Results:
    """What the demo makes of the girl on the stand-in checkpoint, where a stage-1 picture is her crop: portraits are noise."""
    for name in ("rts", "sadtalker_256", "sadtalker_mapping_full"):
        stand_in(name)
    out, people = tmp_path_factory.mktemp("demo"), (material.GIRL,)
    material.place_inputs(people, server.base)
    made = Results(SETTINGS, True, people)
    Demo(server, out, made, BaseModel(checkpoint), "a person").run()
    assert (out / page.FILE_NAME).is_file()
    return made


def test_portraits_are_drawn_from_the_noise_of_the_bases(results):
    (girl,) = results.people
    assert len(results.base) == len(girl.portraits) == 2
    for base, portrait in zip(results.base, girl.portraits):
        assert base.name == portrait.name and (pixels(base) != pixels(portrait)).any()
    assert (pixels(results.base[0]) != pixels(results.base[1])).any()


def test_the_row_of_strengths_begins_with_the_base_and_goes_through_the_portrait(results):
    (girl,) = results.people
    assert list(girl.strengths) == list(STRENGTHS)
    assert girl.strengths[0.0] == results.base[0] and girl.strengths[1.0] == girl.portraits[0]
    distances = [np.abs(pixels(file) - pixels(results.base[0])).mean() for file in girl.strengths.values()]
    assert distances[0] == 0 < distances[1]
    assert len(set(distances)) == 4


def test_the_face_fills_the_crop(results):
    (girl,) = results.people
    assert [file.name for file in girl.crops] == ["girl_with_a_pearl_earring.png"]
    assert pixels(girl.crops[0]).shape == (512, 512, 3)
    assert girl.captions == ["<fcsks>, a person"]
    rows = results.reports["Girl with a Pearl Earring: training"]["Fill the crops with the faces"]["rows"]
    assert [(row["status"], row["values"]["faces"]) for row in rows] == [("cut", 1)]


def test_only_the_face_of_the_picture_is_painted(results):
    painted = results.painted
    assert painted.problem == ""
    change = np.abs(pixels(painted.after) - pixels(painted.before)).max(-1)
    with Image.open(material.CANVAS_FACE) as mask:
        face = np.asarray(mask.convert("L")) > 0
    assert (change[face] > 8).mean() > 0.5
    rows, columns = np.nonzero(change)
    left, top, right, bottom = (columns.min(), rows.min(), columns.max(), rows.max())
    assert (left > 20, top > 0, right < 440, bottom < 420) == (True,) * 4, "outside the crop around the face nothing changes"


def test_the_painting_speaks(results):
    with av.open(str(results.talking.video)) as film:
        assert film.streams.video and film.streams.audio
        assert 1.5 < film.duration / av.time_base < 2


def test_reports_name_the_settings_that_ran(results):
    report = results.reports["Girl with a Pearl Earring: training"]["Train"]
    assert report["rows"][0]["values"]["steps"] == 2
    assert {"rts", stand_in_checkpoint.FILE_NAME} <= set(results.named("stand_ins"))
