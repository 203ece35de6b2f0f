"""Find, pick, crop and stitch the faces of pictures with any number of people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..facechain_impl import picture_names
from ..facechain_impl.errors import BadInput, FaceNotFound
from ..facechain_impl.geometry.pixels import check_all
from ..facechain_impl.host import protocols
from ..facechain_impl.identity.ranking import Ranker, open_ranker
from ..facechain_impl.perception.detection import BUILT_IN, CHOICES, DAMOFD, choose_detector
from ..facechain_impl.perception.faces import find_faces
from ..facechain_impl.photos import crop_and_stitch as cutting
from ..facechain_impl.photos import pick as picking
from ..facechain_impl.types import Faces, NoFace, Person, Report, Status
from ..facechain_impl.weights.uses import FIND_FACES, PICK_FACES
from ._api import FaceChainFaces, FaceChainPerson, FaceLandmarks, io
from ._common import flatten_images, no_face_input, optional, report_ui, single
from ._node import FaceChainNode

FACES_TIP = "Faces from Find Faces, Pick Faces or Face Align."


class FindFaces(FaceChainNode):
    uses = FIND_FACES

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/faces",
            description="Finds every face in every picture, once for all nodes that follow.",
            search_aliases=["face detection", "detect faces", "bounding box", "DamoFD", "people"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures with any number of people: a list, a batch or both, of any sizes."),
                io.Combo.Input(
                    "detector", options=list(CHOICES), default=BUILT_IN,
                    tooltip="Built-in needs no download; DamoFD finds more faces; MediaPipe landmarks uses Detect Face Landmarks.",
                ),
                no_face_input(),
                io.String.Input("names", optional=True, force_input=True, tooltip="Names of the pictures, for reports."),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces already found; only the other pictures are searched."),
                FaceLandmarks.Input("landmarks", optional=True, tooltip="Output of Detect Face Landmarks (MediaPipe) for these pictures."),
            ],
            outputs=[
                FaceChainFaces.Output("faces", tooltip="The faces of each picture, highest score first."),
                io.BoundingBox.Output("bboxes", tooltip="Their boxes, for ComfyUI's nodes."),
                io.Int.Output("count", tooltip="Total number of faces."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], detector: Sequence[str], no_face: Sequence[str], names: Sequence[str] = (),
        faces: Sequence[Faces] = (), landmarks: Sequence[protocols.FaceLandmarks] = (),
    ) -> io.NodeOutput:  # fmt: skip
        pictures = flatten_images(images)
        known = picture_names.given(names, pictures)
        check_all(pictures, known)
        found = find_faces(pictures, choose_detector(single(detector), list(landmarks), pictures), optional(faces), known)
        report = Report("Faces found")
        for picture in found.pictures:
            report.add(picture.name, Status.FOUND if picture.faces else Status.NO_FACE, faces=len(picture.faces))
        bare = [picture.name for picture in found.pictures if not picture.faces]
        if bare and single(no_face) == NoFace.STOP.value:
            raise FaceNotFound(f"No face was found in: {', '.join(bare)}. Try another detector, or set no_face to Skip.")
        count = sum(len(picture.faces) for picture in found.pictures)
        return io.NodeOutput(found, cutting.boxes_of(found), count, ui=report_ui(report))


class PickFaces(FaceChainNode):
    uses = PICK_FACES

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/faces",
            description="Keeps some of the faces of each picture, by position, size or likeness to a person.",
            search_aliases=["select face", "choose person", "filter faces", "face index", "similarity"],
            is_input_list=True,
            inputs=[
                FaceChainFaces.Input("faces", tooltip=FACES_TIP),
                io.Combo.Input(
                    "order", options=[*picking.ORDERS, picking.LIKE], default=picking.LEFT,
                    tooltip="Order in which the faces of a picture are counted.",
                ),
                io.Int.Input("first", default=1, min=1, max=1000, tooltip="The first face to keep, in that order."),
                io.Int.Input("count", default=1, min=0, max=1000, tooltip="How many to keep from there on; 0: all."),
                io.Int.Input("min_size", default=0, min=0, max=16384, tooltip="Smallest face to keep: longer side in pixels."),
                io.Int.Input("max_size", default=0, min=0, max=16384, tooltip="Largest face to keep: longer side in pixels; 0: no limit."),
                io.Float.Input(
                    "min_likeness", default=-1.0, min=-1.0, max=1.0, step=0.01,
                    tooltip="Leave out faces whose likeness to the reference is lower (needs RTS); -1: no comparison.",
                ),
                io.Combo.Input("detector", options=[BUILT_IN, DAMOFD], default=BUILT_IN, tooltip="Face detector for the reference."),
                no_face_input(),
                io.Image.Input("images", optional=True, tooltip="The pictures, needed only for likeness."),
                io.Image.Input("reference", optional=True, tooltip="A picture of the person to look for."),
                FaceChainPerson.Input("person", optional=True, tooltip="A trained person to look for."),
            ],
            outputs=[
                FaceChainFaces.Output("faces", tooltip="The faces kept, in the chosen order."),
                io.BoundingBox.Output("bboxes", tooltip="Their boxes, for ComfyUI's nodes."),
                io.Int.Output("count", tooltip="Total number of faces kept."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, faces: Sequence[Faces], order: Sequence[str], first: Sequence[int], count: Sequence[int], min_size: Sequence[int],
        max_size: Sequence[int], min_likeness: Sequence[float], detector: Sequence[str], no_face: Sequence[str],
        images: Sequence[torch.Tensor] = (), reference: Sequence[torch.Tensor] = (), person: Sequence[Person] = (),
    ) -> io.NodeOutput:  # fmt: skip
        rule = picking.PickRule(
            order=single(order), first=single(first), count=single(count), min_size=single(min_size), max_size=single(max_size),
            min_likeness=single(min_likeness),
        )  # fmt: skip
        known, target = single(faces), None
        report = Report("Faces picked")
        if rule.needs_reference:
            ranker = open_ranker(single(detector), by_quality=False)
            target = _target(ranker, flatten_images(reference), optional(person))
            known = picking.embedded(known, flatten_images(images), ranker.recognition)
        picked = picking.pick(known, rule, target, NoFace(single(no_face)), report)
        kept = sum(len(picture.faces) for picture in picked.pictures)
        return io.NodeOutput(picked, cutting.boxes_of(picked), kept, ui=report_ui(report))


def _target(ranker: Ranker, images: list[torch.Tensor], person: Person | None) -> np.ndarray:
    """The embedding of the reference picture or person."""
    if images and person is None:
        return ranker.reference(images, None).vector
    if person is None or images:
        raise BadInput("Likeness needs exactly one reference: connect a picture or a person, not both.")
    return ranker.person(person).vector


class CropFaces(FaceChainNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_CropFaces",
            display_name="Crop Faces",
            category="FaceChain/faces",
            description="Crops every face into one batch, to edit with any nodes and put back with Stitch Faces.",
            search_aliases=["face crop", "detailer", "crop and stitch", "inpaint face"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures in which the faces were found."),
                FaceChainFaces.Input("faces", tooltip=FACES_TIP),
                io.Int.Input("size", default=512, min=64, max=2048, step=8, tooltip="Side of each crop in pixels."),
                io.Float.Input(
                    "face_share", default=cutting.FACE_SHARE, min=0.1, max=1.0, step=0.01,
                    tooltip="Longer side of the face as a share of the crop's side. FaceChain's inpainting uses 0.45.",
                ),
                io.Boolean.Input("upright", default=False, tooltip="Rotate every face upright; Stitch Faces rotates it back."),
            ],
            outputs=[
                io.Image.Output("crops", tooltip="One batch, first picture first. Beyond a picture, its edge pixels are repeated."),
                FaceChainFaces.Output("faces", tooltip="The faces and how they were cropped, for Stitch Faces."),
                io.BoundingBox.Output("bboxes", tooltip="The boxes of the faces in the pictures."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], faces: Sequence[Faces], size: Sequence[int], face_share: Sequence[float],
        upright: Sequence[bool],
    ) -> io.NodeOutput:  # fmt: skip
        pictures = flatten_images(images)
        crops, cut = cutting.cut_faces(pictures, single(faces), single(size), single(face_share), single(upright))
        report = Report(f"{len(crops)} faces cropped from {len(pictures)} pictures")
        for picture in cut.pictures:
            report.add(picture.name, Status.CUT, faces=len(picture.faces))
        return io.NodeOutput(torch.stack(crops), cut, cutting.boxes_of(cut), ui=report_ui(report))


class StitchFaces(FaceChainNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_StitchFaces",
            display_name="Stitch Faces",
            category="FaceChain/faces",
            description="Puts all edited crops back at once. Pixels outside all crops stay exactly as they were.",
            search_aliases=["paste face", "detailer", "crop and stitch", "uncrop", "put back"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="The pictures that are connected to Crop Faces."),
                io.Image.Input("crops", tooltip="The edited crops, one per face, in the same order. Their size may differ."),
                FaceChainFaces.Input("faces", tooltip="The faces output of Crop Faces."),
                io.Float.Input(
                    "feather", default=0.15, min=0.0, max=0.5, step=0.01, tooltip="Width of the soft edge, as a share of the crop's side."
                ),
                io.Mask.Input("masks", optional=True, tooltip="Where the crops may change the picture: one for all, or one per crop."),
            ],
            outputs=[io.Image.Output("images", is_output_list=True, tooltip="The pictures with the edited faces, in the same order.")],
        )

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], crops: Sequence[torch.Tensor], faces: Sequence[Faces], feather: Sequence[float],
        masks: Sequence[torch.Tensor] = (),
    ) -> io.NodeOutput:  # fmt: skip
        report = Report("Faces put back")
        limits = [mask for batch in masks for mask in batch]
        results = cutting.put_back(flatten_images(images), flatten_images(crops), single(faces), limits, single(feather), report)
        if not results:
            raise BadInput("No picture arrived. Connect the pictures that are connected to Crop Faces.")
        return io.NodeOutput([result[None] for result in results], ui=report_ui(report))
