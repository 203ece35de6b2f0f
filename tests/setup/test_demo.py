"""The demo's page and workflows, and the whole of it on a real host."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from launcher import demo, page, places
from launcher.demo import PORTRAIT, TRAIN
from launcher.workflows import Workflow, widget_positions

SAMPLE = places.ROOT / "assets" / "sample" / "eileen_collins.png"


def report(*stand_ins: str) -> dict:
    return {"report": [{"title": "Said", "rows": [], "notes": [], "stand_ins": list(stand_ins)}]}


@pytest.mark.parametrize("title", [TRAIN, PORTRAIT])
def test_both_forms_of_a_workflow_hold_the_same_values(title):
    workflow = Workflow(title)
    nodes = {str(node["id"]): node for node in workflow.editor["nodes"]}
    compared = 0
    for number, node in workflow.api.items():
        for name, position in widget_positions(nodes[number]):
            if name not in node["inputs"]:  # a button, which is of the editor alone
                continue
            value = node["inputs"][name]
            if not isinstance(value, list):  # a list is a link to another node
                assert nodes[number]["widgets_values"][position] == value, (number, name)
                compared += 1
    assert compared > 20


def test_a_change_reaches_both_forms(tmp_path):
    workflow = Workflow(PORTRAIT)
    workflow.change("KSampler", steps=7, cfg=3.5)
    workflow.change("CLIPTextEncode", "What to show", text="somebody")
    files = workflow.save(tmp_path)
    api, editor = (json.loads(file.read_text()) for file in files)
    sampler = api[workflow.id_of("KSampler")]["inputs"]
    assert (sampler["steps"], sampler["cfg"]) == (7, 3.5)
    texts = [node["inputs"]["text"] for node in api.values() if node["class_type"] == "CLIPTextEncode"]
    assert texts[0] == "somebody" != texts[1]
    node = next(node for node in editor["nodes"] if node["type"] == "KSampler")
    values = {name: node["widgets_values"][position] for name, position in widget_positions(node)}
    assert (values["steps"], values["cfg"], values["scheduler"]) == (7, 3.5, sampler["scheduler"])
    assert Workflow(PORTRAIT).api != api


def test_stand_ins_follow_the_code_that_makes_them():
    sources = {file.relative_to(places.ROOT / "facechain_impl").as_posix() for file in demo._stand_in_sources()}
    assert {"weights/stand_ins/checkpoint.py", "weights/stand_ins/networks.py", "host/checkpoints.py", "networks/rts.py"} <= sources


def test_a_workflow_without_the_node_is_an_error():
    with pytest.raises(KeyError, match="holds no Nothing"):
        Workflow(PORTRAIT).change("Nothing", steps=1)


def test_nothing_is_warned_of_without_stand_ins():
    results = page.Results({})
    results.add_reports("One", {"A": report(), "B": {"images": []}})
    assert page.warnings(results) == []


@pytest.mark.parametrize(("stand_ins", "words"), [(["rts"], "likeness scores mean nothing"), (["x.safetensors"], "portraits are noise")])
def test_stand_ins_are_warned_of_in_plain_words(stand_ins, words):
    results = page.Results({})
    results.add_reports("One", {"A": report(*stand_ins)})
    assert words in " ".join(page.warnings(results))


def test_the_page_escapes_what_people_wrote(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "loss.png")
    (tmp_path / "lora").write_bytes(b"1")
    crop = shutil.copy2(tmp_path / "loss.png", tmp_path / "<b>.png")
    results = page.Results({"steps": 1}, crops=[Path(crop)], captions=["<script>alert(1)</script>"], lora=tmp_path / "lora")
    page.write(tmp_path, results)
    text = (tmp_path / page.FILE_NAME).read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text


def is_self_contained(text: str) -> bool:
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    return bool(sources) and all(source.startswith("data:image/png;base64,") for source in sources) and "<script" not in text


@pytest.mark.slow
@pytest.mark.host
def test_the_whole_demo_on_a_users_comfyui(run_py, host, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    shutil.copy2(SAMPLE, photos / "2.png")
    with Image.open(SAMPLE) as sample:
        sample.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((640, 640)).save(photos / "10.png")
        sample.resize((600, 600)).save(photos / "30.png")  # a second copy, which is left out of the training
    Image.new("RGB", (64, 64), "grey").save(photos / "wall.png")
    before = sorted(str(path) for path in Path(host["COMFYUI_PATH"]).rglob("*") if "__pycache__" not in path.parts)

    sizes = ["--steps", 3, "--size", 64, "--portraits", 2, "--sampling-steps", 1]
    done = run_py("demo", "--photos", photos, "--out", out, "--who", "a pilot", *sizes, timeout=1200, **host)
    assert done.returncode == 0, done.stdout + done.stderr

    assert sorted(path.name for path in (out / "crops").iterdir()) == ["10.png", "2.png"]
    ((width, height),) = {Image.open(path).size for path in (out / "crops").iterdir()}
    assert width == height and 512 <= width <= 1536, "crops as large as the photos show the face"
    assert (out / "captions.txt").read_text() == "2.png\t<fcsks>, a pilot\n10.png\t<fcsks>, a pilot\n"
    with safe_open(out / "demo.safetensors", "pt") as lora:
        assert len(lora.keys()) > 100
    assert Image.open(out / "loss.png").width > 100
    assert [Image.open(path).size for path in sorted((out / "portraits").iterdir())] == [(64, 64)] * 2
    ranking = json.loads((out / "ranking.json").read_text())
    with (out / "ranking.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [row["file"] for row in ranking] == ["portraits/01.png", "portraits/02.png"]
    assert [row["reason"] for row in ranking] == ["no face found"] * 2
    assert sorted(path.name for path in (out / "workflows").iterdir()) == sorted(
        f"{title}{form}.json" for title in (TRAIN, PORTRAIT) for form in ("", " (API)")
    )
    aligned = json.loads((out / "reports.json").read_text())[TRAIN]["Cut out the faces"]["rows"]
    assert [(row["name"], row["status"]) for row in aligned] == [
        ("2.png", "aligned"), ("10.png", "aligned"), ("30.png", "aligned"), ("wall.png", "rejected"),
    ]  # fmt: skip

    text = (out / page.FILE_NAME).read_text()
    assert is_self_contained(text)
    for words in ("portraits are noise", "likeness scores mean nothing", "wall.png"):
        assert words in text
    for words in ("portraits are noise", "likeness scores mean nothing"):
        assert words in done.stdout
    assert str(out / page.FILE_NAME) in done.stdout.splitlines()[-1]
    assert sorted(str(path) for path in Path(host["COMFYUI_PATH"]).rglob("*") if "__pycache__" not in path.parts) == before
