"""What the demo changes in the graphs of the shipped workflows, beside their widgets."""

from __future__ import annotations

from ..workflows import Workflow
from . import material

LARGEST = {
    "order": "Largest first", "first": 1, "count": 1, "min_size": 0, "max_size": 0, "min_likeness": -1.0, "detector": "Built-in",
    "no_face": "Skip",
}  # fmt: skip


def fill_with_faces(workflow: Workflow, share: float, size: int) -> None:
    """Have the training workflow cut its crops, of `size` pixels, out of the photos themselves: the largest face takes this share of their
    side, and beyond a photo its edge goes on, where Face Align's wider crops are white."""
    photos, aligned = workflow.id_of("FaceChain_LoadPhotos"), workflow.id_of("FaceChain_FaceAlign")
    workflow.change("FaceChain_FaceAlign", main_face_ratio=1.0)
    outputs = {"faces": "FACECHAIN_FACES", "bboxes": "BOUNDING_BOX", "count": "INT"}
    largest = workflow.add("FaceChain_PickFaces", "The largest face", outputs, **LARGEST)
    outputs = {"crops": "IMAGE", "faces": "FACECHAIN_FACES", "bboxes": "BOUNDING_BOX"}
    widgets = {"size": size, "face_share": share, "upright": True}
    closer = workflow.add("FaceChain_CropFaces", "Fill the crops with the faces", outputs, **widgets)
    for place in (0, 1):
        workflow.lead((aligned, place), (closer, place))
    workflow.connect(aligned, 1, largest, "faces")
    workflow.connect(photos, 0, closer, "images")
    workflow.connect(largest, 0, closer, "faces")


def give_mask(workflow: Workflow) -> None:
    """The mask of the picture's face in the place of a parsing network's, and no ControlNets.

    It stands for the whole person as well: what is not face keeps its sharpness, which the pocket model's autoencoder would blur."""
    for title in ("Pose ControlNet", "Canny ControlNet"):
        workflow.remove(title)
    painter, file = workflow.id_of("FaceChain_TwoStageInpaint"), material.CANVAS_FACE.name
    loader = workflow.add("LoadImageMask", "The face in the picture", {"MASK": "MASK"}, image=file, channel="red")
    for name in ("face_mask", "human_mask"):
        workflow.connect(loader, 0, painter, name)


def give_first_stage(workflow: Workflow, file: str) -> None:
    """A picture of the person in the place of the one that stage 1 would make."""
    loader = workflow.add("LoadImage", "The person", {"IMAGE": "IMAGE", "MASK": "MASK"}, image=file)
    workflow.connect(loader, 0, workflow.id_of("FaceChain_TwoStageInpaint"), "stage1_images")
