"""Which published files each node opens. It is said here once: a node takes its id, its name and its fingerprint from its row, and
messages, Check Models, the command line and the README say from the rows what needs a file.

The rows are data below the nodes, because the command line and the code that finds a file missing know the nodes' names without
loading them. Code that has to have several files at once asks for them by the same constants.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..networks.published import Entry


@dataclass(frozen=True)
class Need:
    """Files that are opened together. option: what in a node asks for them, in words; empty where the node always does."""

    files: tuple[str, ...]
    option: str = ""


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

DAMOFD = Need(("damofd",), "detector DamoFD")
RECOGNITION = Need(("rts",))
LIKENESS = Need(("rts",), "likeness")
LANDMARKS = Need(("sadtalker_fan",), "landmarks")
PARSING = Need(("m2fp",))

ROTATION = Need(("rot_bgr",), "rotate whole picture")
RETOUCH = Need(("skin_unet", "skin_mask", "retinaface"), "retouch")
HEAD_MASK = Need(("m2fp",), "head mask")
CONFIDENCE = Need(("flcm",), "landmark confidence")

FUSION = Need(("fusion_aei", "fusion_arcface", "fusion_recon", "fusion_bfm", "fusion_alpha"))
ENHANCEMENT = Need(("fusion_gpen1024",), "enhance")

SADTALKER = Need(("sadtalker_256", "sadtalker_512", "sadtalker_mapping_crop", "sadtalker_mapping_full"))
RETINAFACE = Need(("sadtalker_retinaface",), "detector RetinaFace")
FACE_PARTS = Need(("parsenet",), "enhancer")
GFPGAN = Need(("gfpgan",), "enhancer")

FACE_ALIGN = Uses("FaceChain_FaceAlign", "Face Align", (DAMOFD, ROTATION, RETOUCH, HEAD_MASK, CONFIDENCE))
FIND_FACES = Uses("FaceChain_FindFaces", "Find Faces", (DAMOFD,))
PICK_FACES = Uses("FaceChain_PickFaces", "Pick Faces", (DAMOFD, LIKENESS))
CHECK_PHOTOS = Uses("FaceChain_CheckPhotos", "Check Training Photos", (LIKENESS,))
TAGGER = Uses(
    "FaceChain_Tagger",
    "Caption Crops (Tagger)",
    (DAMOFD, Need(("fairface",), "automatic trigger"), Need(("deepdanbooru",), "append tags")),
)
TRAIN = Uses("FaceChain_TrainFaceLoRA", "Train Face LoRA", (LIKENESS, Need(("face_frombase_c4",), "start from the common face")))
RANK = Uses("FaceChain_RTSRank", "Rank by Likeness (RTS)", (RECOGNITION, DAMOFD, Need(("fqa",), "choose the reference face")))
FUSE_FACE = Uses("FaceChain_FaceFusion", "Fuse Face", (FUSION, ENHANCEMENT, DAMOFD))
INPAINT = Uses(
    "FaceChain_TwoStageInpaint",
    "Put Faces Into a Picture (Two-Stage Inpaint)",
    (PARSING, FUSION, ENHANCEMENT, DAMOFD, LANDMARKS, LIKENESS),
)
TALKING_PORTRAIT = Uses(
    "FaceChain_SadTalker", "Talking Portrait (SadTalker)", (SADTALKER, RETINAFACE, DAMOFD, LANDMARKS, FACE_PARTS), handed=(GFPGAN,)
)
MOTION = Uses("FaceChain_MotionFromAudio", "Motion From Audio", (SADTALKER, RETINAFACE, DAMOFD, LANDMARKS))
RENDER = Uses("FaceChain_RenderMotion", "Render Motion", (SADTALKER, RETINAFACE, DAMOFD, LANDMARKS, FACE_PARTS), handed=(GFPGAN,))

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
