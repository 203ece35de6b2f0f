"""Captions that somebody changed by hand. Each belongs to one picture, by what it shows, and to no other.

They are kept as text, one a line: the key of the picture, a colon, the caption. The key is the beginning of a digest: of the photo
that the picture was cut out of where that is known, so that an edit outlives another retouch or background, else of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ..errors import BadInput
from ..types import Faces, digest_of

KEY = 12
_LINE = re.compile(rf"\s*([0-9a-f]{{{KEY}}})\s*:(.*)", re.DOTALL)


@dataclass(frozen=True)
class Line:
    """The caption of one picture. edited: what was written by hand instead of the automatic text, or empty."""

    key: str
    name: str
    automatic: str
    edited: str

    @property
    def text(self) -> str:
        return self.edited or self.automatic


def parsed(text: str) -> dict[str, str]:
    """key -> caption of every edit in `text`. A line without a caption means the automatic caption and is left out. Raises BadInput."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise BadInput(
                f"edits, line {number}: {line.strip()!r} is not an edited caption. Expected the key of a picture, a colon and its caption, "
                "such as '0123456789ab: <fcsks>, a person, smile'. Edit the captions on the node, or take the line out."
            )
        key, caption = match[1], match[2].strip()
        if key in found:
            raise BadInput(f"edits, line {number}: picture {key} has an edited caption already. Take one of the two lines out.")
        found[key] = caption
    return {key: caption for key, caption in found.items() if caption}


def keys_of(image: torch.Tensor, known: Faces | None) -> tuple[str, ...]:
    """The keys under which an edit of `image` [H, W, 3] may be found, the one for a new edit first."""
    picture = known.of(image) if known is not None else None
    own = picture.digest if picture else digest_of(image)
    return tuple(digest[:KEY] for digest in ((picture.source, own) if picture and picture.source else (own,)))


def line_of(keys: tuple[str, ...], name: str, automatic: str, edits: Mapping[str, str]) -> Line:
    """The caption of the picture with these keys and this name."""
    key = next((key for key in keys if key in edits), keys[0])
    return Line(key, name, automatic, edits.get(key, ""))
