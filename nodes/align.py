"""From photographs to aligned crops."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..facechain_impl import picture_names
from ..facechain_impl.geometry.crop import CROP_SIZE
from ..facechain_impl.host import protocols
from ..facechain_impl.perception.detection import BUILT_IN, CHOICES, MEDIAPIPE, choose_detector
from ..facechain_impl.photos.prepare import MIN_CONFIDENCE, Preparation, Stages, fill, open_networks
from ..facechain_impl.types import Faces, NoFace, Report
from ..facechain_impl.weights.uses import FACE_ALIGN
from ._api import FaceChainFaces, FaceLandmarks, io
from ._common import flatten_images, no_face_input, optional, report_ui, single
from ._node import FaceChainNode


class FaceAlign(FaceChainNode):
    uses = FACE_ALIGN

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/photos",
            description="Crops the main face of each photo, upright and framed as in FaceChain's training.",
            search_aliases=["face crop", "align", "training crops", "prepare photos", "DamoFD", "head mask"],
            is_input_list=True,
            inputs=[
                io.Image.Input("images", tooltip="Photos of one person: a list, a batch or both, of any sizes."),
                io.Combo.Input(
                    "detector", options=list(CHOICES), default=BUILT_IN,
                    tooltip="Face detector. Built-in needs no download; DamoFD is FaceChain's and finds more faces; "
                    "MediaPipe landmarks uses ComfyUI's node Detect Face Landmarks.",
                ),
                io.Boolean.Input("rotate_photo", default=False, tooltip="Turn sideways or upside-down photos first (needs rot_bgr)."),
                io.Boolean.Input("retouch", default=False, tooltip="Smooth the skin in the crops (needs the ABPN and RetinaFace files)."),
                io.Boolean.Input("white_background", default=False, tooltip="Keep only the head, on a white background (needs M2FP)."),
                io.Boolean.Input(
                    "confidence_filter", default=False, tooltip="Leave out crops whose face is covered or unclear (needs FLCM)."
                ),
                io.Float.Input(
                    "min_confidence", default=MIN_CONFIDENCE, min=0.0, max=1.0, step=0.005,
                    tooltip="Crops with a lower confidence are left out. FaceChain uses 0.855.",
                ),
                io.Float.Input(
                    "main_face_ratio", default=4.0, min=1.0, max=100.0, step=0.5,
                    tooltip="Of several faces, use the largest only if its area is this many times that of the next; 1: always.",
                ),
                no_face_input(),
                io.String.Input("names", optional=True, force_input=True, tooltip="Names of the photos, for the report."),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces already found in these photos."),
                FaceLandmarks.Input("landmarks", optional=True, tooltip="Output of Detect Face Landmarks (MediaPipe) for these photos."),
                io.Int.Input(
                    "size", default=CROP_SIZE, min=0, max=2048, step=64, optional=True,
                    tooltip="Side of the crops in pixels. 512 as in FaceChain; 0: as large as the photos show the face, 512 to 1536, which "
                    "models of 1024 pixels (SDXL and newer) need to learn sharp faces.",
                ),
            ],
            outputs=[
                io.Image.Output("crops", tooltip="One batch of square crops."),
                FaceChainFaces.Output("faces", tooltip="The faces in the photos and in the crops."),
                io.String.Output("report", tooltip="What was done with each photo."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], detector: Sequence[str], rotate_photo: Sequence[bool], retouch: Sequence[bool],
        white_background: Sequence[bool], confidence_filter: Sequence[bool], min_confidence: Sequence[float],
        main_face_ratio: Sequence[float], no_face: Sequence[str], names: Sequence[str] = (), faces: Sequence[Faces] = (),
        landmarks: Sequence[protocols.FaceLandmarks] = (), size: Sequence[int] = (CROP_SIZE,),
    ) -> io.NodeOutput:  # fmt: skip
        stages = Stages(
            rotation=single(rotate_photo), retouch=single(retouch), white=single(white_background),
            confidence=single(confidence_filter), min_confidence=single(min_confidence), main_face=single(main_face_ratio),
            size=single(size),
        )  # fmt: skip
        policy = NoFace(single(no_face))
        pictures = flatten_images(images)
        chosen = choose_detector(single(detector), list(landmarks), pictures)
        preparation = Preparation(chosen, stages, open_networks(stages))
        prepared = preparation.run(pictures, picture_names.given(names, pictures), optional(faces), policy)
        report = Report(f"{len(prepared.crops)} of {len(pictures)} photos aligned")
        fill(report, prepared, policy)
        if landmarks and single(detector) != MEDIAPIPE:
            report.notes.append(f"The landmarks were not used: the detector is set to {single(detector)}.")
        return io.NodeOutput(torch.stack(prepared.crops), prepared.faces, report.text(), ui=report_ui(report))
