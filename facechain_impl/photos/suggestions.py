"""Which of Face Align's optional steps would help a set of photos, why, and whether their files are here."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from ..picture_names import counted
from ..types import Status
from ..weights import catalogue, check, uses
from ..weights.uses import Need
from .study import Problem, Study, problems_of

# A head on white has a border that is white, but for long hair.
_BORDER, _WHITE, _WHITE_SHARE = 0.02, 0.98, 0.7
_UNCLEAR = {Problem.BLURRED, Problem.TURNED, Problem.SMALL}


def shows_surroundings(photo: torch.Tensor) -> bool:
    """Whether a photo [H, W, 3] in 0..1 shows more than a head on white, judged by its border."""
    height, width = photo.shape[:2]
    y, x = (max(round(side * _BORDER), 1) for side in (height, width))
    border = torch.cat([part.reshape(-1, 3) for part in (photo[:y], photo[-y:], photo[y:-y, :x], photo[y:-y, -x:])])
    return float((border.amin(-1) > _WHITE).float().mean()) < _WHITE_SHARE


def suggestions(photos: Sequence[torch.Tensor], found: Study, used: Collection[str] | None) -> list[str]:
    """A sentence for each step that would help. used: the networks that Face Align ran, None where that is not known; then nothing is said
    of steps that do not show in the photos."""
    around = [photo for photo in photos if shows_surroundings(photo)]
    unclear = [one for one in found.facts if not _UNCLEAR.isdisjoint(problems_of(one))]
    said = []
    if around:
        why = f"{len(around)} of {counted(photos, 'photo')} with surroundings, which a training learns along with the face"
        said.append(_sentence("white_background", f"{why}; FaceChain trains on heads on white", uses.HEAD_MASK))
    if used is not None and not _ran(uses.RETOUCH, used):
        why = "FaceChain smooths the skin of its training photos, so that spots and shine of one day are not learnt as the person's"
        said.append(_sentence("retouch", why, uses.RETOUCH))
    if used is not None and not _ran(uses.CONFIDENCE, used):
        seen = f"{counted(unclear, 'face')} here may be unclear, and " if unclear else ""
        why = f"{seen}this check does not see faces behind a hand, a mask or dark glasses, which FaceChain leaves out of its trainings"
        said.append(_sentence("confidence_filter", why, uses.CONFIDENCE))
    return said


def _ran(step: Need, used: Collection[str]) -> bool:
    return any(name in used for name in step.files)


def _sentence(widget: str, why: str, step: Need) -> str:
    return f"Face Align's {widget} would help: {why}. {_files(step)}"


def _files(step: Need) -> str:
    states = {name: check.status(catalogue.get(name)).status for name in step.files}
    missing = [name for name, state in states.items() if state in (Status.MISSING, Status.DAMAGED)]
    which = "file" if len(states) == 1 else "files"
    if missing:
        return f"Its {which} {'is' if len(states) == 1 else 'are'} not here: python run.py models get {' '.join(missing)}."
    if Status.STAND_IN in states.values():
        return f"Of its {which} only stand-ins are here."
    return f"Its {which} {'is' if len(states) == 1 else 'are'} here."
