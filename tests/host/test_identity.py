"""Check Models, Caption Crops and Rank by Likeness inside a real host, on the sample photo and on real photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from facechain_impl.geometry.affine import align112
from facechain_impl.networks.rts import RTS
from facechain_impl.perception.detection import BuiltInDetector
from facechain_impl.weights import catalogue, download
from facechain_impl.weights.stand_ins import networks as stand_ins
from launcher.client import Client, PromptFailed
from launcher.server import Server

pytestmark = pytest.mark.host

SAMPLE = Path(__file__).parents[2] / "assets" / "sample" / "eileen_collins.png"
FOLDER = "identity-test"


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def photos(folder: str) -> dict:
    return node("FaceChain_LoadPhotos", source="Folder", folder=folder, files="")


def rank(images: list, **inputs) -> dict:
    settings = {
        "detector": "Built-in", "choose_reference": False, "one_face_only": True, "check_face_size": False, "min_face": 120,
        "max_face": 300, "keep_best": 0, "no_face": "Pass through",
    }  # fmt: skip
    return node("FaceChain_RTSRank", images=images, **settings | inputs)


def tag(images: list, **inputs) -> dict:
    settings = {
        "trigger": "own words", "own_words": "a pilot", "token": "<fcsks>", "extra_tags": "", "append_tags": False, "tag_threshold": 0.5,
        "age_table": "FaceChain: child under 10, mature from 40", "detector": "Built-in", "no_face": "Stop",
    }  # fmt: skip
    return node("FaceChain_Tagger", images=images, **settings | inputs)


def rows(entry: dict, number: str) -> list[dict]:
    return entry["outputs"][number]["report"][0]["rows"]


@pytest.fixture(scope="module")
def weights(server: Server):
    """Stand-ins of what ranking needs; their folder."""
    folder = server.base / "models" / "facechain_stand_ins"
    for name in ("rts", "fqa", "fairface"):
        stand_ins.write_stand_in(name, folder)
    return folder


@pytest.fixture(scope="module")
def folder(server: Server) -> Path:
    """Four pictures: one without a face, the sample photo, and two darker ones."""
    target = server.base / "input" / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    sample = Image.open(SAMPLE).convert("RGB")
    Image.fromarray(np.full((200, 300, 3), 90, np.uint8)).save(target / "1_grey.png")
    sample.save(target / "2_sample.png")
    sample.point(lambda value: value * 3 // 4).save(target / "3_darker.png")
    sample.point(lambda value: value // 2).save(target / "4_dark.png")
    return target


def test_check_models_lists_every_file(client: Client, weights):
    entry = client.run({"1": node("FaceChain_ModelCheck")})
    table = {row["name"]: row for row in rows(entry, "1")}
    assert table.keys() == {one.name for one in catalogue.ENTRIES}
    assert table["rts"]["status"] == "stand-in"
    assert table["base_sdxl"]["status"] == "missing"
    assert "non-commercial" in table["m2fp"]["values"]["licence"]


def test_check_models_runs_again_when_a_file_changes(client: Client, server: Server, weights):
    graph = {"1": node("FaceChain_ModelCheck")}
    client.run(graph)
    assert "1" in cached(client.run(graph))
    place = server.base / "models" / "facechain" / catalogue.get("fusion_alpha").place
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"no picture")
    entry = client.run(graph)
    assert "1" not in cached(entry)
    assert {row["name"]: row["status"] for row in rows(entry, "1")}["fusion_alpha"] == "damaged"
    place.unlink()


def test_check_models_says_what_gets_everything_for_a_workflow(client: Client, server: Server, weights):
    """And looks again when a loader's own file arrives."""
    graph = {"1": node("FaceChain_ModelCheck")}
    lacking = (
        'Train My Portrait lacks base_sd15, rts, fqa, face_frombase_c4. All at once: python run.py models get --for "Train My Portrait"'
    )
    assert lacking in client.run(graph)["outputs"]["1"]["report"][0]["notes"]
    place = server.base / "models" / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.touch()
    try:
        notes = client.run(graph)["outputs"]["1"]["report"][0]["notes"]
    finally:
        place.unlink()
    assert lacking not in notes and lacking.replace("base_sd15, ", "") in notes


def test_the_hosts_loaders_are_called_as_messages_say(client: Client):
    info = client.object_info()
    loaders = ("CheckpointLoaderSimple", "DiffusersLoader", "ControlNetLoader", "LoraLoader", "UpscaleModelLoader")
    names = [info[loader]["display_name"] for loader in loaders]
    assert all(said.startswith(name.partition(" (Model")[0]) for said, name in zip(download.LOADERS.values(), names, strict=True))


def test_check_training_photos_runs_again_when_the_recognition_network_arrives(client: Client, folder, weights):
    """Once it kept its old answer."""
    graph = {"1": photos(FOLDER), "2": node("FaceChain_CheckPhotos", images=["1", 0])}
    hidden = (weights / "rts.safetensors").rename(weights / "rts.hidden")
    try:
        before = client.run(graph)
    finally:
        hidden.rename(weights / "rts.safetensors")
    after = client.run(graph)
    assert "2" not in cached(after) and "2" in cached(client.run(graph))
    likeness = [[row["values"]["like the others"] for row in rows(entry, "2")] for entry in (before, after)]
    assert not any(likeness[0]) and any(likeness[1])


def study(images: list, **inputs) -> dict:
    return node("FaceChain_CheckPhotos", images=images, **inputs)


def test_good_photos_go_on_with_their_faces_and_names(client: Client, folder, weights):
    """Of a wall, a photo and two darker copies of it, through the captions."""
    graph = {
        "1": photos(FOLDER),
        "2": node("FaceChain_FindFaces", images=["1", 0], detector="Built-in", no_face="Skip", names=["1", 1]),
        "3": study(["1", 0], faces=["2", 0], leave_out="Bad photos"),
        "4": tag(["3", 1], faces=["3", 2]),
        "5": node("PreviewImage", images=["3", 1]),
        "6": node("PreviewAny", source=["3", 3]),
    }
    entry = client.run(graph)
    assert [(row["name"], row["status"], row["reason"]) for row in rows(entry, "3")] == [
        ("1_grey.png", "left out", "no face was found"),
        ("2_sample.png", "check", "the face is small"),
        ("3_darker.png", "left out", "the face is small; nearly the same as 2_sample.png"),
        ("4_dark.png", "left out", "nearly the same as 2_sample.png"),
    ]
    assert [row["name"] for row in rows(entry, "4")] == ["2_sample.png"] and entry["outputs"]["6"]["text"] == ["2_sample.png"]
    (kept,) = entry["outputs"]["5"]["images"]
    assert np.array_equal(np.asarray(Image.open(save(client, kept, folder))), np.asarray(Image.open(SAMPLE).convert("RGB")))
    notes = entry["outputs"]["3"]["report"][0]["notes"]
    assert "Not in the outputs images, faces and names: 1_grey.png, 3_darker.png, 4_dark.png (leave_out is Bad photos)." in notes
    assert any(note.startswith("Face Align's white_background would help: 4 of 4 photos with surroundings") for note in notes)
    graph["3"]["inputs"]["leave_out"] = "Nothing"
    assert len(rows(client.run(graph), "4")) == 4


def test_nothing_left_stops_only_what_follows(client: Client):
    graph = {
        "1": node("EmptyImage", width=96, height=64, batch_size=2, color=0),
        "2": study(["1", 0]),
        "3": node("PreviewAny", source=["2", 0]),
    }
    assert [row["status"] for row in rows(client.run(graph), "2")] == ["left out"] * 2
    graph["1"]["inputs"]["color"] = 1
    graph["4"] = tag(["2", 1])
    with pytest.raises(PromptFailed, match=r"for the nodes that follow\. photo 1: no face was found; photo 2: no face was found"):
        client.run(graph)


def test_sentences_of_another_node_become_captions(client: Client, folder):
    """Written by a node of the host that runs once for each photo, as Generate Text does."""
    graph = {
        "1": photos(FOLDER),
        "2": node("StringConcatenate", string_a=["1", 1], string_b="is the photo,\nby day", delimiter=" "),
        "3": tag(["1", 0], captions=["2", 0]),
    }
    texts = [row["values"]["caption"] for row in rows(client.run(graph), "3")]
    assert texts[0] == "<fcsks>, a pilot, 1_grey.png is the photo, by day" and len(set(texts)) == 4
    graph["2"]["inputs"]["string_a"] = "This"
    with pytest.raises(PromptFailed, match="captions has 1 and images has 4 entries; expected one for each.*Rebatch Images"):
        client.run(graph)


def test_a_caption_edited_over_http_stays_with_its_photo(client: Client, folder):
    """The key is in the history of a run before; the edit is text in the prompt."""
    graph = {"1": photos(FOLDER), "2": tag(["1", 0])}
    grid = client.run(graph)["outputs"]["2"]["captions"]
    assert [(one["name"], one["automatic"], one["edited"]) for one in grid] == [
        (f"picture {number}", "<fcsks>, a pilot", "") for number in range(1, 5)
    ]
    assert all(one["picture"].startswith("data:image/jpeg;base64,") for one in grid)
    graph["2"]["inputs"]["edits"] = f"{grid[1]['key']}: <fcsks>, a pilot, in an orange suit"
    table = rows(client.run(graph), "2")
    assert [(row["status"], row["reason"]) for row in table] == [("captioned", ""), ("edited", "edited by hand"), *[("captioned", "")] * 2]
    assert table[1]["values"]["caption"] == "<fcsks>, a pilot, in an orange suit"
    graph["2"]["inputs"]["edits"] = "2: in an orange suit"
    with pytest.raises(PromptFailed, match="edits, line 1: '2: in an orange suit' is not an edited caption"):
        client.run(graph)


def cached(entry: dict) -> list[str]:
    return [name for kind, message in entry["status"]["messages"] if kind == "execution_cached" for name in message["nodes"]]


def test_one_caption_for_each_picture(client: Client, folder):
    graph = {
        "1": photos(FOLDER),
        "2": tag(["1", 0], extra_tags="outdoors\nuniform\n\nhat"),
        "3": node("PreviewAny", source=["2", 0]),
        "4": node("PreviewAny", source=["2", 1]),
    }
    entry = client.run(graph)
    texts = [row["values"]["caption"] for row in rows(entry, "2")]
    assert texts == ["<fcsks>, a pilot, outdoors", "<fcsks>, a pilot, uniform", "<fcsks>, a pilot", "<fcsks>, a pilot, hat"]
    assert entry["outputs"]["4"]["text"] == ["<fcsks>, a pilot"]


def test_automatic_trigger_and_the_policy(client: Client, folder, weights):
    graph = {"1": photos(FOLDER), "2": tag(["1", 0], trigger="automatic"), "3": node("PreviewAny", source=["2", 0])}
    with pytest.raises(PromptFailed, match=r"picture 1 \(1 of 4\)"):
        client.run(graph)
    graph["2"]["inputs"]["no_face"] = "Skip"
    entry = client.run(graph)
    table = rows(entry, "2")
    assert table[0]["reason"] == "no face found, so it does not count for the trigger"
    assert len({row["values"]["caption"] for row in table}) == 1
    assert entry["outputs"]["2"]["report"][0]["stand_ins"] == ["fairface"]


def test_ranking_of_the_sample(client: Client, folder, weights):
    graph = {"1": photos(FOLDER), "2": node("FaceChain_LoadPhotos", source="Sample photo", folder=".", files="")}
    graph |= {"3": rank(["1", 0], reference=["2", 0]), "4": node("PreviewImage", images=["3", 0])}
    entry = client.run(graph)
    table = rows(entry, "3")
    assert table[0]["name"] == "picture 2"
    assert table[0]["values"]["score"] == pytest.approx(1, abs=1e-5)
    assert [row["status"] for row in table] == ["ranked"] * 3 + ["passed through"]
    assert (table[3]["name"], table[3]["reason"], table[3]["values"]["score"]) == ("picture 1", "no face found", None)
    pictures = [np.asarray(Image.open(save(client, image, folder))) for image in entry["outputs"]["4"]["images"]]
    assert np.array_equal(pictures[0], np.asarray(Image.open(SAMPLE).convert("RGB")))
    assert pictures[3].shape == (200, 300, 3)
    assert "rts" in entry["outputs"]["3"]["report"][0]["stand_ins"]


def save(client: Client, image: dict, folder: Path) -> Path:
    path = folder.parent / f"view-{image['filename']}"
    path.write_bytes(client.view(image))
    return path


@pytest.mark.parametrize(("no_face", "count"), [("Skip", 3), ("Stop", None)])
def test_the_policy_of_the_ranking(client: Client, folder, weights, no_face, count):
    graph = {"1": photos(FOLDER), "2": rank(["1", 0], reference=["1", 0], no_face=no_face), "3": node("PreviewImage", images=["2", 0])}
    if count is None:
        with pytest.raises(PromptFailed, match="picture 1: no face found"):
            client.run(graph)
    else:
        entry = client.run(graph)
        assert len(entry["outputs"]["3"]["images"]) == count
        assert rows(entry, "2")[-1]["status"] == "left out"


def test_missing_weights_name_the_file_and_the_server_goes_on(client: Client, folder, weights):
    graph = {"1": photos(FOLDER), "2": rank(["1", 0], reference=["1", 0], no_face="Skip")}
    hidden = (weights / "rts.safetensors").rename(weights / "rts.hidden")
    try:
        with pytest.raises(
            PromptFailed, match=r"\(Face recognition RTS\) is not on this machine\..*Rank by Likeness \(RTS\).*run\.py models get rts"
        ):
            client.run(graph)
    finally:
        hidden.rename(weights / "rts.safetensors")
    assert len(rows(client.run(graph), "2")) == 4


def test_nothing_to_compare_with(client: Client, folder, weights):
    with pytest.raises(PromptFailed, match="nothing to compare with"):
        client.run({"1": photos(FOLDER), "2": rank(["1", 0])})


def test_order_of_real_photographs_against_recomputed_cosines(client: Client, server: Server, photographs, weights):
    target = server.base / "input" / "real"
    names = {f"{person}_{path.name}": path for person in ("person_a", "person_b") for path in sorted((photographs / person).glob("*.jpg"))}
    target.mkdir(parents=True, exist_ok=True)
    for name, path in names.items():
        shutil.copy(path, target / name)
    graph = {"1": photos("real"), "2": node("FaceChain_LoadPhotos", source="Sample photo", folder=".", files="")}
    entry = client.run(graph | {"3": rank(["1", 0], reference=["2", 0], no_face="Skip")})
    table = [row for row in rows(entry, "3") if row["values"]["score"] is not None]
    expected = recomputed([target / name for name in sorted(names)], weights)
    assert len(table) >= 5
    assert {row["name"]: row["values"]["score"] for row in table} == pytest.approx(expected, abs=2e-4)
    assert [row["name"] for row in table] == sorted((row["name"] for row in table), key=lambda name: -expected[name])


def recomputed(paths: list[Path], weights: Path) -> dict[str, float]:
    """Cosines with the sample photo, from the network alone."""
    network = RTS.from_state_dict(load_file(weights / "rts.safetensors"))
    vectors = {}
    for number, path in enumerate([SAMPLE, *paths]):
        image = torch.from_numpy(np.asarray(Image.open(path).convert("RGB"), np.float32) / 255)
        (faces,) = BuiltInDetector().detect([image])
        if len(faces) == 1:
            vector = network(align112(image, faces[0].points).permute(2, 0, 1)[None] * 2 - 1).vector[0].double()
            vectors[f"picture {number}"] = vector / vector.norm()
    reference = vectors.pop("picture 0")
    return {name: float(vector @ reference) for name, vector in vectors.items()}


def test_scores_are_json_in_the_history(client: Client, folder, weights):
    entry = client.run({"1": photos(FOLDER), "2": rank(["1", 0], reference=["1", 0], keep_best=1)})
    assert json.loads(json.dumps(entry["outputs"]["2"]["report"][0], allow_nan=False))["rows"][-1]["reason"].startswith(
        "not among the best 1"
    )
