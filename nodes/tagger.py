"""Captions for the training pictures of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import torch

from ..facechain_impl.identity.captions import AGE_TABLES, ALL_TRIGGERS, TOKEN
from ..facechain_impl.identity.edits import Line, parsed
from ..facechain_impl.identity.tagger import AUTOMATIC, OWN_WORDS, CaptionSettings, caption_pictures
from ..facechain_impl.perception.detection import BUILT_IN, DAMOFD
from ..facechain_impl.photos.thumbnails import inline
from ..facechain_impl.types import Faces, NoFace
from ..facechain_impl.weights.uses import TAGGER
from ._api import FaceChainFaces, io
from ._common import flatten_images, no_face_input, optional, report_ui, single
from ._node import FaceChainNode


class Tagger(FaceChainNode):
    uses = TAGGER

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/identity",
            description="Writes a caption for each training picture: the token, the trigger of the person, and tags.",
            search_aliases=["caption", "trigger", "tags", "FairFace", "DeepDanbooru", "age", "gender"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="The crops of one person, one caption each."),
                io.Combo.Input(
                    "trigger", options=[OWN_WORDS, AUTOMATIC, *ALL_TRIGGERS], default=OWN_WORDS,
                    tooltip="Words for the person in captions and prompts. Automatic estimates age and gender over the set (FairFace).",
                ),
                io.String.Input("own_words", default="a person", tooltip="The trigger when trigger is set to own words."),
                io.String.Input("token", default=TOKEN, tooltip="First word of every caption; FaceChain's is <fcsks>."),
                io.String.Input(
                    "extra_tags", default="", multiline=True,
                    tooltip="Tags to add after the trigger, separated by commas: one line for all pictures, or one line for each.",
                ),
                io.Boolean.Input("append_tags", default=False, tooltip="Add DeepDanbooru's tags, except those that describe the person."),
                io.Float.Input("tag_threshold", default=0.5, min=0.0, max=1.0, step=0.05, tooltip="Lowest DeepDanbooru score of a tag."),
                io.Combo.Input(
                    "age_table", options=list(AGE_TABLES), tooltip="Age limits of child, adult and mature for automatic.", advanced=True
                ),
                io.Combo.Input(
                    "detector", options=[BUILT_IN, DAMOFD], default=BUILT_IN,
                    tooltip="Detector for automatic, for faces that are not known yet.",
                ),
                no_face_input(),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces found by Face Align, so that they are not detected again."),
                io.String.Input(
                    "captions", optional=True, force_input=True,
                    tooltip="A description of each picture in sentences, for example from Generate Text. It follows the trigger instead of "
                    "DeepDanbooru's tags.",
                ),
                io.String.Input(
                    "edits", default="", multiline=True, optional=True, advanced=True,
                    tooltip="Captions that you changed below, one per line: key of the picture, colon, caption. Used instead of the "
                    "automatic caption of that picture only.",
                ),
            ],
            outputs=[
                io.String.Output("captions", is_output_list=True, tooltip="One caption for each picture."),
                io.String.Output("trigger", tooltip="Token and trigger, for prompts."),
                io.String.Output("common_tags", tooltip="Tags about hair, face or smile that more than half of the captions share."),
                FaceChainFaces.Output("faces", tooltip="The faces, with age and gender where automatic estimated them."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], trigger: Sequence[str], own_words: Sequence[str], token: Sequence[str],
        extra_tags: Sequence[str], append_tags: Sequence[bool], tag_threshold: Sequence[float], age_table: Sequence[str],
        detector: Sequence[str], no_face: Sequence[str], faces: Sequence[Faces] = (),
        captions: Sequence[str] | None = None, edits: Sequence[str] = (),
    ) -> io.NodeOutput:  # fmt: skip
        settings = CaptionSettings(
            trigger=single(trigger),
            own_words=single(own_words),
            token=single(token),
            extra_tags=single(extra_tags),
            tag_threshold=single(tag_threshold) if single(append_tags) else None,
            ages=AGE_TABLES[single(age_table)],
            detector=single(detector),
            no_face=NoFace(single(no_face)),
            sentences=captions,
            edits=parsed(optional(edits) or ""),
        )
        pictures = flatten_images(images)
        found = caption_pictures(pictures, settings, optional(faces))
        shown = report_ui(found.report) | {"captions": _grid(found.lines, pictures)}
        return io.NodeOutput(found.texts, found.trigger, found.common, found.faces, ui=shown)


def _grid(lines: list[Line], pictures: list[torch.Tensor]) -> list[dict[str, str]]:
    """What the editor draws to edit captions, and where programs find the key of each picture."""
    return [asdict(line) | {"picture": inline(picture)} for line, picture in zip(lines, pictures)]
