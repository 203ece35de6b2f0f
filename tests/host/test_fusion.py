"""Fuse Face inside a real host, as far as it goes without a face and without weights."""

from __future__ import annotations

import pytest

from launcher.client import Client, PromptFailed

pytestmark = pytest.mark.host


def empty(width, height, count, colour):
    return {
        "class_type": "EmptyImage",
        "inputs": {"width": width, "height": height, "batch_size": count, "color": colour},
        "_meta": {"title": "Image"},
    }


def graph(**inputs):
    settings = {"which": "All faces", "face_number": 1, "enhance": True, "mask_edge": 8, "detector": "Built-in", "no_face": "Pass through"}
    node = {"class_type": "FaceChain_FaceFusion", "inputs": {"image": ["1", 0], "face_image": ["2", 0], **settings, **inputs}}
    preview = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}, "_meta": {"title": "Preview"}}
    node["_meta"] = {"title": "Fuse Face"}
    return {"1": empty(64, 48, 2, 0x336699), "2": empty(40, 40, 1, 0xFFFFFF), "3": node, "4": preview}


def test_pictures_without_a_face_pass_through_and_are_reported(client: Client):
    outputs = client.run(graph())["outputs"]
    assert len(outputs["4"]["images"]) == 2
    (report,) = outputs["3"]["report"]
    assert [(row["name"], row["status"]) for row in report["rows"]] == [("picture 1", "passed through"), ("picture 2", "passed through")]
    assert report["rows"][0]["reason"] == "in the face image, no face was found"
    assert report["stand_ins"] == []


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"no_face": "Stop"}, "picture 1: in the face image, no face was found"),
        ({"no_face": "Skip"}, "Every picture was skipped"),
        ({"face_image": ["5", 0]}, "There are 3 face images for 2 pictures"),
        ({"mask": ["6", 0]}, "The mask has 64x64 pixels, the picture 64x48"),
    ],
)
def test_what_does_not_fit_is_said(client: Client, inputs, message):
    nodes = graph(**inputs)
    nodes["5"] = empty(40, 40, 3, 0)
    nodes["6"] = {"class_type": "SolidMask", "inputs": {"value": 1.0, "width": 64, "height": 64}, "_meta": {"title": "Mask"}}
    with pytest.raises(PromptFailed, match=message):
        client.run(nodes)


def test_somebody_must_be_connected(client: Client):
    nodes = graph()
    del nodes["3"]["inputs"]["face_image"]
    with pytest.raises(PromptFailed, match="Neither face_image nor person is connected"):
        client.run(nodes)
