"""Matching persons to the faces of a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..errors import BadInput
from ..types import Face, Person


class Assign(str, Enum):
    """How persons find their faces."""

    AUTO = "Likeness, else left to right"
    LIKENESS = "Likeness"
    ORDER = "Left to right"
    LIST = "List"


AUTO_FACES, ALL_FACES, NO_FACES = "auto", "all", "none"
_NOBODY = ("", "0", "-")


@dataclass
class Assignment:
    """person_of: for each face from left to right the index of its person, or None. notes: what the user should know."""

    person_of: list[int | None]
    notes: list[str] = field(default_factory=list)


def chosen(faces: Sequence[Face], choice: str, anybody: bool) -> list[int]:
    """Indices of the faces (from left to right) that may be edited.

    `choice` is "all", "none", numbers counted from 1, or "auto": all faces where there are persons to match (`anybody`), else the
    largest one. Raises BadInput for a number without a face.
    """
    choice = choice.strip().lower()
    if choice == NO_FACES:
        return []
    if choice == ALL_FACES or (choice == AUTO_FACES and anybody):
        return list(range(len(faces)))
    if choice == AUTO_FACES:
        return [int(np.argmax([face.area for face in faces]))] if faces else []
    words = _words(choice)
    if not words or not all(word.isdigit() and 1 <= int(word) <= len(faces) for word in words):
        raise BadInput(
            f"{choice!r} does not choose faces: the picture has {len(faces)}, counted from 1, left to right. "
            f'Write numbers with commas, "{AUTO_FACES}", "{ALL_FACES}" or "{NO_FACES}".'
        )
    return sorted({int(word) - 1 for word in words})


def assign(faces: Sequence[Face], persons: Sequence[Person], how: Assign, entries: str = "") -> Assignment:
    """Persons for `faces`, from left to right. A person is assigned to at most one face, unless a list says otherwise.

    A face that already has a person's name keeps that person. Raises BadInput where likeness is required and cannot be
    computed, or the list does not fit.
    """
    if how is Assign.LIST:
        return Assignment(_listed(faces, persons, entries))
    result = _by_name(faces, persons)
    free = [index for index, person in enumerate(result.person_of) if person is None]
    waiting = [index for index in range(len(persons)) if index not in result.person_of]
    if not free or not waiting:
        return result
    by_likeness = how is not Assign.ORDER and _comparable([faces[i] for i in free], [persons[i] for i in waiting], how, result.notes)
    pairs = _by_likeness(faces, persons, free, waiting) if by_likeness else zip(free, waiting)
    for face, person in pairs:
        result.person_of[face] = person
    return result


def likeness(faces: Sequence[Face], persons: Sequence[Person]) -> np.ndarray:
    """Cosine of every face with every person, [faces, persons]."""
    return _stacked([face.embedding for face in faces]) @ _stacked([person.embedding for person in persons]).T


def _stacked(embeddings: Sequence[np.ndarray | None]) -> np.ndarray:
    return np.stack([np.asarray(embedding) for embedding in embeddings])


def _by_name(faces: Sequence[Face], persons: Sequence[Person]) -> Assignment:
    names = {person.name: index for index, person in enumerate(persons)}
    return Assignment([names.get(face.person) if face.person else None for face in faces])


def _comparable(faces: list[Face], persons: list[Person], how: Assign, notes: list[str]) -> bool:
    unknown = [person.name for person in persons if person.embedding is None]
    if not unknown and all(face.embedding is not None for face in faces):
        return True
    why = f"no likeness is known of {', '.join(unknown)}" if unknown else "the likeness of the faces in the picture is not known"
    if how is Assign.LIKENESS:
        raise BadInput(f"Persons cannot be matched by likeness: {why}. Choose '{Assign.ORDER.value}' or '{Assign.LIST.value}' instead.")
    if len(faces) > 1:
        notes.append(f"Persons are assigned from left to right, because {why}.")
    return False


def _by_likeness(faces: Sequence[Face], persons: Sequence[Person], free: list[int], waiting: list[int]) -> list[tuple[int, int]]:
    """The pairs with the largest sum of likeness."""
    scores = likeness([faces[i] for i in free], [persons[i] for i in waiting])
    rows, columns = linear_sum_assignment(scores, maximize=True)
    return [(free[row], waiting[column]) for row, column in zip(rows, columns)]


def _listed(faces: Sequence[Face], persons: Sequence[Person], entries: str) -> list[int | None]:
    words = _words(entries)
    if len(words) != len(faces):
        raise BadInput(
            f"The list names {len(words)} persons, the picture has {len(faces)} faces to edit. "
            "Write one entry per face, from left to right: the person's name or number, or 0 for nobody."
        )
    return [_entry(word, persons) for word in words]


def _entry(word: str, persons: Sequence[Person]) -> int | None:
    if word in _NOBODY:
        return None
    names = [person.name for person in persons]
    if word in names:
        return names.index(word)
    if word.isdigit() and 1 <= int(word) <= len(persons):
        return int(word) - 1
    raise BadInput(
        f"The list names {word!r}; connected are {', '.join(f'{i + 1} {name}' for i, name in enumerate(names)) or 'no persons'}."
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in re.split(r"[,;\n]", text)] if text.strip() else []
