"""Talking portraits: in one node, or planned and rendered in two."""

from __future__ import annotations

from typing import Any

import torch

from ..facechain_impl.host.memory import to_output
from ..facechain_impl.host.protocols import Audio
from ..facechain_impl.host.upscaling import UpscaleModel
from ..facechain_impl.talking import talk
from ..facechain_impl.talking.crop import Mode
from ..facechain_impl.talking.faces import DETECTORS, LANDMARKS, FaceFinder, Order
from ..facechain_impl.talking.motion import STYLES, Motion, MotionPlan
from ..facechain_impl.types import NoFace, Report, Status
from ..facechain_impl.weights.uses import MOTION, RENDER, TALKING_PORTRAIT
from ._api import ExecutionBlocker, FaceChainFaces, FaceLandmarks, InputImpl, io
from ._common import flatten_images, no_face_input, report_ui
from ._node import FaceChainNode

FaceChainMotion = io.Custom("FACECHAIN_MOTION")
NO_FRAMES = "The frames of the talking portrait were not kept. Turn 'frames' on; all frames must then fit into memory."
BOTH, POSE, BLINK = "Pose and blinking", "Pose", "Blinking"


def _subject_inputs() -> list:
    return [
        io.Combo.Input("size", options=["256", "512"], default="256", tooltip="Side of the animated square. 512 needs its own weights."),
        io.Combo.Input(
            "preprocess",
            options=[mode.value for mode in Mode],
            default=Mode.FULL.value,
            tooltip="crop: only the face. extcrop: the face with some surroundings. resize: the whole picture made square. "
            "full, extfull: as crop and extcrop, then pasted back into the whole picture.",
        ),
        io.Combo.Input("detector", options=list(DETECTORS), tooltip="Face detector. Not used when faces or face_landmarks is connected."),
        io.Combo.Input(
            "landmarks",
            options=list(LANDMARKS),
            tooltip="98-point network: accurate, needs its weights. five points: a schematic face fitted to the detector's points.",
        ),
        io.Combo.Input("face_order", options=[order.value for order in Order], tooltip="How several faces are numbered.", advanced=True),
        io.Int.Input("face_number", default=1, min=1, max=99, tooltip="Which of several faces talks.", advanced=True),
        no_face_input(),
    ]


def _motion_inputs() -> list:
    return [
        io.Int.Input("pose_style", default=0, min=0, max=STYLES - 1, tooltip="One of 46 learned styles of head motion."),
        io.Float.Input("expression_scale", default=1.0, min=0.0, max=3.0, step=0.1, tooltip="How far mouth and face move."),
        io.Boolean.Input("still", default=True, tooltip="Keep the head as it is in the picture; only the expression moves."),
        io.Float.Input(
            "pose_amplitude",
            default=1.0,
            min=0.0,
            max=2.0,
            step=0.05,
            tooltip="How far the head moves when it is not still.",
            advanced=True,
        ),
        io.Float.Input("blink_rate", default=1.0, min=0.0, max=3.0, step=0.05, tooltip="1: 33 blinks a minute, 0: none.", advanced=True),
        io.Float.Input("blink_strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="How far the eyes close.", advanced=True),
        io.Int.Input("seed", default=0, min=0, max=2**63 - 1, control_after_generate=True, tooltip="Seed for head motion and blinking."),
        *_angle_inputs(),
    ]


def _angle_inputs() -> list:
    return [
        io.String.Input(
            axis,
            default="",
            tooltip=f"{axis.capitalize()} angles of the head over the clip in degrees, such as '0, 20, -20'. Empty: driven by the audio.",
            advanced=True,
        )
        for axis in ("yaw", "pitch", "roll")
    ]


def _output_inputs() -> list:
    return [
        io.Int.Input("frame_batch", default=0, min=0, max=64, tooltip="Frames rendered at once; 0: as many as fit.", advanced=True),
        io.Boolean.Input("frames", default=False, tooltip="Also output the frames as pictures. They must all fit into memory."),
    ]


def _optional_inputs() -> list:
    return [
        FaceChainFaces.Input("faces", optional=True, tooltip="Faces already found; they replace detector and landmarks."),
        FaceLandmarks.Input("face_landmarks", optional=True, tooltip="Output of Detect Face Landmarks; replaces detector and landmarks."),
    ]


def _reference_inputs() -> list:
    return [
        io.Video.Input("reference", optional=True, tooltip="A video of a face whose head motion or blinking is used."),
        io.Combo.Input("reference_use", options=[BOTH, POSE, BLINK], optional=True, tooltip="What to use of the reference.", advanced=True),
    ]


def _enhancer_input() -> io.Input:
    return io.UpscaleModel.Input(
        "enhancer", optional=True, tooltip="Doubles the size. GFPGAN restores the faces; other models upscale the whole picture."
    )


def _scene(image: torch.Tensor, audio: Audio, options: dict[str, Any]) -> talk.Scene:
    pictures = flatten_images([image])
    picture = pictures[0] if len(pictures) == 1 else image
    known = talk.known_faces(picture, options.get("faces"), options.get("face_landmarks"))
    order = Order(options["face_order"])
    finder = FaceFinder(options["detector"], options["landmarks"], known, order, options["face_number"])
    driver = talk.open_driver(options.get("driver", "SadTalker"), int(options["size"]), options["preprocess"])
    return talk.Scene(picture, audio, driver, finder, NoFace(options["no_face"]))


def _motion(options: dict[str, Any]) -> Motion:
    yaw, pitch, roll = (talk.angles(options[axis], axis) for axis in ("yaw", "pitch", "roll"))
    names = ("expression_scale", "still", "pose_amplitude", "blink_rate", "blink_strength", "seed")
    return Motion(style=options["pose_style"], yaw=yaw, pitch=pitch, roll=roll, **{name: options[name] for name in names})


def _reference(options: dict[str, Any]) -> talk.Reference | None:
    video, use = options.get("reference"), options.get("reference_use") or BOTH
    if video is None:
        return None
    return talk.Reference(source=video.get_stream_source(), pose=use in (BOTH, POSE), blink=use in (BOTH, BLINK))


def _output(options: dict[str, Any]) -> talk.Output:
    model = options.get("enhancer")
    enhancer = UpscaleModel(model) if model is not None else None
    return talk.Output(enhancer=enhancer, batch=options["frame_batch"], keep=options["frames"])


def _video(clip: talk.Clip | None) -> tuple:
    """VIDEO and IMAGE of a clip. The video is the file itself, so that saving it copies it without encoding again."""
    if clip is None:
        return ExecutionBlocker(None), ExecutionBlocker(None)
    frames = to_output(clip.frames) if clip.frames is not None else ExecutionBlocker(NO_FRAMES)
    return InputImpl.VideoFromFile(str(clip.path)), frames


class SadTalkerNode(FaceChainNode):
    uses = TALKING_PORTRAIT

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/talking",
            description="Turns a picture of a face and a recording into a video of the face saying it.",
            search_aliases=["talking head", "lip sync", "sadtalker"],
            inputs=[
                io.Image.Input("image", tooltip="One picture with a face."),
                io.Audio.Input("audio", tooltip="The speech. Any length, sample rate and number of channels."),
                *_subject_inputs(),
                *_motion_inputs(),
                *_output_inputs(),
                _enhancer_input(),
                *_optional_inputs(),
                *_reference_inputs(),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="25 frames a second, H.264 and AAC, at the recording's sample rate."),
                io.Image.Output(display_name="frames", tooltip="Only when 'frames' is on."),
                FaceChainMotion.Output(display_name="motion", tooltip="The motion, for Edit Motion and Render Motion."),
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, audio: Audio, **options: Any) -> io.NodeOutput:
        motion, output, reference = _motion(options), _output(options), _reference(options)
        scene = _scene(image, audio, options)
        if scene.portrait is None:
            clip = scene.without_face(NoFace(options["no_face"]), output)
            return io.NodeOutput(*_video(clip), ExecutionBlocker(None), ui=report_ui(scene.report))
        progress = talk.progress_for(scene.driver, scene.speech)
        subject = scene.subject()
        plan = scene.plan(subject, motion, reference, progress)
        clip = scene.clip(subject, plan, output, progress)
        return io.NodeOutput(*_video(clip), plan, ui=report_ui(scene.report))


class MotionFromAudio(FaceChainNode):
    uses = MOTION

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/talking",
            description="Plans the motion of a face that speaks a recording, without rendering it.",
            inputs=[
                io.Image.Input("image", tooltip="One picture with a face."),
                io.Audio.Input("audio", tooltip="The speech."),
                io.Combo.Input("driver", options=list(talk.DRIVERS), tooltip="The model that plans the motion; render with the same."),
                *_subject_inputs(),
                *_motion_inputs(),
                *_optional_inputs(),
                *_reference_inputs(),
            ],
            outputs=[FaceChainMotion.Output(display_name="motion", tooltip="The motion: one row of 70 numbers per frame.")],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, audio: Audio, **options: Any) -> io.NodeOutput:
        motion, reference = _motion(options), _reference(options)
        scene = _scene(image, audio, options)
        if scene.portrait is None:
            return io.NodeOutput(ExecutionBlocker(None), ui=report_ui(scene.skipped()))
        plan = scene.plan(scene.subject(), motion, reference, talk.progress_for(scene.driver, scene.speech))
        return io.NodeOutput(plan, ui=report_ui(scene.planned(plan)))


class EditMotion(FaceChainNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_EditMotion",
            display_name="Edit Motion",
            category="FaceChain/talking",
            description="Scales the expression and head motion of a plan, or moves the head through given angles.",
            inputs=[
                FaceChainMotion.Input("motion", tooltip="From Motion From Audio or Talking Portrait (SadTalker)."),
                io.Float.Input("expression_scale", default=1.0, min=0.0, max=3.0, step=0.05, tooltip="How far mouth and face move."),
                io.Float.Input(
                    "pose_scale", default=1.0, min=0.0, max=3.0, step=0.05, tooltip="How far the head moves from its first pose."
                ),
                *_angle_inputs(),
            ],
            outputs=[FaceChainMotion.Output(display_name="motion", tooltip="The edited motion, for Render Motion.")],
        )

    @classmethod
    def execute(cls, motion: MotionPlan, expression_scale: float, pose_scale: float, yaw: str, pitch: str, roll: str) -> io.NodeOutput:
        curves = {name: talk.angles(text, name) for name, text in (("yaw", yaw), ("pitch", pitch), ("roll", roll))}
        edited = motion.edited(expression_scale, pose_scale, curves)
        report = Report("Edited motion")
        report.add(
            "motion", Status.EDITED, frames=len(edited), expression=expression_scale, pose=pose_scale, angles=", ".join(edited.angles)
        )
        return io.NodeOutput(edited, ui=report_ui(report))


class RenderMotion(FaceChainNode):
    uses = RENDER

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id=cls.uses.node_id,
            display_name=cls.uses.display_name,
            category="FaceChain/talking",
            description="Renders a planned motion as a video, with the recording it was planned from.",
            inputs=[
                io.Image.Input("image", tooltip="One picture with a face."),
                io.Audio.Input("audio", tooltip="The recording the motion was planned from."),
                FaceChainMotion.Input("motion", tooltip="The planned motion."),
                io.Combo.Input("driver", options=list(talk.DRIVERS), tooltip="Must be the one that planned the motion."),
                *_subject_inputs(),
                *_output_inputs(),
                _enhancer_input(),
                *_optional_inputs(),
            ],
            outputs=[
                io.Video.Output(display_name="video", tooltip="25 frames a second, H.264 and AAC, at the recording's sample rate."),
                io.Image.Output(display_name="frames", tooltip="Only when 'frames' is on."),
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, audio: Audio, motion: MotionPlan, **options: Any) -> io.NodeOutput:
        output = _output(options)
        scene = _scene(image, audio, options)
        if scene.portrait is None:
            clip = scene.without_face(NoFace(options["no_face"]), output)
        else:
            clip = scene.clip(scene.subject(), motion, output, talk.Progress(len(motion)))
        return io.NodeOutput(*_video(clip), ui=report_ui(scene.report))
