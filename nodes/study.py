"""Checking photos before training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..facechain_impl import picture_names
from ..facechain_impl.errors import BadInput
from ..facechain_impl.perception.faces import known_names
from ..facechain_impl.photos import choose, suggestions
from ..facechain_impl.photos import study as photo_study
from ..facechain_impl.photos.choose import LeaveOut
from ..facechain_impl.types import Faces, Report
from ..facechain_impl.weights.uses import CHECK_PHOTOS
from ._api import FaceChainFaces, io, ui
from ._common import flatten_images, optional, report_ui, single
from ._node import FaceChainNode

REPORT = 0  # the place of that output


class CheckPhotos(FaceChainNode):
    """Whether a set of photos is good enough to train on; those that are not stay behind."""

    uses = CHECK_PHOTOS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/identity",
            description="Checks each photo for sharpness, face size, other people and identity, and passes on the good ones.",
            search_aliases=["data set", "quality", "blur", "duplicates", "filter photos", "remove bad photos"],
            is_input_list=True,
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.unique_id],
            inputs=[
                io.Image.Input("images", tooltip="The photos, ideally the crops of Face Align."),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces found by Face Align, so that they are not detected again."),
                io.String.Input("names", optional=True, force_input=True, tooltip="Names of the photos, for the report."),
                io.Combo.Input(
                    "leave_out", options=[rule.value for rule in LeaveOut], default=LeaveOut.BAD.value, optional=True,
                    tooltip="What the outputs leave out. Bad photos: no face, another person, a blurred face, or a second copy. All with a "
                    "remark: also small or turned faces and photos with more people. The report names each.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="The report as text."),
                io.Image.Output(display_name="images", is_output_list=True, tooltip="The photos that are not left out, unchanged."),
                FaceChainFaces.Output(display_name="faces", tooltip="The faces in those photos."),
                io.String.Output(display_name="names", is_output_list=True, tooltip="The names of those photos."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], faces: Sequence[Faces] | None = None, names: Sequence[str] | None = None,
        leave_out: Sequence[str] = (LeaveOut.BAD.value,),
    ) -> io.NodeOutput:  # fmt: skip
        photos, known = flatten_images(images), optional(faces)
        if not photos:
            raise BadInput("No photo arrived. Connect the crops of Face Align.")
        called = picture_names.given(names, photos) if names else known_names(photos, known, "photo")
        found = photo_study.study(photos, known)
        rule = LeaveOut(single(leave_out))
        kept = choose.chosen(found, rule)
        if cls._is_followed():
            choose.check_some_are_left(kept, found, called)
        report = _report(found, called, kept, rule)
        report.notes += suggestions.suggestions(photos, found, None if known is None else {one.name for one in known.used})
        good = [called[index] for index in kept]
        outputs = report.text(), [photos[index][None] for index in kept], choose.faces_of(found, known, kept), good
        return io.NodeOutput(*outputs, ui=report_ui(report) | ui.PreviewImage(_thumbnails(photos), cls=cls).as_dict())

    @classmethod
    def _is_followed(cls) -> bool:
        """Whether a node takes photos from this one, which otherwise only reports."""
        prompt = cls.hidden.prompt or {}
        links = [value for node in prompt.values() for value in node["inputs"].values() if isinstance(value, list) and len(value) == 2]
        return any(source == cls.hidden.unique_id and output != REPORT for source, output in links)


def _report(found: photo_study.Study, names: list[str], kept: list[int], rule: LeaveOut) -> Report:
    report = Report("Training photos")
    left_out = set(range(len(names))) - set(kept)
    if left_out:
        listed = ", ".join(names[index] for index in sorted(left_out))
        report.notes.append(f"Not in the outputs images, faces and names: {listed} (leave_out is {rule.value}).")
    photo_study.fill(report, found, names, left_out)
    return report


def _thumbnails(photos: list[torch.Tensor], side: int = 160) -> torch.Tensor:
    """Photos [H, W, 3] of any size as one batch [N, side, side, 3]."""
    batch = [F.adaptive_avg_pool2d(photo.permute(2, 0, 1).float(), side) for photo in photos]  # [H,W,C] -> [C,H,W]
    return torch.stack(batch).permute(0, 2, 3, 1)
