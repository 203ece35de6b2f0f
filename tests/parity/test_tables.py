"""Captions, triggers and tags against upstream's."""

from __future__ import annotations

import pytest

from facechain_impl.identity import captions
from facechain_impl.identity.captions import ALL_TRIGGERS, TOKEN
from facechain_impl.portrait import prompts

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
    strangers = [row for row in case.input("trigger") if not any(known in text for known in ALL_TRIGGERS for text in row["captions"])]
    for row in strangers:  # upstream takes the first trigger, "a boy", for a caption that names none
        assert captions.common_trigger(row["captions"]) == row["captions"][0]
    case.compare("trigger", [row if row in strangers else read_back(row) for row in case.input("trigger")])


def read_back(row: dict) -> dict:
    trigger = captions.common_trigger(row["captions"])
    return row | {
        "trigger": f"{prompts.identity(trigger)}, ".replace(TOKEN, f"({TOKEN}:10)"),
        "added_tags": "".join(f"{tag}, " for tag in captions.common_tags(row["captions"])),
        "negative": f"NEG -> {prompts.unwanted(trigger, 'NEG')}",
    }


def test_tag_text(case):
    mine = []
    for row in case.input("tags"):
        found = captions.chosen_tags(dict(zip(row["tags"], row["probabilities"])), 0.5)
        mine.append(row | {"text": ", ".join(map(captions.escaped, found))})
    case.compare("tags", mine)
