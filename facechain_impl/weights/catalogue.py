"""The one list of published files. What is known about each stands beside its network; the rest is in `other_files`."""

from __future__ import annotations

from difflib import get_close_matches

from ..errors import BadInput
from ..networks import (
    aei,
    bfm,
    damofd,
    deepdanbooru,
    fact,
    fairface,
    fan,
    flcm,
    gpen,
    ir100,
    onnx_files,
    parsenet,
    recon,
    retinaface,
    rts,
    skin,
    transface,
)
from ..networks.m2fp import parser as m2fp
from ..networks.published import Entry
from ..networks.sadtalker import bundle, mapping
from . import other_files

PERCEPTION = (
    onnx_files.ROTATION, damofd.PUBLISHED, rts.PUBLISHED, m2fp.PUBLISHED, fairface.PUBLISHED, flcm.PUBLISHED, onnx_files.QUALITY,
    retinaface.PUBLISHED, *skin.PUBLISHED, onnx_files.SKIN_MASK, deepdanbooru.PUBLISHED,
)  # fmt: skip
FUSION = (aei.PUBLISHED, ir100.PUBLISHED, recon.PUBLISHED, gpen.PUBLISHED, bfm.PUBLISHED, other_files.ALPHA)
TRAIN_FREE = (transface.PUBLISHED, *fact.PUBLISHED)
TALKING = (*bundle.PUBLISHED, *mapping.PUBLISHED, retinaface.SADTALKER, fan.PUBLISHED, other_files.GFPGAN, parsenet.PUBLISHED)
PORTRAIT = (other_files.FACE_LORA, *other_files.PORTRAIT)

ENTRIES: tuple[Entry, ...] = (*PERCEPTION, *FUSION, *TRAIN_FREE, *TALKING, *PORTRAIT, *other_files.UPSTREAM_ONLY)
_BY_NAME = {entry.name: entry for entry in ENTRIES}
_BASE = "base_"


def get(name: str) -> Entry:
    """The entry of a short name, or of "file.part" for one network of a file. Raises BadInput with the nearest names."""
    base, _, part = name.partition(".")
    entry = _BY_NAME.get(base)
    if entry is None:
        near = get_close_matches(base, _BY_NAME, n=3) or sorted(_BY_NAME)
        raise BadInput(f"There is no published file called {name!r}. Did you mean {', '.join(near)}?")
    if part and part not in {one.name for one in entry.parts}:
        raise BadInput(f"{base} has no part {part!r}; it has {', '.join(one.name for one in entry.parts) or 'none'}.")
    return entry.part(part) if part else entry


def base(name: str) -> Entry:
    """The base model of this name, with or without "base_". Raises BadInput with the names that there are."""
    known = {entry.name.removeprefix(_BASE): entry for entry in ENTRIES if entry.name.startswith(_BASE)}
    entry = known.get(name.removeprefix(_BASE))
    if entry is None:
        raise BadInput(f"There is no base model called {name!r}. There are {', '.join(known)}.")
    return entry
