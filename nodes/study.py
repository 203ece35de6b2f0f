"""Checking photos before training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..facechain_impl import picture_names
from ..facechain_impl.errors import BadInput
from ..facechain_impl.photos import study as photo_study
from ..facechain_impl.types import Faces, Report
from ..facechain_impl.weights.uses import CHECK_PHOTOS
from ._api import FaceChainFaces, io, ui
from ._common import flatten_images, optional, report_ui
from ._node import FaceChainNode


class CheckPhotos(FaceChainNode):
    """Whether a set of photos is good enough to train on."""

    uses = CHECK_PHOTOS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/identity",
            description="Checks each photo for sharpness, face size, other people and identity, and whether the set is good enough.",
            search_aliases=["data set", "quality", "blur", "duplicates"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The photos, ideally the crops of Face Align."),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces found by Face Align, so that they are not detected again."),
                io.String.Input("names", optional=True, force_input=True, tooltip="Names of the photos, for the report."),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="The report as text.")],
        )

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], faces: Sequence[Faces] | None = None, names: Sequence[str] | None = None
    ) -> io.NodeOutput:
        photos = flatten_images(images)
        if not photos:
            raise BadInput("No photo arrived. Connect the crops of Face Align.")
        known = picture_names.given(names or (), photos, "photo")
        report = Report("Training photos")
        photo_study.fill(report, photo_study.study(photos, optional(faces)), known)
        return io.NodeOutput(report.text(), ui=report_ui(report) | ui.PreviewImage(_thumbnails(photos), cls=cls).as_dict())


def _thumbnails(photos: list[torch.Tensor], side: int = 160) -> torch.Tensor:
    """Photos [H, W, 3] of any size as one batch [N, side, side, 3]."""
    batch = [F.adaptive_avg_pool2d(photo.permute(2, 0, 1).float(), side) for photo in photos]  # [H,W,C] -> [C,H,W]
    return torch.stack(batch).permute(0, 2, 3, 1)
