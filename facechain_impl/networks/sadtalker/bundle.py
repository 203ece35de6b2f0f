"""The published file of SadTalker that holds five networks at once, one for each size of the drawn squares."""

from __future__ import annotations

from .. import recon
from ..published import Entry
from ..sources import SADTALKER, SADTALKER_REPO
from . import audio, generator, keypoints

PARTS = (keypoints.PART, generator.PART, *audio.PARTS, recon.SADTALKER_PART)


def _published(size: int) -> Entry:
    return Entry(
        f"sadtalker_{size}",
        f"Talking head, all networks at {size} px",
        *SADTALKER_REPO,
        f"checkpoints/SadTalker_V0.0.2_{size}.safetensors",
        SADTALKER,
        parts=PARTS,
        megabytes=725,
    )


PUBLISHED = (_published(256), _published(512))
