"""FaceChain Studio: pictures that look like somebody, inside ComfyUI."""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "web"


async def comfy_entrypoint() -> ComfyExtension:
    from .facechain_impl.host import compatibility

    compatibility.require()
    from .facechain_impl.host import folders, routes
    from .facechain_impl.identity import listing, persons
    from .facechain_impl.photos import thumbnails
    from .nodes import (  # isort: skip
        align, check, faces, fusion, inpaint, lora, person, photos, portrait, rank, speech, study, tagger, talking, train,
    )  # fmt: skip
    from .nodes._api import ComfyExtension, io

    class FaceChainStudio(ComfyExtension):
        async def on_load(self) -> None:
            folders.register()
            routes.register(routes.PersonActions(listing.summaries, persons.rename, persons.delete), thumbnails.thumbnails)

        async def get_node_list(self) -> list[type[io.ComfyNode]]:
            return [
                align.FaceAlign,
                check.ModelCheck,
                faces.CropFaces,
                faces.FindFaces,
                faces.PickFaces,
                faces.StitchFaces,
                fusion.FaceFusion,
                inpaint.TwoStageInpaint,
                lora.LoRAEntry,
                lora.LoRAMerge,
                person.LoadPerson,
                person.SavePerson,
                photos.LoadPhotos,
                portrait.PortraitPrompt,
                rank.RTSRank,
                *speech.NODES,
                study.CheckPhotos,
                tagger.Tagger,
                talking.EditMotion,
                talking.MotionFromAudio,
                talking.RenderMotion,
                talking.SadTalkerNode,
                train.TrainFaceLoRA,
            ]

    return FaceChainStudio()
