"""Wire types cannot be changed, travel as plain values, and a report's rows say how much attention they ask for."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import numpy as np
import pytest
import torch

from facechain_impl import provenance
from facechain_impl.provenance import Origin, Used
from facechain_impl.talking.motion import MotionPlan
from facechain_impl.types import (
    WIRES,
    Face,
    Faces,
    LoraEntry,
    Person,
    Picture,
    Report,
    Severity,
    Status,
    from_plain,
    plain,
    replace,
    thawed,
)  # fmt: skip

USED = Used("network", "rts", Origin.STAND_IN, "rts.safetensors", digest="ab")


def face() -> Face:
    return Face(
        np.array([1, 2, 3, 4], np.float32), 0.5, np.zeros((5, 2), np.float32), attributes={"gender": np.array([0.2, 0.8])},
        masks={"head": np.ones((4, 4), bool)}, crop_transform=np.eye(3), person="ann",
    )  # fmt: skip


def faces() -> Faces:
    return Faces([Picture([face()], (4, 4), "digest", "a.jpg")], [Picture([], (2, 2), "crop")], (USED,))


def person() -> Person:
    lora = {"lora_unet_x.lora_up.weight": torch.ones(2, 1)}
    embedding = np.eye(512, dtype=np.float32)[0]
    return Person("Ann", lora, "a woman", torch.zeros(2, 2, 3), embedding, {"losses": [1.0, 0.5]}, Path("ann"), None, (USED,))


EVERY = [face(), faces(), person(), LoraEntry("Ann", person=person()), MotionPlan(torch.ones(3, 70), {"yaw": torch.ones(3)}, used=(USED,))]


def same(one, two) -> bool:
    if isinstance(one, (np.ndarray, torch.Tensor)):
        return type(one) is type(two) and one.dtype == two.dtype and bool((one == two).all())
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(two) and all(same(getattr(one, part.name), getattr(two, part.name)) for part in fields(one))
    if hasattr(one, "keys"):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


WAYS = {"plain": lambda value: from_plain(plain(value)), "pickle": lambda value: pickle.loads(pickle.dumps(value)), "copy": copy.deepcopy}


@pytest.mark.parametrize("value", EVERY, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("way", WAYS)
def test_wires_travel_and_come_back_as_they_were(value, way):
    assert same(WAYS[way](value), value)


def test_plain_values_are_dicts_lists_numbers_texts_and_tensors():
    def leaves(value):
        if isinstance(value, dict):
            return [leaf for key, entry in value.items() for leaf in [key, *leaves(entry)]]
        return [leaf for entry in value for leaf in leaves(entry)] if isinstance(value, list) else [value]

    assert all(type(leaf) in (str, int, float, bool, type(None), torch.Tensor) for value in EVERY for leaf in leaves(plain(value)))


@pytest.mark.parametrize("value", EVERY, ids=lambda value: type(value).__name__)
def test_nothing_on_a_wire_can_be_written_to(value):
    assert_frozen(value)


def assert_frozen(held) -> None:
    """Down to the last table, array and value of another type. Tensors cannot be locked."""
    if isinstance(held, np.ndarray):
        with pytest.raises(ValueError, match="read-only"):
            held[:] = 0
    elif hasattr(held, "__dataclass_fields__"):
        for part in fields(held):
            with pytest.raises(FrozenInstanceError):
                setattr(held, part.name, None)
            assert_frozen(getattr(held, part.name))
    elif hasattr(held, "keys"):
        with pytest.raises(TypeError):
            held["new"] = 1
        for entry in held.values():
            assert_frozen(entry)
    elif isinstance(held, tuple):
        for entry in held:
            assert_frozen(entry)
    else:
        assert isinstance(held, (str, int, float, Path, torch.Tensor, type(None)))


def test_every_wire_type_is_among_those_looked_at():
    inside = {type(part) for part in (*EVERY[1].pictures, *EVERY[1].used)}
    assert {type(value) for value in EVERY} | inside == set(WIRES.values())


@pytest.mark.parametrize("as_given", [lambda box: box, lambda box: read_only(box.view()), lambda box: np.broadcast_to(box, (2, 4))[0]])
def test_an_array_that_is_changed_afterwards_changes_no_face(as_given):
    box = np.zeros(4, np.float32)
    made = Face(as_given(box), 1.0)
    box[:] = 9
    assert not made.box.any()


def read_only(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def test_a_part_of_a_frozen_array_is_shared():
    part = face().points[:2]
    assert Face(np.zeros(4, np.float32), 1.0, part).points is part


def test_replacing_shares_what_stays_and_copies_nothing():
    before = face()
    after = replace(before, quality=0.5)
    assert after.box is before.box and after.masks["head"] is before.masks["head"] and before.quality is None


def test_frozen_tables_become_json_again():
    assert json.loads(json.dumps(thawed(person().report))) == {"losses": [1.0, 0.5]}


def test_every_status_has_a_severity_and_a_text_of_its_own():
    assert all(isinstance(status.severity, Severity) for status in Status)
    assert len({status.value for status in Status}) == len(Status)
    assert Status.PRESENT.severity is Severity.GOOD and Status.DAMAGED.severity is Severity.PROBLEM


def test_a_report_shows_rows_with_their_severity_and_what_was_used():
    with provenance.recording() as record:
        report = Report("Said")
        report.add("a.jpg", Status.REJECTED, "no face was found", faces=0)
        record.open(USED)
    shown = report.json()
    assert shown["rows"] == [
        {"name": "a.jpg", "status": "rejected", "severity": "problem", "reason": "no face was found", "values": {"faces": 0}}
    ]
    assert shown["stand_ins"] == ["rts"] and shown["notes"][0].startswith("STAND-IN WEIGHTS (rts)")
    assert shown["used"] == [
        {"kind": "network", "name": "rts", "origin": "stand-in", "file": "rts.safetensors", "digest": "ab", "opened": True}
    ]
    assert report.text().endswith("Made with: rts (stand-in).")
