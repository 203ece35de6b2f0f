"""What the demo changes in the graphs of the shipped workflows, beside their widgets."""

from __future__ import annotations

from ..workflows import Workflow
from . import material


def fill_with_faces(workflow: Workflow, share: float, size: int) -> None:
    """Cut the crops of the training workflow closer, so that the face takes this share of their side."""
    checked, widgets = workflow.id_of("FaceChain_CheckPhotos"), {"size": size, "face_share": share, "upright": False}
    outputs = {"crops": "IMAGE", "faces": "FACECHAIN_FACES", "bboxes": "BOUNDING_BOX"}
    closer = workflow.add("FaceChain_CropFaces", "Fill the crops with the faces", outputs, **widgets)
    for place, name in enumerate(("images", "faces")):
        source = (checked, place + 1)
        workflow.lead(source, (closer, place))
        workflow.connect(*source, closer, name)


def give_mask(workflow: Workflow) -> None:
    """The mask of the picture's face in the place of a parsing network's, and no ControlNets.

    It stands for the whole person as well: what is not face keeps its sharpness, which the pocket model's autoencoder would blur."""
    for title in ("Pose ControlNet", "Canny ControlNet"):
        workflow.remove(title)
    painter, file = workflow.id_of("FaceChain_TwoStageInpaint"), material.LADY_FACE.name
    loader = workflow.add("LoadImageMask", "The face in the picture", {"MASK": "MASK"}, image=file, channel="red")
    for name in ("face_mask", "human_mask"):
        workflow.connect(loader, 0, painter, name)


def give_first_stage(workflow: Workflow, file: str) -> None:
    """A picture of the person in the place of the one that stage 1 would make."""
    loader = workflow.add("LoadImage", "The person", {"IMAGE": "IMAGE", "MASK": "MASK"}, image=file)
    workflow.connect(loader, 0, workflow.id_of("FaceChain_TwoStageInpaint"), "stage1_images")
