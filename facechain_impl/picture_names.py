"""What pictures are called in reports and messages: by the names that came with them, else "picture 1", "photo 2", "reference 3"."""

from __future__ import annotations

from collections.abc import Sequence, Sized

from .errors import BadInput


def nth(what: str, index: int) -> str:
    """The name of the picture at `index`, counted from 0, among others of its kind."""
    return f"{what} {index + 1}"


def numbered(what: str, pictures: Sized) -> list[str]:
    """A name for each of `pictures`, by their order."""
    return [nth(what, index) for index in range(len(pictures))]


def counted(things: Sized, what: str) -> str:
    """How many there are: "1 photo", "3 photos"."""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def given(names: Sequence[str] | None, pictures: Sized, what: str = "picture") -> list[str]:
    """`names` of the pictures, or their numbers where none are given. Raises BadInput for another number of names."""
    if not names:
        return numbered(what, pictures)
    if len(names) != len(pictures):
        raise BadInput(
            f"names has {len(names)} and images has {len(pictures)} entries; expected one for each. Connect lists of the same length."
        )
    return list(names)
