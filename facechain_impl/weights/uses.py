"""Which published files each node opens. It is said here once: a node takes its id, its name and its fingerprint from its row, and
messages, Check Models, the command line and the README say from the rows what needs a file.

The rows are data below the nodes, because the command line and the code that finds a file missing know the nodes' names without
loading them. Code that has to have several files at once asks for them by the same constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..networks.published import Entry

Inputs = Mapping[str, Any]
"""Inputs of a node in a workflow: values of widgets, and a list for each socket with a link."""


def _always(inputs: Inputs) -> bool:
    return True


def _on(*names: str) -> Callable[[Inputs], bool]:
    """Asked where all of these widgets are on, or sockets linked."""
    return lambda inputs: all(inputs.get(name) for name in names)


def _set(name: str, *values: str) -> Callable[[Inputs], bool]:
    """Asked where the widget has one of these values."""
    return lambda inputs: inputs.get(name) in values


def _unless_linked(*names: str) -> Callable[[Inputs], bool]:
    """Asked where one of these sockets has no link."""
    return lambda inputs: not all(inputs.get(name) for name in names)


def _starts_from_the_common_face(inputs: Inputs) -> bool:
    """Asked where Train Face LoRA is told so, or by a preset that does."""
    by_preset = inputs.get("start") == "From preset" and inputs.get("preset", "FaceChain") == "FaceChain"
    return by_preset or inputs.get("start") == "face_frombase_c4"


@dataclass(frozen=True)
class Need:
    """Files that are opened together.

    option: what in a node asks for them, in words; empty where the node always does. asked: the same of a node's inputs. spared:
    whether the node, as workflows are shipped, also works without them and says in its report what it left out."""

    files: tuple[str, ...]
    option: str = ""
    asked: Callable[[Inputs], bool] = _always
    spared: bool = False


@dataclass(frozen=True)
class Uses:
    """What a node may open. handed: what the host's own loaders open and hand to it."""

    node_id: str
    display_name: str
    needs: tuple[Need, ...]
    handed: tuple[Need, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that the node itself may open."""
        return tuple(name for need in self.needs for name in need.files)


NOTHING = Uses("", "", ())

DAMOFD = Need(("damofd",), "detector DamoFD", _set("detector", "DamoFD"))
RECOGNITION = Need(("rts",))
LIKENESS = Need(("rts",), "likeness", spared=True)
LANDMARKS = Need(("sadtalker_fan",), "landmarks", _set("landmarks", "98-point network"))

ROTATION = Need(("rot_bgr",), "rotate whole picture", _on("rotate_photo"))
RETOUCH = Need(("skin_unet", "skin_mask", "retinaface"), "retouch", _on("retouch"))
HEAD_MASK = Need(("m2fp",), "head mask", _on("white_background"))
CONFIDENCE = Need(("flcm",), "landmark confidence", _on("confidence_filter"))

FUSION = Need(("fusion_aei", "fusion_arcface", "fusion_recon", "fusion_bfm", "fusion_alpha"))
ENHANCEMENT = Need(("fusion_gpen1024",), "enhance", _on("enhance"))

SADTALKER = (
    Need(("sadtalker_256",), asked=_set("size", "256")),
    Need(("sadtalker_512",), asked=_set("size", "512")),
    Need(("sadtalker_mapping_crop",), asked=_set("preprocess", "crop", "extcrop", "resize")),
    Need(("sadtalker_mapping_full",), asked=_set("preprocess", "full", "extfull")),
)
RETINAFACE = Need(("sadtalker_retinaface",), "detector RetinaFace", _set("detector", "RetinaFace"))
FACE_PARTS = Need(("parsenet",), "enhancer", _on("enhancer"))
GFPGAN = Need(("gfpgan",), "enhancer", _on("enhancer"))

FACE_ALIGN = Uses("FaceChain_FaceAlign", "Face Align", (DAMOFD, ROTATION, RETOUCH, HEAD_MASK, CONFIDENCE))
FIND_FACES = Uses("FaceChain_FindFaces", "Find Faces", (DAMOFD,))
PICK_FACES = Uses(
    "FaceChain_PickFaces",
    "Pick Faces",
    (
        DAMOFD,
        Need(("rts",), "likeness", lambda inputs: inputs.get("order") == "Most like the reference" or inputs.get("min_likeness", -1) > -1),
    ),
)
CHECK_PHOTOS = Uses("FaceChain_CheckPhotos", "Check Training Photos", (LIKENESS,))
TAGGER = Uses(
    "FaceChain_Tagger",
    "Caption Crops (Tagger)",
    (
        DAMOFD,
        Need(("fairface",), "automatic trigger", _set("trigger", "automatic")),
        Need(("deepdanbooru",), "append tags", _on("append_tags")),
    ),
)
TRAIN = Uses(
    "FaceChain_TrainFaceLoRA",
    "Train Face LoRA",
    (
        LIKENESS,
        Need(("fqa",), "the best photo", spared=True),
        Need(("face_frombase_c4",), "start from the common face", _starts_from_the_common_face, spared=True),
    ),
)
RANK = Uses(
    "FaceChain_RTSRank",
    "Rank by Likeness (RTS)",
    (RECOGNITION, DAMOFD, Need(("fqa",), "choose the reference face", _on("choose_reference"))),
)
FUSE_FACE = Uses("FaceChain_FaceFusion", "Fuse Face", (FUSION, ENHANCEMENT, DAMOFD))


def _lacks_masks(inputs: Inputs) -> bool:
    names = ("face_mask", "human_mask", "skin_mask") if inputs.get("include_neck") else ("face_mask", "human_mask")
    return _unless_linked(*names)(inputs)


INPAINT = Uses(
    "FaceChain_TwoStageInpaint",
    "Put Faces Into a Picture (Two-Stage Inpaint)",
    (
        Need(("m2fp",), asked=_lacks_masks),
        replace(FUSION, asked=_on("fusion")),
        replace(ENHANCEMENT, asked=_on("fusion", "enhance")),
        DAMOFD,
        replace(LANDMARKS, asked=_unless_linked("face_detection_model"), spared=True),
        replace(LIKENESS, asked=lambda inputs: "Likeness" in inputs.get("assign", "") and any(n.startswith("persons.") for n in inputs)),
    ),
)
_SPEAKING = (*SADTALKER, RETINAFACE, DAMOFD, LANDMARKS)
TALKING_PORTRAIT = Uses("FaceChain_SadTalker", "Talking Portrait (SadTalker)", (*_SPEAKING, FACE_PARTS), handed=(GFPGAN,))
MOTION = Uses("FaceChain_MotionFromAudio", "Motion From Audio", _SPEAKING)
RENDER = Uses("FaceChain_RenderMotion", "Render Motion", (*_SPEAKING, FACE_PARTS), handed=(GFPGAN,))

NODES = (
    FACE_ALIGN, FIND_FACES, PICK_FACES, CHECK_PHOTOS, TAGGER, TRAIN, RANK, FUSE_FACE, INPAINT, TALKING_PORTRAIT, MOTION, RENDER,
)  # fmt: skip


def needed_by(name: str) -> str:
    """The nodes that open the file of this name or are handed it, and the options that ask for it: "Rank by Likeness (RTS); Pick
    Faces and Train Face LoRA: likeness". Empty where no node does."""
    found: dict[str, list[str]] = {}
    for node in NODES:
        for need in (*node.needs, *node.handed):
            if name in need.files:
                found.setdefault(need.option, []).append(node.display_name)
    return "; ".join(_listed(found[option]) + (f": {option}" if option else "") for option in sorted(found))


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def purpose(entry: Entry) -> str:
    """What the file is for."""
    if nodes := needed_by(entry.name):
        return nodes
    return f"no node yet: {entry.note}" if is_run(entry) else entry.note or "for the host's own loaders"


def is_run(entry: Entry) -> bool:
    """Whether the pack runs the file, or will once the node that its note speaks of is there."""
    return not entry.upstream_only and (entry.is_ours or bool(needed_by(entry.name)))
