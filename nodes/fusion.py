"""Face fusion: the identity of one face on the faces of pictures."""

from __future__ import annotations

import torch

from ..facechain_impl.errors import BadInput
from ..facechain_impl.host.memory import to_output
from ..facechain_impl.perception.detection import BUILT_IN, DAMOFD
from ..facechain_impl.portrait.fusion.pictures import FusionChoice, FusionInputs, FusionSettings, Which, fuse_pictures
from ..facechain_impl.types import Faces, NoFace, Person, Report
from ..facechain_impl.weights.uses import FUSE_FACE
from ._api import FaceChainFaces, FaceChainPerson, io
from ._common import flatten_images, no_face_input, report_ui
from ._node import FaceChainNode


class FaceFusion(FaceChainNode):
    uses = FUSE_FACE

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/portrait",
            description="Gives faces in a picture another identity and keeps their pose, expression and lighting.",
            search_aliases=["face swap", "swap face", "replace face", "likeness"],
            inputs=[
                io.Image.Input("image", tooltip="The pictures whose faces are replaced."),
                io.Combo.Input(
                    "which",
                    options=[which.value for which in Which],
                    default=Which.LARGEST.value,
                    tooltip="Which faces of a picture are replaced.",
                ),
                io.Int.Input("face_number", default=1, min=1, max=100, tooltip="With 'Chosen face': counted from 1, left to right."),
                io.Boolean.Input("enhance", default=True, tooltip="Sharpen the new face at 1024 pixels (GPEN). Slow on a CPU."),
                io.Int.Input("mask_edge", default=16, min=0, max=1024, tooltip="Pixels over which the mask fades, inwards from its edge."),
                io.Combo.Input(
                    "detector",
                    options=[DAMOFD, BUILT_IN],
                    default=DAMOFD,
                    tooltip="Detector for faces that are not known yet. Built-in needs no download, but estimates nose and mouth.",
                ),
                no_face_input(),
                io.Image.Input("face_image", optional=True, tooltip="The new face: one picture for all, or one per picture."),
                FaceChainPerson.Input("person", optional=True, tooltip="A trained person, instead of face_image."),
                io.Mask.Input("mask", optional=True, tooltip="Where the picture may change. Pixels outside stay exactly as they are."),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces already found in the pictures."),
                FaceChainFaces.Input("user_faces", optional=True, tooltip="Faces already found in face_image."),
            ],
            outputs=[io.Image.Output("image", tooltip="The pictures with their new faces.")],
        )

    @classmethod
    def execute(
        cls, image: torch.Tensor, which: str, face_number: int, enhance: bool, mask_edge: int, detector: str, no_face: str,
        face_image: torch.Tensor | None = None, person: Person | None = None, mask: torch.Tensor | None = None,
        faces: Faces | None = None, user_faces: Faces | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        sources = _source_pictures(face_image, person)
        inputs = FusionInputs(pictures=flatten_images([image]), sources=sources, mask=mask, faces=faces, source_faces=user_faces)
        choice = FusionChoice(Which(which), face_number)
        settings = FusionSettings(detector=detector, choice=choice, enhance=enhance, edge=mask_edge, no_face=NoFace(no_face))
        report = Report("Face fusion")
        pictures = fuse_pictures(inputs, settings, report)
        return io.NodeOutput(to_output(torch.stack(pictures)), ui=report_ui(report))


def _source_pictures(face_image: torch.Tensor | None, person: Person | None) -> list[torch.Tensor]:
    if face_image is not None and person is None:
        return flatten_images([face_image])
    if person is None or face_image is not None:
        found = "Neither face_image nor person is" if person is None else "Both face_image and person are"
        raise BadInput(f"{found} connected. Connect one of them: the face to put into the picture.")
    if person.photo is None:
        raise BadInput(f"{person.name} was saved without a photograph of the face. Connect a picture to face_image instead.")
    return [person.photo]
