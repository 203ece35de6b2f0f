"""Which of the studied photos go on to a training."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from ..errors import BadInput
from ..types import Faces
from .study import BAD, Problem, Study, problems_of, verdicts


class LeaveOut(str, Enum):
    """Which photos do not go on."""

    BAD = "Bad photos"
    REMARKED = "All with a remark"
    NOTHING = "Nothing"


_REASONS = {LeaveOut.BAD: BAD, LeaveOut.REMARKED: frozenset(Problem), LeaveOut.NOTHING: frozenset[Problem]()}


def chosen(found: Study, rule: LeaveOut) -> list[int]:
    """The indices of the photos that go on, possibly none. A second copy stays behind only where another copy goes on."""
    kept: dict[int, int] = {}
    for index, one in enumerate(found.facts):
        reasons = _REASONS[rule].intersection(problems_of(one))
        first = _first_copy(found, index)
        if not reasons or (reasons == {Problem.DUPLICATE} and first not in kept.values()):
            kept[index] = first
    return list(kept)


def _first_copy(found: Study, index: int) -> int:
    earlier = found.facts[index].duplicate_of
    return index if earlier is None else _first_copy(found, earlier)


def check_some_are_left(kept: Sequence[int], found: Study, names: Sequence[str]) -> None:
    """Raises BadInput that says of each photo why it does not go on, where none does."""
    if not kept:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in zip(names, verdicts(found, names)))
        raise BadInput(
            f"No photo is left for the nodes that follow. {reasons}. Use other photos, or set leave_out to {LeaveOut.NOTHING.value}."
        )


def faces_of(found: Study, known: Faces | None, kept: Sequence[int]) -> Faces:
    """What is known about the photos that go on: as crops beside the whole photos they were cut from, where `known` has those."""
    pictures = tuple(found.pictures[index] for index in kept)
    wholes = {picture.digest: picture for picture in (known.pictures if known is not None else ())}
    if pictures and all(picture.source in wholes for picture in pictures):
        return Faces(tuple(wholes[picture.source] for picture in pictures), pictures)
    return Faces(pictures)
