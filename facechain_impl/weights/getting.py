"""Several published files with one question: what they are for, their sizes and their licences first."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import BadInput, WeightsError
from ..host import folders
from ..networks.published import Entry, megabytes
from ..types import Status
from . import check, download
from .download import Say
from .workflows import Wanted

GB = 1e9


def get(headline: str, wanted: Sequence[Wanted], yes: bool, say: Say) -> bool:
    """Get those of `wanted` that are not here, after one question below `headline`. yes: it is answered already.

    Returns False where the answer is no. Raises BadInput where nobody can answer, WeightsError."""
    missing = [one for one in wanted if _is_missing(one)]
    if not missing:
        say("Nothing has to be downloaded.")
        return True
    for line in (headline, *_announcement(missing)):
        say(line)
    if not yes and not _agreed():
        say("Nothing was downloaded. Single files: python run.py models get NAME")
        return False
    for number, one in enumerate(missing, 1):
        say(f"{number} of {len(missing)}: {one.entry.name}")
        download.bring(one.entry, say)
    return True


def _is_missing(one: Wanted) -> bool:
    found = check.status(one.entry)
    if found.status is Status.DAMAGED:
        raise WeightsError(found.reason)
    return found.status is not Status.PRESENT


def _announcement(missing: Sequence[Wanted]) -> list[str]:
    sizes = [download.size(one.entry) for one in missing]
    lines = []
    for one, size in zip(missing, sizes):
        entry = one.entry
        lines += [
            f"  {entry.name}: {entry.title}, {amount(size)}",
            f"      for {one.why}{', which also works without it' if one.spared else ''}",
            f"      licence {entry.licence.text()}",
            f"      from {entry.repo} {entry.revision} on ModelScope",
        ]
    lines.append(f"Together {amount(sum(sizes))}, into {folders.category_folders(missing[0].entry.folder)[0].parent}")
    return lines + _restrictions([one.entry for one in missing])


def _restrictions(entries: Sequence[Entry]) -> list[str]:
    forbidden, unclear = ([entry.name for entry in entries if entry.licence.commercial is use] for use in (False, None))
    first = f"Not for commercial use: {', '.join(forbidden)}" if forbidden else "No licence among them forbids commercial use."
    return [first, *([f"Unclear whether for commercial use: {', '.join(unclear)}"] if unclear else [])]


def amount(size: int) -> str:
    return f"{size / GB:.1f} GB" if size >= GB else megabytes(size)


def _agreed() -> bool:
    """The answer to the one question. Raises BadInput where there is no terminal to ask in."""
    if not sys.stdin.isatty():
        raise BadInput("Nothing was downloaded: there is no terminal to ask in. Add --yes to agree to the licences above.")
    sys.stdout.write("Download? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().casefold() in ("y", "yes")
