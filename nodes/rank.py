"""Pictures ranked by likeness to a person."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..facechain_impl.errors import BadInput
from ..facechain_impl.identity.ranking import SIZE_RANGE, Filters, Ranker, Reference, open_ranker
from ..facechain_impl.perception.detection import BUILT_IN, DAMOFD
from ..facechain_impl.types import Faces, NoFace, Person, Report
from ..facechain_impl.weights.uses import RANK
from ._api import FaceChainFaces, FaceChainPerson, io
from ._common import flatten_images, no_face_input, optional, report_ui, single
from ._node import FaceChainNode


class RTSRank(FaceChainNode):
    uses = RANK

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/identity",
            description="Sorts pictures by likeness to a reference face, best first.",
            search_aliases=["similarity", "face recognition", "sort", "likeness", "best of"],
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input("images", tooltip="Pictures to rank: a list, a batch or both."),
                io.Combo.Input(
                    "detector", options=[DAMOFD, BUILT_IN], default=BUILT_IN, tooltip="Detector for faces that are not known yet."
                ),
                io.Boolean.Input(
                    "choose_reference",
                    default=True,
                    tooltip="Of several reference pictures, use the one with the best quality (FQA). Off: the first with a face.",
                ),
                io.Boolean.Input("one_face_only", default=True, tooltip="Leave out pictures with more than one face."),
                io.Boolean.Input("check_face_size", default=True, tooltip="Leave out pictures whose face is too small or too large."),
                io.Int.Input(
                    "min_face", default=int(SIZE_RANGE[0]), min=0, max=8192, tooltip="The face's longer side must exceed this, in pixels."
                ),
                io.Int.Input(
                    "max_face",
                    default=int(SIZE_RANGE[1]),
                    min=1,
                    max=8192,
                    tooltip="The face's longer side must stay below this, in pixels.",
                ),
                io.Int.Input("keep_best", default=0, min=0, max=1000, tooltip="How many ranked pictures to output; 0: all."),
                no_face_input(),
                io.Image.Input("reference", optional=True, tooltip="One or more photos of the person."),
                FaceChainPerson.Input("person", optional=True, tooltip="A trained person to compare with."),
                FaceChainFaces.Input("reference_faces", optional=True, tooltip="Faces already found in the reference."),
                FaceChainFaces.Input("faces", optional=True, tooltip="Faces already found in the pictures."),
            ],
            outputs=[
                io.Image.Output("ranked", is_output_list=True, tooltip="The pictures, best first."),
                io.Float.Output("scores", is_output_list=True, tooltip="Likeness of each, at most 1; NaN where there is no face."),
                FaceChainFaces.Output("ranked_faces", tooltip="Their faces with embeddings, in the same order."),
                FaceChainFaces.Output("reference_faces", tooltip="Faces of the reference, with quality and embedding."),
            ],
        )

    @classmethod
    def execute(
        cls, images: Sequence[torch.Tensor], detector: Sequence[str], choose_reference: Sequence[bool], one_face_only: Sequence[bool],
        check_face_size: Sequence[bool], min_face: Sequence[int], max_face: Sequence[int], keep_best: Sequence[int],
        no_face: Sequence[str], reference: Sequence[torch.Tensor] = (), person: Sequence[Person] = (),
        reference_faces: Sequence[Faces] = (), faces: Sequence[Faces] = (),
    ) -> io.NodeOutput:  # fmt: skip
        pictures = flatten_images(images)
        ranker = open_ranker(single(detector), single(choose_reference))
        size = (single(min_face), single(max_face)) if single(check_face_size) else None
        target = _reference(ranker, flatten_images(reference), optional(person), optional(reference_faces))
        filters = Filters(one_face=single(one_face_only), size=size)
        ranking = ranker.rank(pictures, optional(faces), target, filters, NoFace(single(no_face)))
        ranking.keep_best(single(keep_best))
        report = Report("Ranked by likeness", notes=[target.note])
        ranking.fill(report)
        ranked = [pictures[one.index][None] for one in ranking.kept]
        return io.NodeOutput(ranked, ranking.scores(), ranking.faces(), target.faces, ui=report_ui(report))


def _reference(ranker: Ranker, images: list[torch.Tensor], person: Person | None, known: Faces | None) -> Reference:
    if person is not None and images:
        raise BadInput("Likeness needs exactly one reference: connect a picture or a person, not both.")
    return ranker.person(person) if person is not None else ranker.reference(images, known)
