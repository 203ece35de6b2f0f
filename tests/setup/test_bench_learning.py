"""`run.py bench learning`: its measure on known pictures, its verdict on made-up numbers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("folder_paths", reason="set COMFYUI_PATH to the folder of ComfyUI")

from bench import _likeness, _pocket, learning  # noqa: E402
from facechain_impl.perception.detection import BuiltInDetector  # noqa: E402


class Blind(BuiltInDetector):
    """Finds nobody."""

    def detect(self, images):
        return [[] for _ in images]


@pytest.fixture(scope="module")
def measure() -> _likeness.Measure:
    return _likeness.Measure(_pocket.USUAL_FACE)


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    return _pocket.read("sample/eileen_collins.png")


def test_every_picture_that_the_bench_names_is_there():
    named = [file for one in _pocket.PEOPLE.values() for file in (*one.photos, *one.held_out)]
    assert [file for file in (*named, _pocket.LADY) if not (_pocket.ASSETS / file).is_file()] == []


def shifted(picture: torch.Tensor, x: int, y: int) -> torch.Tensor:
    return torch.roll(picture, (y, x), (0, 1))


def relit(picture: torch.Tensor) -> torch.Tensor:
    slope = torch.linspace(0.75, 1.1, picture.shape[1])[None, :, None]
    return (picture**1.2 * slope).clamp(0, 1)


def test_the_same_face_elsewhere_and_in_other_light_is_alike(measure, astronaut):
    plain, moved, lit = measure.align([astronaut, shifted(astronaut, 17, 9), relit(astronaut)])
    assert all(one.found for one in (plain, moved, lit))
    assert _likeness.likeness(plain, plain) == pytest.approx(1)
    assert _likeness.likeness(plain, moved) > 0.95 and _likeness.likeness(plain, lit) > 0.9


def test_another_face_and_noise_are_not(measure, astronaut):
    other, noise = _pocket.read("drawn/view_1.png"), torch.rand(128, 128, 3)
    face, another, nobody = measure.align([astronaut, other, noise])
    assert another.found and not nobody.found
    assert _likeness.likeness(face, another) < 0.5 and abs(_likeness.likeness(face, nobody)) < 0.3


def test_every_view_of_a_person_is_nearer_to_the_one_held_out_than_anybody_else_is(measure):
    drawn = _pocket.PEOPLE["drawn"]
    held_out = measure.align(_pocket.crops(drawn.held_out))
    others = [one for one in _pocket.PEOPLE.values() if one is not drawn]
    views, strangers = (
        [_likeness.to_photos(one, held_out) for one in measure.align(_pocket.crops(files))]
        for files in (drawn.photos, [file for one in others for file in one.photos])
    )
    assert min(views) > max(strangers) + 0.2


def test_where_no_face_is_found_the_usual_place_is_compared():
    (crop,) = _pocket.crops(["sample/eileen_collins.png"])
    (seen,), (unseen,) = (_likeness.Measure(_pocket.USUAL_FACE, detector).align([crop]) for detector in (None, Blind()))
    (elsewhere,) = _likeness.Measure((0.25, 0.2, 0.3), Blind()).align([crop])
    assert seen.found and not unseen.found
    assert _likeness.likeness(seen, unseen) > _likeness.likeness(seen, elsewhere) + 0.3


def test_correlation():
    ramp = np.arange(12.0).reshape(3, 4)
    assert _likeness.correlation(ramp, 3 * ramp + 5) == pytest.approx(1)
    assert _likeness.correlation(ramp, -ramp) == pytest.approx(-1)
    assert _likeness.correlation(ramp, np.ones((3, 4))) == 0


def test_a_copy_is_told_from_another_picture_of_the_same_face(astronaut):
    assert _likeness.copied(astronaut, relit(astronaut)) > learning.A_COPY
    assert _likeness.copied(astronaut, shifted(astronaut, 60, 30)) < learning.A_COPY


SEEDS = 10


def identity() -> dict:
    """Two people who are met."""

    def person(**likeness: float) -> dict:
        told = {name: [value] * SEEDS for name, value in likeness.items()}
        return {"likeness": told, "faces": 9, "painted": True, "unchanged": True, "between": 0.9, "photos": 0.8}

    people = {"ann": person(ann=0.8, eve=0.3), "eve": person(ann=0.2, eve=0.7)}
    return {"base": {"ann": [0.3] * SEEDS, "eve": [0.4] * SEEDS}, "noise_faces": 0, "people": people}


def changed(found: dict, *path, value) -> dict:
    found = copy.deepcopy(found)
    *parents, last = path
    one = found
    for key in parents:
        one = one[key]
    one[last] = value
    return found


def test_identity_met():
    assert learning.identity_problems(identity()) == []
    one_seed_wrong = changed(identity(), "people", "ann", "likeness", "eve", value=[0.9, *[0.3] * 9])
    assert learning.identity_problems(one_seed_wrong) == []
    drawn = changed(changed(identity(), "people", "eve", "faces", value=0), "people", "eve", "painted", value=False)
    assert learning.identity_problems(drawn) == [], "no detector has to find a drawn face"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("people", "ann", "likeness", "eve"), [0.9, 0.9, *[0.3] * 8], "ann: nearest to their own photos at 8 of 10 seeds"),
        (("base", "eve"), [0.75, 0.75, *[0.4] * 8], "eve: nearest to their own photos at 8 of 10 seeds"),
        (("people", "ann", "faces"), 7, "ann: a face in 7 of 10 portraits"),
        (("people", "ann", "between"), 0.96, "ann: two portraits are alike, correlation 0.960"),
        (("people", "eve", "photos"), 0.95, "eve: a portrait repeats a photo, correlation 0.950"),
        (("people", "eve", "unchanged"), False, "eve: at strength 0 the picture is not that of the untrained model"),
        (("noise_faces",), 1, "a face in 1 pictures of noise"),
    ],
)
def test_identity_missed(path, value, said):
    assert learning.identity_problems(changed(identity(), *path, value=value)) == [said]


def test_shuffled_people_pass_as_nobody():
    """The control: were each trained on the other's photos, both goals are missed, and it is said as whom they pass."""
    found = identity()
    people = found["people"]
    people["ann"], people["eve"] = people["eve"], people["ann"]
    told = learning.identity_problems(found)
    assert told == [
        f"{name}: {problem}"
        for name, other in (("ann", "eve"), ("eve", "ann"))
        for problem in ("nearest to their own photos at 0 of 10 seeds", f"passes as {other} at 10 of 10 seeds")
    ]


def rivals(ours: list[float], theirs: list[float]) -> dict:
    level = {"25%": [0.1, 0.2, 0.1, 0.2, 0.1]}
    return {
        "ann": {
            "pack": {**level, "100%": ours},
            "diffusers": {**level, "100%": theirs},
            "host": {**level, "100%": [value - 0.3 for value in ours]},
        }
    }


def test_rivals():
    theirs = [0.5, 0.6, 0.5, 0.6, 0.5]
    assert learning.rivals_problems(rivals([0.7] * 5, theirs)) == []
    assert learning.rivals_problems(rivals([0.9, 0.2, 0.4, 0.9, 0.2], theirs)) == [], "behind by less than one standard error"
    (told,) = learning.rivals_problems(rivals([0.4, 0.5, 0.4, 0.5, 0.41], theirs))
    assert told == "ann, 100% of the steps: 0.098 behind diffusers, standard error 0.002"


def test_paired_differences():
    difference, error = learning.behind([0.5, 0.7, 0.9], [0.4, 0.5, 0.6])
    assert difference == pytest.approx(0.2) and error == pytest.approx(0.1 / np.sqrt(3))


def inpaint() -> dict:
    one = {"people": ["ann"], "before": {"ann": [0.2]}, "faces": [{"ann": [0.5]}] * 10, "outside": [True] * 10}
    both = {"ann": [0.6, 0.2], "eve": [0.1, 0.5]}
    return {"one": one, "two": {"people": ["ann", "eve"], "before": both, "faces": [both] * 10, "outside": [True] * 10}}


def test_inpaint_met():
    assert learning.inpaint_problems(inpaint()) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("one", "before", "ann"), [0.5], "the face is nearer to ann than before in 0 of 10 pictures"),
        (("two", "faces"), [{"ann": [0.2, 0.6], "eve": [0.5, 0.1]}] * 10, "both are in their places in 0 of 10 pictures"),
        (("two", "outside"), [*[True] * 9, False], "two painted: pixels outside the faces changed"),
    ],
)
def test_inpaint_missed(path, value, said):
    assert learning.inpaint_problems(changed(inpaint(), *path, value=value)) == [said]


def judged(chosen: int, **true: list[float]) -> dict:
    steps = {name.removeprefix("step"): values for name, values in true.items()}
    return {"person": "ann", "chosen": chosen, "looks": dict.fromkeys(steps, 0.5), "true": steps}


def test_judge():
    early, late = [0.5, 0.6, 0.5, 0.6], [0.8, 0.9, 0.8, 0.91]
    assert learning.judge_problems(judged(400, step140=early, step400=late)) == []
    assert learning.judge_problems(judged(140, step140=late, step400=early)) == []
    (told,) = learning.judge_problems(judged(140, step140=early, step400=late))
    assert told.startswith("step 140 was chosen and is 0.303 behind the last")


def test_the_tables(capsys):
    learning.show_identity(identity())
    learning.show_rivals(rivals([0.7] * 5, [0.5] * 5))
    learning.show_inpaint(inpaint())
    learning.show_judge(judged(140, step140=[0.6], step400=[0.7]))
    told = capsys.readouterr().out
    assert "10 of 10" in told and "(+0.200±0.000)" in told and "each in their place in 10 of 10" in told
    assert "likeness 0.20 before, 0.50 after" in told and "step   400: 0.500  0.700  last, best" in told
    assert "lost against the best step: 0.100; by always taking the last: 0.000" in told


def test_the_last_line_is_the_verdict(monkeypatch, capsys, tmp_path):
    """And the status is 1 where a goal is missed."""
    found = {"good": {"bad": []}, "poor": {"bad": ["it is poor"]}}
    sections = {
        name: learning.Section(lambda _, one=one: one, lambda _: None, lambda one: one["bad"], apart=False) for name, one in found.items()
    }
    monkeypatch.setattr(learning, "SECTIONS", sections)
    monkeypatch.setattr(learning.bench_train, "in_a_process", lambda *_: {})
    for asked, status, last in ((["--only", "good"], 0, ["All goals are met."]), ([], 1, ["Missed:", "poor, it is poor"])):
        assert learning.main([*asked, "--folder", str(tmp_path)]) == status
        assert capsys.readouterr().out.splitlines()[-len(last) :] == last


def test_people_are_checked(capsys):
    with pytest.raises(SystemExit):
        learning.main(["--people", "girl,nobody"])
    assert "at least two of girl, drawn" in capsys.readouterr().err
