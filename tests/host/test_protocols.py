"""What the pack says it uses of the host's objects, held against the host's own classes."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import get_type_hints

import pytest
import torch

pytest.importorskip("comfy.model_base", reason="set COMFYUI_PATH to the folder of ComfyUI")

import comfy.conds  # noqa: E402
import comfy.controlnet  # noqa: E402
import comfy.latent_formats  # noqa: E402
import comfy.model_base  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.model_sampling  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.supported_models_base  # noqa: E402
import comfy_extras.mediapipe.face_landmarker  # noqa: E402
import comfy_extras.nodes_audio  # noqa: E402
import comfy_extras.nodes_mediapipe  # noqa: E402
import comfy_extras.nodes_sdpose  # noqa: E402
import comfy_extras.nodes_upscale_model  # noqa: E402
import spandrel  # noqa: E402
from comfy_api.latest import Input  # noqa: E402

from facechain_impl.host import protocols  # noqa: E402

CLASSES = [
    (protocols.Patcher, comfy.model_patcher.ModelPatcher),
    (protocols.Model, comfy.model_patcher.ModelPatcher),
    (protocols.Clip, comfy.sd.CLIP),
    (protocols.Vae, comfy.sd.VAE),
    (protocols.ControlNet, comfy.controlnet.ControlNet),
    (protocols.ControlNet, comfy.controlnet.ControlLora),
    (protocols.ControlNet, comfy.controlnet.T2IAdapter),
    (protocols.BaseModel, comfy.model_base.BaseModel),
    (protocols.LatentFormat, comfy.latent_formats.LatentFormat),
    (protocols.ModelConfig, comfy.supported_models_base.BASE),
    (protocols.Condition, comfy.conds.CONDRegular),
    (protocols.Condition, comfy.conds.CONDCrossAttn),
    (protocols.FaceDetectionModel, comfy_extras.nodes_mediapipe.FaceLandmarkerModel),
    (protocols.UpscaleModelDescriptor, spandrel.ImageModelDescriptor),
    (protocols.Architecture, spandrel.Architecture),
    (protocols.PoseDrawer, comfy_extras.nodes_sdpose.KeypointDraw),
    (protocols.Video, Input.Video),
]
# Set on an object by somebody else than its class.
ADDED = {
    protocols.UpscaleModelDescriptor: {"patcher": comfy_extras.nodes_upscale_model.UpscaleModelLoader},
}
SHAPES = [
    (protocols.Audio, comfy_extras.nodes_audio),
    (protocols.FaceLandmarks, comfy_extras.nodes_mediapipe),
    (protocols.MeshFace, comfy_extras.mediapipe.face_landmarker),
    (protocols.PoseFrame, comfy_extras.nodes_sdpose),
]


def methods(protocol: type) -> dict[str, inspect.Signature]:
    declared = {name: value for base in own_bases(protocol) for name, value in vars(base).items() if inspect.isfunction(value)}
    return {name: inspect.signature(value) for name, value in declared.items() if name not in ("__init__", "__subclasshook__")}


def attributes(protocol: type) -> set[str]:
    return {name for base in own_bases(protocol) for name in vars(base).get("__annotations__", {}) if name not in methods(protocol)}


def own_bases(protocol: type) -> list[type]:
    return [base for base in reversed(protocol.__mro__) if base.__module__ == protocols.__name__]


def set_by(cls: type) -> set[str]:
    """Names that a class or its bases define, or that its methods set on an object."""
    names = set(dir(cls))
    for base in cls.__mro__[:-1]:
        names |= set(vars(base).get("__annotations__", {}))
        if base.__module__ != "torch.nn.modules.module":
            names |= assigned(base)
    return names


def assigned(code: type) -> set[str]:
    """Attributes that some function of `code` sets."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


@pytest.mark.parametrize(("protocol", "cls"), CLASSES, ids=lambda value: value.__name__)
def test_the_host_has_what_is_used(protocol, cls):
    added = ADDED.get(protocol, {})
    assert attributes(protocol) | methods(protocol).keys(), "the protocol is empty"
    assert attributes(protocol) - set_by(cls) - added.keys() == set()
    for name, setter in added.items():
        assert name in assigned(setter)


@pytest.mark.parametrize(("protocol", "cls"), CLASSES, ids=lambda value: value.__name__)
def test_its_methods_can_be_called_as_they_are(protocol, cls):
    for name, ours in methods(protocol).items():
        theirs = inspect.signature(getattr(cls, name))
        places, words = [], {}
        for parameter in ours.parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                words[parameter.name] = None
            elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                places.append(parameter.name)
        bound = theirs.bind(*[None] * len(places), **words).arguments
        # positions hold the same thing by name, so that either way of calling means the same
        assert [name for name in bound if name not in words][1 : len(places)] == places[1:], name


@pytest.mark.parametrize("schedule", [comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.ModelSamplingFlux])
def test_noise_schedules(schedule):
    kind = comfy.model_sampling.EPS if schedule is comfy.model_sampling.ModelSamplingDiscrete else comfy.model_sampling.CONST
    sampling = type("Sampling", (schedule, kind), {})()
    needed = attributes(protocols.ModelSampling) | methods(protocols.ModelSampling).keys()
    missing = {name for name in needed if not hasattr(sampling, name)}
    assert missing == (set() if schedule is comfy.model_sampling.ModelSamplingDiscrete else {"num_timesteps"})


def test_a_patcher_made_by_the_host_is_one():
    patcher = comfy.model_patcher.ModelPatcher(torch.nn.Linear(1, 1), torch.device("cpu"), torch.device("cpu"))
    assert {name for name in attributes(protocols.Patcher) if not hasattr(patcher, name)} == set()
    assert patcher.cached_patcher_init is None
    assert isinstance(patcher.model_state_dict()["weight"], torch.Tensor)


@pytest.mark.parametrize(("shape", "module"), SHAPES, ids=lambda value: value.__name__)
def test_dictionaries_have_these_keys(shape, module):
    assert set(get_type_hints(shape)) - strings_of(module) == set()


def test_people_have_these_keys():
    used = {"pose_keypoints_2d", "hand_left_keypoints_2d", "hand_right_keypoints_2d"}
    assert used - strings_of(comfy_extras.nodes_sdpose) == set()


def strings_of(module) -> set:
    return {node.value for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Constant)}
