"""The main job over HTTP: the two shipped workflows, from photos to ranked portraits."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from launcher.client import Client
from launcher.workflows import Workflow

pytestmark = [pytest.mark.host, pytest.mark.slow]

SIZE = 64
PEOPLE = {"sample": 1, "person_a": 5}


def pictures(client: Client, images: list[dict]) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(client.view(image)))) for image in images]


@pytest.fixture(scope="module", params=["sample", pytest.param("person_a", marks=pytest.mark.matrix)])
def trained(request, server, checkpoint) -> tuple[str, Workflow, dict]:
    """(name, workflow, outputs) of "Train My Portrait" on the sample photo, and on photographs where those are."""
    name, workflow = request.param, Workflow("Train My Portrait")
    if name != "sample":
        folder = request.getfixturevalue("photographs") / name
        shutil.copytree(folder, server.base / "input" / name, dirs_exist_ok=True)
        workflow.change("FaceChain_LoadPhotos", source="Folder", folder=name)
    # Of the filter, which is off. No other test's: what the host has cached of another graph it shows under that one's nodes.
    workflow.change("FaceChain_FaceAlign", min_confidence=0.5)
    workflow.change("CheckpointLoaderSimple", ckpt_name=checkpoint)
    workflow.change("FaceChain_TrainFaceLoRA", name=name, steps=3, resolution=SIZE, learning_rate=0.05)
    return name, workflow, server.client.run(workflow.api, timeout=900, workflow=workflow.editor)["outputs"]


def test_every_photo_becomes_a_crop_and_a_caption(client, trained):
    name, workflow, outputs = trained
    rows = outputs[workflow.id_of("FaceChain_FaceAlign")]["report"][0]["rows"]
    assert [row["status"] for row in rows] == ["aligned"] * PEOPLE[name]
    crops = pictures(client, outputs[workflow.id_of("PreviewImage")]["images"])
    ((height, width, _),) = {crop.shape for crop in crops}
    assert len(crops) == PEOPLE[name] and height == width and 512 <= width <= 1536, "as large as the photos show the face"
    assert len({crop.tobytes() for crop in crops}) == PEOPLE[name]
    checked = outputs[workflow.id_of("FaceChain_CheckPhotos")]["report"][0]["rows"]
    assert [row["status"] for row in checked] == ["good"] * PEOPLE[name] and [row["name"] for row in checked] == [
        row["name"] for row in rows
    ]
    captions = outputs[workflow.id_of("FaceChain_Tagger")]["report"][0]["rows"]
    assert [row["values"]["caption"] for row in captions] == ["<fcsks>, a person"] * PEOPLE[name]


def test_the_lora_is_in_the_hosts_list_and_the_report_says_what_it_is(client, server, trained):
    name, workflow, outputs = trained
    file = f"{name}/{name}.safetensors"
    assert file in client.object_info("LoraLoader")["LoraLoader"]["input"]["required"]["lora_name"][0]
    tensors = load_file(server.base / "models" / "facechain" / "persons" / file)
    assert len([key for key in tensors if key.endswith("lora_up.weight")]) == 56
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    report = outputs[workflow.id_of("FaceChain_TrainFaceLoRA")]["report"][0]
    assert report["rows"][0]["values"]["steps"] == 3
    assert any("STAND-IN" in note for note in report["notes"])
    (curve,) = pictures(client, outputs[workflow.id_of("LossGraphNode")]["images"])
    assert curve.std() > 0


def portraits(client: Client, checkpoint: str, **merge) -> tuple[list[np.ndarray], dict]:
    """The pictures and the ranking report of "Portrait In A Style"."""
    workflow = Workflow("Portrait In A Style")
    workflow.change("CheckpointLoaderSimple", ckpt_name=checkpoint)
    workflow.change("FaceChain_LoRAMerge", **merge)
    workflow.change("EmptyLatentImage", width=SIZE, height=SIZE, batch_size=2)
    workflow.change("KSampler", steps=1)
    outputs = client.run(workflow.api, timeout=900, workflow=workflow.editor)["outputs"]
    return pictures(client, outputs[workflow.id_of("SaveImage")]["images"]), outputs[workflow.id_of("FaceChain_RTSRank")]["report"][0]


def test_the_lora_changes_the_portraits_by_its_weight_alone(client, checkpoint, stand_in, trained):
    stand_in("rts")
    file = f"{trained[0]}/{trained[0]}.safetensors"
    plain, _ = portraits(client, checkpoint, face_lora="None")
    at_zero, _ = portraits(client, checkpoint, face_lora=file, preset="Custom", face_weight=0.0)
    at_one, report = portraits(client, checkpoint, face_lora=file, preset="Custom", face_weight=1.0)
    assert [picture.shape for picture in plain] == [(SIZE, SIZE, 3)] * 2
    for without, zero, one in zip(plain, at_zero, at_one, strict=True):
        assert np.array_equal(without, zero)
        assert not np.array_equal(without, one)
    assert [(row["status"], row["reason"], row["values"]["score"]) for row in report["rows"]] == [
        ("passed through", "no face found", None)
    ] * 2
    assert report["stand_ins"] == ["rts"]


def test_saved_pictures_carry_both_forms_of_the_workflow(client, server, checkpoint, stand_in):
    stand_in("rts")
    portraits(client, checkpoint)
    newest = max((server.base / "output" / "facechain").glob("portrait_*.png"))
    info = Image.open(newest).info
    assert '"FaceChain_RTSRank"' in info["prompt"]
    assert '"FaceChain_RTSRank"' in info["workflow"]
