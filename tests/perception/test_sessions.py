"""The two ONNX networks: rotation and face quality, with small models of a known meaning."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from facechain_impl.errors import WeightsError
from facechain_impl.perception.quality import FaceQuality
from facechain_impl.perception.rotation import PhotoRotation, rotate


def session(shape: list, weight: np.ndarray) -> onnxruntime.InferenceSession:
    """A model of one matrix: input [N, 3, side, side] flattened, times `weight`."""
    nodes = [helper.make_node("Flatten", ["x"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [shape[0], weight.shape[1]])]
    graph = helper.make_graph(nodes, "matrix", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def sky_finder(batch) -> onnxruntime.InferenceSession:
    """Says which border of a picture is bright: 0 top, 1 left, 2 bottom, 3 right, the turn that brings it to the top."""
    weight = np.zeros((3, 224, 224, 4), np.float32)
    weight[:, :40, :, 0] = weight[:, :, :40, 1] = weight[:, -40:, :, 2] = weight[:, :, -40:, 3] = 1e-4
    return session([batch, 3, 224, 224], weight.reshape(-1, 4))


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_photographs_are_brought_upright(batch):
    upright = torch.zeros(60, 90, 3)
    upright[:15] = 1
    photos = [rotate(upright, quarters) for quarters in (0, 1, 2, 3)]
    assert [tuple(photo.shape[:2]) for photo in photos] == [(60, 90), (90, 60), (60, 90), (90, 60)]
    turns = PhotoRotation(sky_finder(batch)).quarter_turns(photos)
    assert turns == [0, 3, 2, 1]
    for photo, quarters in zip(photos, turns):
        assert torch.equal(rotate(photo, quarters), upright)


def test_turning_is_clockwise():
    assert rotate(torch.tensor([[1, 2], [3, 4]]), 1).tolist() == [[3, 1], [4, 2]]


def test_rotation_sees_bgr():
    weight = np.zeros((3, 224 * 224, 4), np.float32)
    weight[0, :, 1] = weight[2, :, 3] = 1e-4
    blue, red = torch.zeros(30, 30, 3), torch.zeros(30, 30, 3)
    blue[..., 2], red[..., 0] = 1, 1
    model = session(["N", 3, 224, 224], weight.reshape(-1, 4))
    assert PhotoRotation(model).quarter_turns([blue, red]) == [1, 3]


@pytest.mark.parametrize("batch", ["N", 1])
def test_quality_is_the_mean_of_the_output(batch):
    weight = np.zeros((3 * 112 * 112, 2), np.float32)
    weight[: 112 * 112, 0], weight[-112 * 112 :, 1] = 1 / 112**2, 3 / 112**2  # red, blue
    faces = [torch.zeros(112, 112, 3), torch.ones(112, 112, 3), torch.tensor([1.0, 0, 0]).expand(112, 112, 3)]
    scores = FaceQuality(session([batch, 3, 112, 112], weight)).score(faces)
    assert scores == pytest.approx([-2, 2, -1], abs=1e-4)


def test_nothing_to_look_at():
    assert PhotoRotation(sky_finder("N")).quarter_turns([]) == []
    assert FaceQuality(sky_finder("N")).score([]) == []


def test_another_network_under_the_name_is_told():
    with pytest.raises(WeightsError, match=r"rot_bgr takes \['N', 3, 112, 112\] instead of \[1, 3, 224, 224\].*models get rot_bgr"):
        PhotoRotation(session(["N", 3, 112, 112], np.zeros((3 * 112 * 112, 4), np.float32))).quarter_turns([torch.zeros(9, 9, 3)])
    with pytest.raises(WeightsError, match="rot_bgr returns 5 values instead of 4"):
        PhotoRotation(session(["N", 3, 224, 224], np.zeros((3 * 224 * 224, 5), np.float32))).quarter_turns([torch.zeros(9, 9, 3)])
    with pytest.raises(WeightsError, match=r"fqa takes \['N', 3, 224, 224\] instead of \[2, 3, 112, 112\].*models get fqa"):
        FaceQuality(sky_finder("N")).score([torch.zeros(112, 112, 3)] * 2)
