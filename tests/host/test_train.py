"""Training inside a real host: stop, resume, finish early, the file in the LoRA list, and the store of people over HTTP."""

from __future__ import annotations

import pytest
from safetensors.torch import load_file

from launcher.client import Client, HttpError, PromptFailed
from launcher.server import Server

pytestmark = [pytest.mark.host, pytest.mark.slow]

CAPTION = "<fcsks>, a beautiful woman"


def defaults(client: Client, node: str) -> dict:
    """The widgets of a node as the editor fills them in."""
    found = {}
    for group in client.object_info(node)[node]["input"].values():
        for name, spec in group.items():
            options = spec[1] if len(spec) > 1 else {}
            if spec[0] == "COMBO":
                found[name] = options.get("default", options["options"][0])
            elif "default" in options and not options.get("forceInput"):
                found[name] = options["default"]
    return found


def titled(**nodes) -> dict:
    return {key: {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}} for key, (kind, inputs) in nodes.items()}


def graph(client: Client, checkpoint: str, **changes) -> dict:
    """Three crops and three captions into one training."""
    small = {"steps": 3, "resolution": 64, "variants": 1, "state_every": 1, "preview_every": 2, "augmentation": "Centre crop"}
    widgets = {**defaults(client, "FaceChain_TrainFaceLoRA"), **small, **changes}
    links = {"model": ["load", 0], "clip": ["load", 1], "vae": ["load", 2], "images": ["photos", 0], "captions": ["captions", 0]}
    return titled(
        load=("CheckpointLoaderSimple", {"ckpt_name": checkpoint}),
        photos=("EmptyImage", {"width": 96, "height": 96, "batch_size": 3, "color": 0x996633}),
        text=("PrimitiveString", {"value": CAPTION}),
        captions=("CreateList", {f"inputs.input{index}": ["text", 0] for index in range(3)}),
        train=("FaceChain_TrainFaceLoRA", {**links, **widgets}),
    )


def with_portrait(training: dict) -> dict:
    """The same training, and a small picture made with its result."""
    start = {"model": ["merge", 0], "positive": ["says", 0], "negative": ["says", 0], "latent_image": ["empty", 0]}
    return training | titled(
        merge=("FaceChain_LoRAMerge", {
            "model": ["load", 0], "clip": ["load", 1], "face_lora": "None", "style_lora": "None", "preset": "Custom", "face_weight": 1.0,
            "style_weight": 0.0, "save_as": "", "merged_rank": 0, "person": ["train", 3],
        }),
        says=("CLIPTextEncode", {"clip": ["merge", 1], "text": CAPTION}),
        empty=("EmptyLatentImage", {"width": 64, "height": 64, "batch_size": 1}),
        sample=("KSampler", {
            **start, "seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0
        }),
        decode=("VAEDecode", {"samples": ["sample", 0], "vae": ["load", 2]}),
        show=("PreviewImage", {"images": ["decode", 0]}),
    )  # fmt: skip


def states(server: Server) -> list:
    return list((server.base / "user/facechain/trainings").glob("*/state.pt"))


def person_file(server: Server, name: str):
    return server.base / "models/facechain/persons" / name / f"{name}.safetensors"


@pytest.fixture(autouse=True)
def nobody(client: Client):
    yield
    for one in client.get("/facechain/persons")["persons"]:
        client.post("/facechain/persons/delete", {"name": one["name"], "confirm": one["name"]})


def test_one_run_for_three_crops_and_the_file_in_the_lora_list(client, server, checkpoint):
    outputs = client.run(graph(client, checkpoint, name="Ann"))["outputs"]
    (report,) = outputs["train"]["report"]
    assert len(outputs["train"]["images"]) == 1, "the contact sheet of the look after the last step"
    assert [row["status"] for row in report["rows"]][0] == "trained" and report["rows"][0]["values"]["steps"] == 3
    listed = client.object_info("LoraLoader")["LoraLoader"]["input"]["required"]["lora_name"]
    assert "Ann/Ann.safetensors" in str(listed)
    assert len(load_file(person_file(server, "Ann"))) == 56 * 3 and states(server) == []


@pytest.mark.matrix
def test_stopped_and_resumed_ends_with_the_same_weights(client, server, checkpoint):
    client.run(graph(client, checkpoint, name="Whole", steps=6))
    with pytest.raises(PromptFailed) as failure:
        client.run(graph(client, checkpoint, name="Ann", steps=6), each=lambda: client.interrupt() if states(server) else None)
    assert failure.value.interrupted and len(states(server)) == 1 and not person_file(server, "Ann").exists()
    (report,) = client.run(graph(client, checkpoint, name="Ann", steps=6))["outputs"]["train"]["report"]
    assert any(note.startswith("Resumed after step") for note in report["notes"])
    whole, resumed = (load_file(person_file(server, name)) for name in ("Whole", "Ann"))
    assert whole.keys() == resumed.keys() and all((whole[key] == resumed[key]).all() for key in whole)


def test_finish_now(client, server, checkpoint):
    answers = []

    def ask():
        if states(server) and not answers:
            answers.append(client.post("/facechain/train/finish", {"node_id": "train"}))

    (report,) = client.run(graph(client, checkpoint, name="Ann", steps=500), each=ask)["outputs"]["train"]["report"]
    assert answers == [{"node_id": "train", "finishing": True}]
    assert any("Finished early" in note for note in report["notes"]) and person_file(server, "Ann").is_file()
    with pytest.raises(HttpError, match="not training at the moment"):
        client.post("/facechain/train/finish", {"node_id": "train"})
    assert client.get("/facechain/train/picture?node_id=train") == {"picture": None}


def test_a_deleted_file_is_trained_again_and_one_that_is_there_is_not(client, server, checkpoint):
    client.run(graph(client, checkpoint, name="Ann"))
    written = person_file(server, "Ann").stat().st_mtime_ns
    client.run(graph(client, checkpoint, name="Ann"))
    assert person_file(server, "Ann").stat().st_mtime_ns == written
    client.post("/facechain/persons/delete", {"name": "Ann", "confirm": "Ann"})
    client.run(graph(client, checkpoint, name="Ann"))
    assert person_file(server, "Ann").stat().st_mtime_ns > written


def test_a_portrait_with_the_result_does_not_change_what_is_trained(client, server, checkpoint):
    """The host writes the patches of a loaded LoRA into the base model that both share."""
    prompt = with_portrait(graph(client, checkpoint, name="Ann"))
    client.run(prompt)
    written = person_file(server, "Ann").stat().st_mtime_ns
    for state_every in (2, 3):  # outside the run's identity, so that the host asks the node again
        prompt["train"]["inputs"]["state_every"] = state_every
        shown = client.run(prompt)["outputs"]["train"]
        assert any("already finished" in note for note in shown["report"][0]["notes"]) and len(shown["images"]) == 1
    assert person_file(server, "Ann").stat().st_mtime_ns == written
    assert [one["name"] for one in client.get("/facechain/persons")["persons"]] == ["Ann"]


@pytest.mark.matrix
def test_a_portrait_between_stop_and_resume_leaves_the_weights_as_they_would_be(client, server, checkpoint):
    client.run(graph(client, checkpoint, name="Whole", steps=6))
    client.run(with_portrait(graph(client, checkpoint, name="Eve")))
    with pytest.raises(PromptFailed):
        client.run(graph(client, checkpoint, name="Ann", steps=6), each=lambda: client.interrupt() if states(server) else None)
    portrait = with_portrait(graph(client, checkpoint, name="Eve"))
    portrait["sample"]["inputs"]["seed"] = 2
    client.run(portrait)
    (report,) = client.run(graph(client, checkpoint, name="Ann", steps=6))["outputs"]["train"]["report"]
    assert any(note.startswith("Resumed after step") for note in report["notes"])
    whole, resumed = (load_file(person_file(server, name)) for name in ("Whole", "Ann"))
    assert whole.keys() == resumed.keys() and all((whole[key] == resumed[key]).all() for key in whole)


def test_people_over_http(client, server, checkpoint):
    client.run(graph(client, checkpoint, name="Ann"))
    (ann,) = client.get("/facechain/persons")["persons"]
    assert ann["name"] == "Ann" and ann["base_model"] == checkpoint and ann["lora"] == "Ann/Ann.safetensors"
    with pytest.raises(HttpError, match="'confirm' must repeat"):
        client.post("/facechain/persons/delete", {"name": "Ann"})
    with pytest.raises(HttpError, match="cannot be the name"):
        client.post("/facechain/persons/rename", {"name": "Ann", "new_name": "../Eve"})
    renamed = client.post("/facechain/persons/rename", {"name": "Ann", "new_name": "Eve"})
    assert [one["name"] for one in renamed["persons"]] == ["Eve"] and person_file(server, "Eve").is_file()
    assert client.post("/facechain/persons/delete", {"name": "Eve", "confirm": "Eve"}) == {"persons": []}


@pytest.mark.parametrize("name", ["../up", "/etc/x", "NUL"])
def test_names_are_refused_and_the_server_goes_on(client, server, checkpoint, name):
    with pytest.raises(PromptFailed, match="cannot be the name of a person"):
        client.run(graph(client, checkpoint, name=name))
    assert client.get("/facechain/persons")["persons"] == []


def test_check_photos_shows_a_table_and_thumbnails(client):
    nodes = titled(
        photos=("EmptyImage", {"width": 96, "height": 64, "batch_size": 2, "color": 0}),
        check=("FaceChain_CheckPhotos", {"images": ["photos", 0]}),
    )
    outputs = client.run(nodes)["outputs"]["check"]
    assert len(outputs["images"]) == 2 and [row["reason"] for row in outputs["report"][0]["rows"]] == ["no face was found"] * 2


def test_check_photos_refuses_another_number_of_names(client):
    nodes = titled(
        photos=("EmptyImage", {"width": 96, "height": 64, "batch_size": 2, "color": 0}),
        name=("PrimitiveString", {"value": "ann.jpg"}),
        check=("FaceChain_CheckPhotos", {"images": ["photos", 0], "names": ["name", 0]}),
    )
    with pytest.raises(PromptFailed, match="names has 1 and images has 2 entries"):
        client.run(nodes)
