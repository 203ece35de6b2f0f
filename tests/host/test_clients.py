"""Every shipped workflow in API form through other people's clients, against the real host: comfy-cli, ComfyScript, ComfyUI's example."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from facechain_impl.weights import workflows
from facechain_impl.weights.stand_ins.controlnet import write_controlnet
from launcher.client import Client
from launcher.places import ROOT
from launcher.server import Server
from launcher.testing import in_ci

from ..browser.runs import wait_for_run
from . import small_model_node
from .made import recording, store_people
from .outsiders import Outsiders, readme

pytestmark = [pytest.mark.host, pytest.mark.slow]

SAMPLE = ROOT / "assets" / "sample" / "eileen_collins.png"
TWINS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "workflows" / "api").glob("*.json"))}
USUAL = "Train My Portrait"
CLIENTS = (Outsiders.comfy_run, Outsiders.comfy_script, Outsiders.websocket_example)
# All that differs from a twin when it is run here: full steps and sizes take hours. What it names is there under that name.
SMALL = {
    "EmptyLatentImage": {"width": 64, "height": 64, "batch_size": 1},
    "KSampler": {"steps": 1},
    "FaceChain_TrainFaceLoRA": {"steps": 2, "resolution": 64},
    "FaceChain_TwoStageInpaint": {"steps": 2, "crop_size": 64},
}
LOADERS = ("UNETLoader", "CLIPLoader", "VAELoader")
PHOTOS, PEOPLE = ("anna 1.jpg", "anna 2.jpg"), ("Anna", "Ben")
NETWORKS = ("rts", "m2fp", "sadtalker_256", "sadtalker_mapping_full")
SAVES = {"SaveImage", "SaveVideo", "PreviewImage", "LossGraphNode"}
# Chosen from in "Talking Portrait Or Speech To Video", and not opened while its switch is off.
UNOPENED = (
    "diffusion_models/wan2.2_s2v_14B_fp8_scaled.safetensors", "text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors",
    "vae/wan_2.1_vae.safetensors", "audio_encoders/wav2vec2_large_english_fp16.safetensors",
)  # fmt: skip


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter that has the clients."""
    named = os.environ.get("FACECHAIN_CLIENTS")
    if not named:
        (pytest.fail if in_ci() else pytest.skip)("FACECHAIN_CLIENTS names no other clients; `python run.py test` installs them")
    return Path(named)


@pytest.fixture
def outsiders(python: Path, server: Server, tmp_path: Path) -> Outsiders:
    return Outsiders(python, tmp_path, server)


@pytest.fixture(scope="module")
def files(python: Path, server: Server, checkpoint: str, stand_in) -> Iterator[None]:
    """What the twins name, under the names that they use. It goes away again, since other tests count on its absence."""
    for name in NETWORKS:
        stand_in(name)
    models, inputs = server.base / "models", server.base / "input"
    named = {models / name: b"" for name in UNOPENED} | {inputs / name: SAMPLE.read_bytes() for name in ("portrait.png", *PHOTOS)}
    named[inputs / "speech.wav"] = recording(0.4)
    named[models / "checkpoints" / "v1-5-pruned-emaonly-fp16.safetensors"] = (models / "checkpoints" / checkpoint).read_bytes()
    for path, content in named.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    control = [models / "controlnet" / f"control_v11p_sd15_{kind}_fp16.safetensors" for kind in ("openpose", "canny")]
    for seed, path in enumerate(control, 1):
        write_controlnet(path, seed)
    store_people(models, PEOPLE)
    yield
    for path in (*named, *control, *(server.base / "temp").glob("facechain_talking_*.mp4")):
        path.unlink()
    for name in (*PEOPLE, "my_face"):
        shutil.rmtree(models / "facechain" / "persons" / name, ignore_errors=True)


def small(title: str) -> dict:
    graph = json.loads(json.dumps(TWINS[title]))
    for node in graph.values():
        node["inputs"].update(SMALL.get(node["class_type"], {}))
    return with_small_model(graph) if "FaceChain_TrainFaceLoRA" in {node["class_type"] for node in graph.values()} else graph


def with_small_model(graph: dict) -> dict:
    """A node of the tests in the place of the loaders of a diffusion model in several files."""
    places = {number: LOADERS.index(node["class_type"]) for number, node in graph.items() if node["class_type"] in LOADERS}
    if not places:
        return graph
    first, *others = sorted(places, key=places.__getitem__)
    graph[first] |= {"class_type": small_model_node.NAME, "inputs": {"family": "Z-Image"}}
    for number in others:
        del graph[number]
    for node in graph.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list) and value[0] in places:
                node["inputs"][name] = [first, places[value[0]]]
    return graph


def with_chosen_files_and_more_loras() -> dict:
    """Inputs that no twin has: names of photos, one per line, and a LoRA in a socket that grows."""
    graph = small("Portrait In A Style")
    graph["8"]["inputs"] |= {"source": "Files", "files": "\n".join(PHOTOS)}
    graph["2"]["inputs"]["more.entry0"] = ["12", 0]
    entry = {"file": "None", "weight_model": 0.5, "weight_text": 0.5, "role": "style", "person": ["11", 0]}
    more = {"11": ("FaceChain_LoadPerson", {"person": "Anna"}), "12": ("FaceChain_LoRAEntry", entry)}
    return {number: {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in more.items()} | graph


GRAPHS = {title: small(title) for title in TWINS} | {"Chosen files, more LoRAs": with_chosen_files_and_more_loras()}


def differences(kinds: dict, sent: dict, number: str, got: dict, other: str) -> list[str]:
    """Where `other` in `got`, with everything that it needs, is not node `number` in `sent`. What was not sent may have its default."""
    node, found = sent[number], got[other]
    if node["class_type"] != found["class_type"]:
        return [f"{number}: {node['class_type']} became {found['class_type']}"]
    lost = node["inputs"].keys() - found["inputs"].keys()
    wrong = [f"{number}: {node['class_type']} lost {key}" for key in sorted(lost)]
    for key, value in found["inputs"].items():
        expected = node["inputs"][key] if key in node["inputs"] else default(kinds[node["class_type"]], key)
        if isinstance(expected, list) and isinstance(value, list) and expected[1] == value[1]:
            wrong += differences(kinds, sent, expected[0], got, value[0])
        elif (value, type(value)) != (expected, type(expected)):
            wrong.append(f"{number}: {node['class_type']} got {value!r} for {key}, not {expected!r}")
    return wrong


def default(kind: dict, key: str) -> object:
    options = {**kind["input"].get("required", {}), **kind["input"].get("optional", {})}[key][1]
    return options.get("default", next(iter(options.get("options", [])), None))


def ends(graph: dict) -> dict[str, str]:
    """The kinds of the nodes that save what a graph makes -> their numbers."""
    return {node["class_type"]: number for number, node in graph.items() if node["class_type"] in SAVES}


def all_but_usual_as_matrix(titles: Iterable[str]) -> list:
    return [title if title == USUAL else pytest.param(title, marks=pytest.mark.matrix) for title in titles]


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("run", CLIENTS, ids=lambda run: run.__name__)
@pytest.mark.parametrize("title", all_but_usual_as_matrix(GRAPHS))
def test_every_twin_through_every_client(client: Client, outsiders: Outsiders, title, run):
    """One more prompt in the history, of the graph that was given, with everything saved that can be fetched."""
    graph, kinds, before = GRAPHS[title], client.object_info(), set(client.get("/history"))
    said = run(outsiders, graph)
    entry = wait_for_run(client, before)
    (prompt,) = set(client.get("/history")) - before
    _, _, got, *_ = entry["prompt"]
    assert ends(graph) and ends(graph).keys() == ends(got).keys()
    for kind, number in ends(graph).items():
        assert differences(kinds, graph, number, got, ends(got)[kind]) == []
        assert all(client.view(image) for image in entry["outputs"][ends(got)[kind]]["images"])
    if run is Outsiders.websocket_example:
        assert json.loads(said.splitlines()[-1]) == {number: len(output.get("images", [])) for number, output in entry["outputs"].items()}
    else:
        assert prompt in said


@pytest.mark.usefixtures("files")
def test_the_program_in_the_readme(client: Client, outsiders: Outsiders):
    prompt = outsiders.program(readme("comfy_script")).split()[-1]
    entry = client.wait(prompt)
    (images,) = [output["images"] for output in entry["outputs"].values() if "images" in output]
    assert [image["filename"].startswith("crops") for image in images] == [True, True]


@pytest.mark.usefixtures("files")
def test_programs_that_comfy_script_writes_lose_nothing_but_sockets_that_grow(client: Client, outsiders: Outsiders):
    kinds, titles = client.object_info(), list(GRAPHS)
    for title, got in zip(titles, outsiders.translated([GRAPHS[title] for title in titles]), strict=True):
        graph = GRAPHS[title]
        wrong = [row for kind, number in ends(graph).items() for row in differences(kinds, graph, number, got, ends(got)[kind])]
        grown = [f"{number}: {node['class_type']} lost {key}" for number, node in graph.items() for key in node["inputs"] if "." in key]
        assert set(wrong) == set(grown), title


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("title", all_but_usual_as_matrix(TWINS))
def test_a_twin_opens_the_published_files_that_are_got_for_it(client: Client, title):
    """Those that it cannot do without, and none that `models get --for` leaves out."""
    graph = small(title)
    for node in graph.values():
        if "seed" in node["inputs"]:  # the host shows no report of what it did for another workflow
            node["inputs"]["seed"] = 1000 + list(TWINS).index(title)
    reports = [report for shown in client.run(graph)["outputs"].values() for report in shown.get("report", ())]
    rows = [row for report in reports if isinstance(report, dict) for row in report["used"]]
    opened = {row["name"].partition(".")[0] for row in rows if row["opened"] and row["kind"] == "network"}
    got = [one for one in workflows.wanted(title) if one.entry.is_ours]
    assert opened and {one.entry.name for one in got if not one.spared} <= opened <= {one.entry.name for one in got}
