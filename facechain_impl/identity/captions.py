"""Captions of training pictures: the token, the trigger, and tags that say what differs from picture to picture.

A caption is one line of fields separated by ", ". The second field is the trigger, from which the prompt is made.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, takewhile

import numpy as np

from ..errors import BadInput

TOKEN = "<fcsks>"
CHILDREN = "children"
CHILD, ADULT, MATURE = range(3)
TRIGGERS = (("a boy", "a girl"), ("a handsome man", "a beautiful woman"), ("a mature man", "a mature woman"))
"""By age group, then male and female."""
ALL_TRIGGERS = tuple(trigger for group in TRIGGERS for trigger in group)
AGE_STARTS = (0, 3, 10, 20, 30, 40, 50, 60, 70)
AGE_TABLES = {
    "FaceChain: child under 10, mature from 40": (10, 40),
    "Paper: child under 20, mature from 40": (20, 40),
}

IDENTITY_TAGS = {"1girl", "1boy", "ears", "head", "face", "lips", "mouth", "3d", "asian", "teeth"}
IDENTITY_ENDS = ("_man", "_woman", "_male", "_female", "_lips")
IDENTITY_PARTS = ("nose", "body")
COMMON_PARTS = ("hair", "face", "mouth", "skin", "smile")
RATING = "rating:"


def trigger_of(gender: np.ndarray | Sequence[float], age: np.ndarray | Sequence[float], limits: tuple[float, float]) -> str:
    """The trigger for summed probabilities: gender [2] male, female; age [9] in AGE_STARTS. limits: see AGE_TABLES."""
    start = AGE_STARTS[int(np.argmax(age))]
    group = CHILD if start < limits[0] else MATURE if start >= limits[1] else ADULT
    return TRIGGERS[group][int(np.argmax(gender))]


def summed(attributes: Iterable[Mapping[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Gender [2] and age [9] summed over the faces of a set."""
    faces = list(attributes)
    return np.sum([face["gender"] for face in faces], 0), np.sum([face["age"] for face in faces], 0)


def words(trigger: str) -> str:
    """The trigger in captions: `children` follows a boy or a girl."""
    return f"{trigger}, {CHILDREN}" if trigger in TRIGGERS[CHILD] else trigger


def caption(token: str, trigger: str, tags: Iterable[str] = ()) -> str:
    return ", ".join(part for part in (token.strip(), words(trigger.strip()), *(tag.strip() for tag in tags)) if part)


def without_identity(tags: Iterable[str]) -> list[str]:
    """`tags` without those that describe the person, whom the trigger represents."""
    return [tag for tag in tags if not _is_identity(tag)]


def _is_identity(tag: str) -> bool:
    eye = "eye" in tag and "eyewear" not in tag
    return eye or tag in IDENTITY_TAGS or tag.endswith(IDENTITY_ENDS) or any(part in tag for part in IDENTITY_PARTS)


def chosen_tags(probabilities: Mapping[str, float], threshold: float) -> list[str]:
    """Tags of at least `threshold` in alphabetical order, without ratings."""
    return sorted(tag for tag, value in probabilities.items() if value >= threshold and not tag.startswith(RATING))


def escaped(tag: str) -> str:
    """Escape the characters with a meaning in prompts: ( ) and backslash."""
    return re.sub(r"([\\()])", r"\\\1", tag)


def fields(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def common_trigger(captions: Sequence[str]) -> str:
    """Token and trigger that stand for all captions: the known trigger that is the most frequent second field, and the token before it.

    Of equally frequent ones the first of ALL_TRIGGERS is taken. Where another second field is more frequent, the captions are in the
    user's own words: then the result is the fields that all captions begin with, at most two, possibly none."""
    parts = [fields(text) for text in captions]
    named = Counter(part[1] for part in parts if len(part) > 1)
    best = max(ALL_TRIGGERS, key=lambda trigger: named[trigger])
    if named[best] and named[best] == max(named.values()):
        token, _ = Counter(part[0] for part in parts if part[1:2] == [best]).most_common(1)[0]
        return f"{token}, {best}"
    common = takewhile(lambda position: len(set(position)) == 1, zip(*parts))
    return ", ".join(position[0] for position in islice(common, 2))


def common_tags(captions: Sequence[str]) -> list[str]:
    """Tags on hair, face, mouth, skin or smile that more than half of the captions have, for prompts of the trained person."""
    found = Counter(tag for parts in map(fields, captions) for tag in dict.fromkeys(parts[1:]) if any(p in tag for p in COMMON_PARTS))
    return [tag for tag, count in found.items() if count > len(captions) / 2]


def extra_tags(text: str, count: int) -> list[list[str]]:
    """The user's tags for each of `count` captions: one line for all, or one line each. Raises BadInput."""
    lines = [[tag for tag in fields(line) if tag] for line in text.strip().splitlines()] or [[]]
    if len(lines) not in (1, count):
        raise BadInput(f"extra_tags has {len(lines)} lines for {count} pictures. Write one line for all pictures, or one line for each.")
    return lines * count if len(lines) == 1 else lines


def sentences(texts: Sequence[str], count: int) -> list[str]:
    """Descriptions in whole sentences for `count` pictures, each as one line. Raises BadInput for another number of texts."""
    if len(texts) != count:
        remedy = (
            "A node that gets a batch writes one text for all of it: put Rebatch Images in between, or use the images of Check Training "
            "Photos, which come one by one."
            if len(texts) == 1
            else "Let the same pictures go to the node that writes them."
        )
        raise BadInput(f"captions has {len(texts)} and images has {count} entries; expected one for each. {remedy}")
    return [" ".join(text.split()) for text in texts]
