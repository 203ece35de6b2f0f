"""Faces put into pictures by a real server, on random models of the real formats."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_impl.perception.detection import open_detector
from facechain_impl.perception.faces import left_to_right
from facechain_impl.portrait.inpaint.geometry import face_square
from facechain_impl.portrait.inpaint.masks import paste_mask
from facechain_impl.weights.stand_ins import checkpoint as stand_in_checkpoint
from facechain_impl.weights.stand_ins.controlnet import write_controlnet
from launcher.client import Client, PromptFailed
from launcher.server import Server

from .made import store_people

pytestmark = [pytest.mark.host, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "assets" / "sample" / "eileen_collins.png"
TWINS = ROOT / "workflows" / "api"
CHECKPOINT, POSE, CANNY = stand_in_checkpoint.FILE_NAME, "inpaint-test-pose.safetensors", "inpaint-test-canny.safetensors"
PEOPLE = ("Anna", "Ben", "Cleo")


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


@pytest.fixture(scope="module")
def models(server: Server, checkpoint: str):
    """Two ControlNets, three people and two pictures in the server's own folders, beside the stand-in checkpoint."""
    folder = server.base / "models"
    for seed, name in ((1, POSE), (2, CANNY)):
        write_controlnet(folder / "controlnet" / name, seed)
    store_people(folder, PEOPLE)
    Image.fromarray(np.concatenate([sample()] * 3, 1)).save(server.base / "input" / "three.png")
    Image.fromarray(sample()).save(server.base / "input" / "one.png")


def sample() -> np.ndarray:
    return np.asarray(Image.open(SAMPLE).convert("RGB"))


def graph(picture="one.png", people=(), stage1=True, **settings):
    """Put `people`, or the person in the model, into `picture`; the sample photo stands for what stage 1 would make."""
    width = 512 * (3 if picture == "three.png" else 1)
    values = {
        "model": ["1", 0], "clip": ["1", 1], "vae": ["1", 2], "image": ["4", 0], "face_mask": ["5", 0], "human_mask": ["6", 0],
        "pose_control_net": ["2", 0], "canny_control_net": ["3", 0],
        "assign": "Likeness, else left to right", "assign_list": "", "which_faces": "auto", "detector": "Built-in", "no_face": "Stop",
        "prompt": "in a garden", "negative": "blurry", "ethnicity": "", "trigger": "<fcsks>, a mature man", "seed": 1, "variants": 1,
        "steps": 3, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "strength": 0.65, "person_strength": 1.0, "refine": True,
        "fusion": False, "enhance": True, "include_neck": False, "crop_size": 64, "pose_scale": 1.0, "canny_scale": 0.2,
        "refine_strength": 0.4, "refine_scale": 0.8, "batch_size": 4, "prompt_weights": False,
    }  # fmt: skip
    if stage1:
        values["stage1_images"] = ["7", 0]
    nodes = {
        "1": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
        "2": node("ControlNetLoader", control_net_name=POSE),
        "3": node("ControlNetLoader", control_net_name=CANNY),
        "4": node("LoadImage", image=picture),
        "5": node("SolidMask", value=1.0, width=width, height=512),
        "6": node("SolidMask", value=0.0, width=width, height=512),
        "7": node("LoadImage", image="one.png"),
    }
    for index, name in enumerate(people):
        nodes[f"2{index}"] = node("FaceChain_LoadPerson", person=name)
        values[f"persons.person{index}"] = [f"2{index}", 0]
    nodes["8"] = node("FaceChain_TwoStageInpaint", **{**values, **settings})
    return {**nodes, "9": node("SaveImage", images=["8", 0], filename_prefix="inpaint-test")}


def pictures(client: Client, entry: dict) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(client.view(image)))) for image in entry["outputs"]["9"]["images"]]


def report(entry: dict) -> dict:
    return entry["outputs"]["8"]["report"][0]


def faces_of(pixels: np.ndarray):
    image = torch.from_numpy(pixels.astype(np.float32) / 255)
    return left_to_right(open_detector("Built-in").detect([image])[0])


def inside(pixels: np.ndarray, faces, index: int) -> np.ndarray:
    """Where the face may have changed: its paste mask in the whole picture."""
    others = [face.box for i, face in enumerate(faces) if i != index]
    (x0, y0, x1, y1), mask = paste_mask(face_square(faces[index].box), faces[index].box, others, *pixels.shape[:2])
    whole = np.zeros(pixels.shape[:2], bool)
    whole[y0:y1, x0:x1] = mask.numpy() > 0
    return whole


def test_one_person_in_the_model(client, models):
    entry = client.run(graph())
    (result,) = pictures(client, entry)
    pixels, faces = sample(), faces_of(sample())
    allowed = inside(pixels, faces, 0)
    assert len(faces) == 1 and np.array_equal(result[~allowed], pixels[~allowed])
    x, y = ((faces[0].box[:2] + faces[0].box[2:]) / 2).astype(int)
    assert np.abs(result[y - 20 : y + 20, x - 20 : x + 20].astype(int) - pixels[y - 20 : y + 20, x - 20 : x + 20]).mean() > 8
    assert report(entry)["rows"] == [{"name": "picture 1, face 1", "status": "painted", "severity": "good", "reason": "", "values": {}}]


def test_without_controlnets(client, models):
    nodes = graph()
    for name in ("pose_control_net", "canny_control_net"):
        del nodes[nodes["8"]["inputs"].pop(name)[0]]
    entry = client.run(nodes)
    (result,), (steered,) = pictures(client, entry), pictures(client, client.run(graph()))
    allowed = inside(sample(), faces_of(sample()), 0)
    assert np.array_equal(result[~allowed], sample()[~allowed])
    assert not np.array_equal(result[allowed], steered[allowed])
    notes = report(entry)["notes"]
    assert [kind for kind in ("pose", "canny") if any(f"No {kind} ControlNet is connected" in note for note in notes)] == ["pose", "canny"]
    assert not any(used["kind"] == "CONTROL_NET" for used in report(entry)["used"])


def test_the_same_seed_is_the_same_picture(client, models):
    first, again, other = (pictures(client, client.run(graph(**change)))[0] for change in ({}, {"batch_size": 3}, {"seed": 2}))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.matrix
def test_three_people_each_on_their_face(client, models):
    entry = client.run(graph("three.png", PEOPLE))
    (result,) = pictures(client, entry)
    pixels = np.concatenate([sample()] * 3, 1)
    faces = faces_of(pixels)
    assert [row["values"]["person"] for row in report(entry)["rows"]] == list(PEOPLE)
    allowed = np.any([inside(pixels, faces, index) for index in range(3)], axis=0)
    assert np.array_equal(result[~allowed], pixels[~allowed])
    changed = (result != pixels).any(-1)
    assert all(changed[int(face.box[1]) : int(face.box[3]), int(face.box[0]) : int(face.box[2])].mean() > 0.5 for face in faces)
    (swapped,) = pictures(client, client.run(graph("three.png", PEOPLE[::-1])))
    middle = inside(pixels, faces, 1)
    assert np.array_equal(swapped[middle], result[middle]) and not np.array_equal(swapped, result)


def test_fewer_persons_leave_the_other_faces_alone(client, models):
    entry = client.run(graph("three.png", PEOPLE[:1], assign="List", assign_list="0, Anna, 0"))
    (result,) = pictures(client, entry)
    pixels = np.concatenate([sample()] * 3, 1)
    faces = faces_of(pixels)
    for face in (faces[0], faces[2]):
        x0, y0, x1, y1 = face.box.astype(int)
        assert np.array_equal(result[y0:y1, x0:x1], pixels[y0:y1, x0:x1])
    assert [row["name"] for row in report(entry)["rows"]] == ["picture 1, face 2"]


def test_more_persons_than_faces_are_named(client, models):
    rows = report(client.run(graph(people=PEOPLE[:2])))["rows"]
    assert ("Ben", "not used") in [(row["name"], row["status"]) for row in rows]


def test_strength_zero_is_the_picture(client, models):
    (result,) = pictures(client, client.run(graph(strength=0.0)))
    assert np.array_equal(result, sample())


def test_noise_gets_the_policys_answer_and_the_server_goes_on(client, models):
    with pytest.raises(PromptFailed, match="no face was found in the generated stage-1 picture"):
        client.run(graph(stage1=False))
    entry = client.run(graph(stage1=False, no_face="Pass through"))
    assert np.array_equal(pictures(client, entry)[0], sample())
    assert report(entry)["rows"][-1]["status"] == "passed through"


@pytest.mark.parametrize("stage1, steps", [(False, 900), (True, 810)], ids=["stage 1", "stage 2"])
def test_stop_in_any_stage_gives_the_server_back(server, client, models, stage1, steps):
    prompt = client.queue(graph(stage1=stage1, steps=900, strength=0.9, seed=77))
    end = time.monotonic() + 600
    while f"/{steps} [" not in server.lines()[-1]:
        assert time.monotonic() < end, server.tail()
        time.sleep(0.1)
    client.interrupt()
    with pytest.raises(PromptFailed) as stopped:
        client.wait(prompt, timeout=300)
    assert stopped.value.interrupted
    (result,) = pictures(client, client.run(graph(strength=0.0)))
    assert np.array_equal(result, sample())


def twin(title: str) -> dict:
    """A shipped workflow with the test's own small models and few steps."""
    nodes = json.loads((TWINS / f"{title}.json").read_text("utf-8"))
    for one in nodes.values():
        inputs = one["inputs"]
        if one["class_type"] == "CheckpointLoaderSimple":
            inputs["ckpt_name"] = CHECKPOINT
        elif one["class_type"] == "ControlNetLoader":
            inputs["control_net_name"] = POSE if "openpose" in inputs["control_net_name"] else CANNY
        elif one["class_type"] == "FaceChain_TwoStageInpaint":
            inputs.update(steps=2, crop_size=64)
    return nodes


@pytest.mark.parametrize("title, count", [("Face Into A Picture", 1), ("Group Portrait", 2)])
def test_the_shipped_workflows_run(client, models, title, count):
    """Stage 1 makes noise of a random model, so the pictures pass through and the report says why."""
    nodes = twin(title)
    (inpaint,) = (name for name, one in nodes.items() if one["class_type"] == "FaceChain_TwoStageInpaint")
    size = (512 * count, 512)
    nodes["90"] = node("SolidMask", value=1.0, width=size[0], height=size[1])
    nodes[inpaint]["inputs"].update(face_mask=["90", 0], human_mask=["90", 0])
    entry = client.run(nodes)
    (saved,) = (name for name, one in nodes.items() if one["class_type"] == "SaveImage")
    result = np.asarray(Image.open(io.BytesIO(client.view(entry["outputs"][saved]["images"][0]))))
    assert np.array_equal(result, np.concatenate([sample()] * count, 1))
    rows = entry["outputs"][inpaint]["report"][0]["rows"]
    assert [row["status"] for row in rows] == ["left as it was"] * count + ["passed through"]
