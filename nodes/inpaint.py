"""Trained persons painted into pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..facechain_impl import picture_names
from ..facechain_impl.host.memory import to_output
from ..facechain_impl.host.sampling import DEFAULT_SAMPLER, DEFAULT_SCHEDULER, SAMPLERS, SCHEDULERS, Diffusion, SamplingSettings
from ..facechain_impl.portrait import prompts
from ..facechain_impl.portrait.inpaint.group import FaceAssignment, GroupInpaint, PromptText, Subjects
from ..facechain_impl.portrait.inpaint.inputs import DETECTORS, InpaintInputs, OpenedModels, find_known, open_detector_only, open_models
from ..facechain_impl.portrait.inpaint.two_stage import Nets, Settings
from ..facechain_impl.portrait.people import AUTO_FACES, Assign
from ..facechain_impl.types import NoFace, Person
from ..facechain_impl.weights.uses import INPAINT
from ._api import FaceChainFaces, FaceChainPerson, FaceDetectionModel, PoseKeypoint, io
from ._common import flatten_images, no_face_input, optional, report_ui
from ._node import FaceChainNode

MAX_PERSONS = 100


class TwoStageInpaint(FaceChainNode):
    """FaceChain's inpainting for any number of persons."""

    uses = INPAINT

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/portrait",
            description="Paints trained persons over the faces of a picture. Everything outside the faces' surroundings stays as it is.",
            search_aliases=["inpaint", "face swap", "group portrait", "template portrait", "facechain"],
            is_input_list=True,
            inputs=[*_models(), *_who(), *_how(), *_fine_tuning(), *_knowledge()],
            outputs=[
                io.Image.Output("images", is_output_list=True, tooltip="The finished pictures, as a list."),
                io.String.Output("report", tooltip="What happened to every face, as text."),
            ],
        )

    @classmethod
    def execute(cls, persons: dict[str, Sequence[Person] | None] | None = None, **lists: Sequence) -> io.NodeOutput:
        values: dict[str, Any] = {name: optional(entries) for name, entries in lists.items()}
        people = [person for entries in (persons or {}).values() for person in entries or ()]
        inputs = _inputs(lists, values)
        choice = FaceAssignment(how=Assign(values["assign"]), entries=values["assign_list"], which=values["which_faces"])
        opened = _open(values, inputs, idle=choice.nobody or values["strength"] == 0)
        faces = find_known(inputs, people, choice.how, opened)
        photo = next(iter(flatten_images(lists.get("face_image") or [])), None)
        inpaint = GroupInpaint(
            base=Diffusion(values["model"], values["clip"], values["vae"]),
            nets=Nets(values.get("pose_control_net"), values.get("canny_control_net")),
            analyzer=opened.analyzer,
            subjects=Subjects(persons=people, strength=values["person_strength"], photo=photo, fusion=opened.fusion),
            words=_prompt(values),
            settings=_settings(values),
            schedule=_sampling(values),
        )
        inpaint.report.notes += opened.notes
        finished = inpaint.run_all(inputs.target_pictures(faces), choice, values["seed"], values["variants"], NoFace(values["no_face"]))
        return io.NodeOutput([to_output(image[None]) for image in finished], inpaint.report.text(), ui=report_ui(inpaint.report))


def _models() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model without any person's LoRA; with the person's LoRA if no persons are connected."),
        io.Clip.Input("clip", tooltip="The model's text encoder."),
        io.Vae.Input("vae", tooltip="The model's VAE."),
        io.ControlNet.Input(
            "pose_control_net", optional=True, tooltip="An OpenPose ControlNet for this kind of model; holds the pose of the face."
        ),
        io.ControlNet.Input(
            "canny_control_net", optional=True, tooltip="A Canny ControlNet for this kind of model; holds what surrounds the face."
        ),
        io.Image.Input("image", tooltip="The pictures to put faces into, processed one by one."),
    ]


def _who() -> list[io.Input]:
    slots = io.Autogrow.TemplatePrefix(
        FaceChainPerson.Input("person", tooltip="A trained person, or a list of them."), prefix="person", min=0, max=MAX_PERSONS
    )
    return [
        io.Autogrow.Input("persons", template=slots, tooltip="The persons to put in. Empty: the person whose LoRA is on the model."),
        io.Combo.Input(
            "assign",
            options=[way.value for way in Assign],
            default=Assign.AUTO.value,
            tooltip="Which face each person gets: by likeness to the existing faces, from left to right, or by your list.",
        ),
        io.String.Input(
            "assign_list",
            default="",
            tooltip="For 'List': one entry per face from left to right; a person's name or number, 0 for nobody.",
        ),
        io.String.Input(
            "which_faces",
            default=AUTO_FACES,
            tooltip="Faces that may change: auto (all if persons are connected, else the largest), all, none, or numbers: 1, 3.",
        ),
        io.Combo.Input("detector", options=list(DETECTORS), default=DETECTORS[0], tooltip="Detector for faces that are not known yet."),
        no_face_input(),
    ]


def _how() -> list[io.Input]:
    return [
        io.String.Input(
            "prompt", default=prompts.SCENE_INPAINT, multiline=True, tooltip="The scene. The person's trigger is added for you."
        ),
        io.String.Input("negative", default=prompts.NEGATIVE_INPAINT, multiline=True, tooltip="What to avoid."),
        io.String.Input("ethnicity", default="", tooltip="Words for the person's ethnicity, if you want any."),
        io.String.Input("trigger", default="", tooltip="Trigger of the person on the model, if no persons are connected."),
        io.Int.Input(
            "seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip="The same seed gives the same picture."
        ),
        io.Int.Input("variants", default=1, min=1, max=64, tooltip="How many versions of each picture, with consecutive seeds."),
        io.Int.Input("steps", default=40, min=1, max=1000, tooltip="Steps of the full schedule; strength sets how many of them run."),
        io.Float.Input("cfg", default=7.0, min=0.0, max=100.0, step=0.1, tooltip="How closely the prompt is followed."),
        io.Combo.Input("sampler_name", options=SAMPLERS, default=DEFAULT_SAMPLER, tooltip="The sampler of all stages."),
        io.Combo.Input("scheduler", options=SCHEDULERS, default=DEFAULT_SCHEDULER, tooltip="The noise schedule of all stages."),
        io.Float.Input("strength", default=0.65, min=0.0, max=1.0, step=0.01, tooltip="Denoising strength on the face; 0 changes nothing."),
        io.Float.Input("person_strength", default=0.95, min=0.0, max=2.0, step=0.01, tooltip="Strength of every person's LoRA."),
        io.Boolean.Input("refine", default=True, tooltip="A light third pass over the details."),
        io.Boolean.Input("fusion", default=True, tooltip="Fuse the person's face into the painted ones (needs the face fusion files)."),
    ]


def _fine_tuning() -> list[io.Input]:
    preset = Settings()
    return [
        io.Boolean.Input("enhance", default=preset.enhance, advanced=True, tooltip="Sharpen the fused faces (GPEN)."),
        io.Boolean.Input("include_neck", default=preset.neck, advanced=True, tooltip="Also repaint the skin below the face."),
        io.Int.Input(
            "crop_size",
            default=preset.size,
            min=64,
            max=2048,
            step=8,
            advanced=True,
            tooltip="Side of a face crop in pixels: 512 for SD1.5, 1024 for SDXL.",
        ),
        io.Float.Input(
            "pose_scale", default=preset.pose_scale, min=0.0, max=10.0, step=0.01, advanced=True, tooltip="Strength of the pose ControlNet."
        ),
        io.Float.Input(
            "canny_scale",
            default=preset.canny_scale,
            min=0.0,
            max=10.0,
            step=0.01,
            advanced=True,
            tooltip="Strength of the Canny ControlNet.",
        ),
        io.Float.Input(
            "refine_strength",
            default=preset.refine_strength,
            min=0.01,
            max=1.0,
            step=0.01,
            advanced=True,
            tooltip="Denoising strength of the refine pass.",
        ),
        io.Float.Input(
            "refine_scale",
            default=preset.refine_scale,
            min=0.0,
            max=10.0,
            step=0.01,
            advanced=True,
            tooltip="Strength of both ControlNets in the refine pass.",
        ),
        io.Int.Input(
            "batch_size", default=preset.batch, min=1, max=64, advanced=True, tooltip="How many faces of one person are painted at once."
        ),
        io.Boolean.Input(
            "prompt_weights", default=False, advanced=True, tooltip="Read (word:1.2) in the prompts as weights. FaceChain does not."
        ),
    ]


def _knowledge() -> list[io.Input]:
    return [
        FaceChainFaces.Input("faces", optional=True, tooltip="Faces already found or picked in the picture; only these may change."),
        PoseKeypoint.Input("pose_keypoint", optional=True, tooltip="Body pose of the picture, from ComfyUI's SDPose nodes."),
        io.Image.Input(
            "pose_image", optional=True, tooltip="Body pose of the picture as a drawing; used if pose_keypoint is not connected."
        ),
        io.Mask.Input("face_mask", optional=True, tooltip="The faces in the picture. If not connected, M2FP finds them."),
        io.Mask.Input("skin_mask", optional=True, tooltip="The skin below the faces, for include_neck. If not connected, M2FP finds it."),
        io.Mask.Input("human_mask", optional=True, tooltip="The people in the picture. If not connected, M2FP finds them."),
        FaceDetectionModel.Input(
            "face_detection_model", optional=True, tooltip="ComfyUI's face landmark model; with it the expression follows the person."
        ),
        io.Image.Input(
            "stage1_images", optional=True, tooltip="Faces to use instead of generating them in stage 1: one, or one for each face."
        ),
        io.Image.Input(
            "face_image", optional=True, tooltip="A photo of the person on the model, for the fusion if no persons are connected."
        ),
        io.String.Input("names", optional=True, force_input=True, tooltip="Names of the pictures, for the report."),
    ]


def _inputs(lists: dict[str, Sequence], values: dict[str, Any]) -> InpaintInputs:
    def pictures(name: str) -> list[torch.Tensor]:
        return flatten_images(lists.get(name) or [])

    def masks(name: str) -> list[torch.Tensor]:
        return [mask for batch in lists.get(name) or [] for mask in batch.reshape(-1, *batch.shape[-2:])]

    images = pictures("image")
    return InpaintInputs(
        images=images,
        names=picture_names.given(lists.get("names") or [], images),
        faces=values.get("faces"),
        face_masks=masks("face_mask"),
        human_masks=masks("human_mask"),
        neck_masks=masks("skin_mask"),
        poses=[frame for frames in lists.get("pose_keypoint") or [] for frame in frames],
        drawings=pictures("pose_image"),
        generated=pictures("stage1_images"),
    )


def _open(values: dict[str, Any], inputs: InpaintInputs, idle: bool) -> OpenedModels:
    model = values.get("face_detection_model")
    if idle:
        return open_detector_only(values["detector"], model, inputs)
    asked = {"neck": values["include_neck"], "fuse": values["fusion"], "enhance": values["enhance"]}
    return open_models(values["detector"], model, inputs, **asked)


def _settings(values: dict[str, Any]) -> Settings:
    return Settings(
        size=values["crop_size"],
        strength=values["strength"],
        pose_scale=values["pose_scale"],
        canny_scale=values["canny_scale"],
        refine=values["refine"],
        refine_strength=values["refine_strength"],
        refine_scale=values["refine_scale"],
        enhance=values["enhance"],
        neck=values["include_neck"],
        batch=values["batch_size"],
    )


def _prompt(values: dict[str, Any]) -> PromptText:
    return PromptText(
        scene=values["prompt"], negative=values["negative"], ethnicity=values["ethnicity"], trigger=values["trigger"],
        weights=values["prompt_weights"],
    )  # fmt: skip


def _sampling(values: dict[str, Any]) -> SamplingSettings:
    return SamplingSettings(steps=values["steps"], cfg=values["cfg"], sampler=values["sampler_name"], scheduler=values["scheduler"])
