"""Captions, triggers and tags against upstream's."""

from __future__ import annotations

import pytest

from facechain_impl.errors import BadInput
from facechain_impl.identity import captions
from facechain_impl.identity.captions import ALL_TRIGGERS, CHILDREN, TOKEN

FIXTURES = ("tables",)
UPSTREAM_AGES = next(iter(captions.AGE_TABLES.values()))


@pytest.mark.parametrize(("name", "with_tags"), [("caption", False), ("caption_v1", True)])
def test_captions(case, name, with_tags):
    mine = []
    for row in case.input(name):
        trigger = captions.trigger_of(row["gender_sum"], row["age_sum"], UPSTREAM_AGES)
        tags = [captions.without_identity(tags) if with_tags else [] for tags in row["tags"]]
        result = [captions.words(trigger).split(", ") + kept for kept in tags]
        mine.append(row | {"result": result, "caption": [captions.caption(TOKEN, trigger, kept) for kept in tags]})
    case.compare(name, mine)


def test_triggers_read_back(case):
    refused = [row for row in case.input("trigger") if not any(known in text for known in ALL_TRIGGERS for text in row["captions"])]
    for row in refused:  # upstream takes the first trigger, "a boy", for a caption that names none
        with pytest.raises(BadInput, match="names a known trigger"):
            captions.trigger_in(row["captions"])
    case.compare("trigger", [row if row in refused else read_back(row) for row in case.input("trigger")])


def read_back(row: dict) -> dict:
    trigger = captions.trigger_in(row["captions"])
    return row | {
        "trigger": f"({TOKEN}:10), {captions.words(trigger)}, ",
        "added_tags": "".join(f"{tag}, " for tag in captions.common_tags(row["captions"])),
        "negative": f"NEG -> NEG, {CHILDREN}" if trigger in ("a handsome man", "a mature man") else "NEG -> NEG",
    }


def test_tag_text(case):
    mine = []
    for row in case.input("tags"):
        found = captions.chosen_tags(dict(zip(row["tags"], row["probabilities"])), 0.5)
        mine.append(row | {"text": ", ".join(map(captions.escaped, found))})
    case.compare("tags", mine)
