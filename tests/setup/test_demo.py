"""The demo's workflows, people and settings, and the whole of it on a real host."""

from __future__ import annotations

import argparse
import csv
import json
import re
import shutil
import struct
import wave
from pathlib import Path

import pytest
from PIL import Image
from safetensors import safe_open

from launcher import cli, demo, places
from launcher.client import PromptFailed
from launcher.console import Failure
from launcher.demo import graphs, material, page, steps, voice
from launcher.demo.clock import Clock, Job, Kind
from launcher.demo.settings import POCKET, STRENGTHS, USUAL
from launcher.demo.steps import PAINT, PORTRAIT, TRAIN
from launcher.workflows import Workflow, widget_positions

SAMPLE = material.ASTRONAUT.photos[0]


def painted() -> Workflow:
    workflow = Workflow(PAINT)
    graphs.give_mask(workflow)
    graphs.give_first_stage(workflow, "girl.png")
    return workflow


def filled() -> Workflow:
    workflow = Workflow(TRAIN)
    graphs.fill_with_faces(workflow, 0.55, 512)
    return workflow


WORKFLOWS = [lambda: Workflow(TRAIN), lambda: Workflow(PORTRAIT), lambda: Workflow(PAINT), filled, painted]


@pytest.mark.parametrize("make", WORKFLOWS, ids=["train", "portrait", "paint", "train on faces", "paint the demo's picture"])
def test_both_forms_of_a_workflow_are_the_same_graph(make):
    workflow = make()
    nodes = {str(node["id"]): node for node in workflow.editor["nodes"]}
    links = {link[0]: [str(link[1]), link[2]] for link in workflow.editor["links"]}
    compared = 0
    for number, node in workflow.api.items():
        assert (nodes[number]["type"], nodes[number]["title"]) == (node["class_type"], node["_meta"]["title"])
        linked = {slot["name"]: links[slot["link"]] for slot in nodes[number]["inputs"] if slot["link"] is not None}
        assert linked == {name: value for name, value in node["inputs"].items() if isinstance(value, list)}
        for name, position in widget_positions(nodes[number]):
            if name in node["inputs"] and name not in linked:  # others are buttons, which are of the editor alone
                assert nodes[number]["widgets_values"][position] == node["inputs"][name], (number, name)
                compared += 1
    given = sorted(link for node in nodes.values() for slot in node.get("outputs", []) for link in slot["links"] or [])
    assert given == sorted(links) and compared > 20


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


def test_the_closer_crops_are_what_is_checked_and_trained_on():
    workflow = filled()
    photos, aligned, largest, closer = (
        workflow.id_of(f"FaceChain_{kind}") for kind in ("LoadPhotos", "FaceAlign", "PickFaces", "CropFaces")
    )
    checked = workflow.api[workflow.id_of("FaceChain_CheckPhotos")]["inputs"]
    assert (checked["images"], checked["faces"]) == ([closer, 0], [closer, 1])
    assert workflow.api[largest]["inputs"]["faces"] == [aligned, 1]
    assert workflow.api[closer]["inputs"] == {
        "size": 512, "face_share": 0.55, "upright": True, "images": [photos, 0], "faces": [largest, 0]
    }  # fmt: skip
    assert workflow.api[aligned]["inputs"]["main_face_ratio"] == 1.0


def test_the_painting_needs_neither_controlnets_nor_a_parsing_network():
    workflow = painted()
    inputs = workflow.api[workflow.id_of("FaceChain_TwoStageInpaint")]["inputs"]
    assert not {"pose_control_net", "canny_control_net"} & inputs.keys()
    assert inputs["face_mask"] == inputs["human_mask"] == [workflow.id_of("LoadImageMask"), 0]
    with Image.open(material.CANVAS) as picture, Image.open(material.CANVAS_FACE) as mask:
        assert picture.size == mask.size
        assert 0.03 < sum(mask.convert("L").histogram()[128:]) / (mask.width * mask.height) < 0.1


def test_a_workflow_without_the_node_is_an_error():
    with pytest.raises(KeyError, match="holds no Nothing"):
        Workflow(PORTRAIT).change("Nothing", steps=1)


def test_what_is_made_follows_the_code_that_makes_it():
    sources = material.source_files([*material.STAND_IN_SOURCES, *material.POCKET_SOURCES])
    names = {file.relative_to(places.ROOT / "facechain_impl").as_posix() for file in sources}
    assert {"weights/stand_ins/networks.py", "host/checkpoints.py", "networks/rts.py", "weights/pocket.py"} <= names


def test_the_file_has_the_name_by_which_reports_know_the_pocket_model():
    from facechain_impl.weights import pocket

    assert (pocket.MODEL, pocket.FILE_NAME) == (material.POCKET, material.POCKET_FILE)


def test_sample_people_are_here_with_their_source():
    for person in material.SAMPLES:
        for file in filter(None, [*person.photos, person.held_out]):
            with Image.open(file) as picture:
                assert min(picture.size) >= 256, file
        assert "public domain" in person.credit or "drawn by a program" in person.credit
    told = (material.PAINTINGS / "README.md").read_text(encoding="utf-8")
    assert all(f"`{file.name}`" in told for file in material.PAINTINGS.iterdir() if file.name != "README.md")
    assert len({person.name for person in material.SAMPLES}) == 4


def test_people_are_the_samples_or_the_users(tmp_path):
    assert material.people(None, is_pocket=True) == material.SAMPLES
    assert material.people(None, is_pocket=False) == (material.ASTRONAUT,)
    for name in ("2.jpg", "1.png", "notes.txt"):
        (tmp_path / name).touch()
    (person,) = material.people(tmp_path, is_pocket=True)
    assert [file.name for file in person.photos] == ["1.png", "2.jpg"] and not person.is_sample


def test_a_held_out_picture_is_compared_with_and_not_trained_on(tmp_path):
    material.place_inputs(material.SAMPLES, tmp_path)
    drawn, girl = material.DRAWN_PERSON, material.GIRL
    assert drawn.held_out and drawn.held_out not in drawn.photos
    assert sorted(path.name for path in (tmp_path / "input" / drawn.name).iterdir()) == [file.name for file in drawn.photos]
    assert [path.name for path in (tmp_path / "input" / drawn.comparison).iterdir()] == ["held_out.png"]
    assert girl.comparison == girl.name
    assert (tmp_path / "input" / "painted_into" / "mona_lisa.jpg").is_file()


def options(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    demo.add_arguments(parser)
    return parser.parse_args(words)


def test_options_change_the_numbers_and_nothing_else():
    assert POCKET.changed(options()) == POCKET
    changed = POCKET.changed(options("--steps", "7", "--size", "64", "--portraits", "2", "--sampling-steps", "3"))
    assert (changed.steps, changed.size, changed.portraits, changed.sampling_steps) == (7, 64, 2, 3)
    assert (changed.training, changed.cfg, changed.face_share) == (POCKET.training, POCKET.cfg, POCKET.face_share)


def test_one_photo_is_trained_shorter_unless_the_user_says_how_long():
    assert [POCKET.training_steps(photos) for photos in (1, 2, 6)] == [200, 400, 400]
    assert POCKET.changed(options("--steps", "7")).training_steps(1) == 7
    assert USUAL.training_steps(1) == USUAL.steps == 0
    jobs = {job.title: job.units for job in steps.plan(material.SAMPLES, POCKET)}
    assert jobs[f"{material.GIRL.title}: training"] == 200
    assert jobs[f"{material.DRAWN_PERSON.title}: training"] == 400


def test_the_prompt_has_the_trigger_and_what_the_person_is_called():
    assert POCKET.prompt("a pilot") == "<fcsks>, a pilot, close-up, high detail face"
    assert USUAL.prompt("a person").startswith("<fcsks>, a person, upper body, solo")


@pytest.mark.parametrize("settings", [POCKET, USUAL])
def test_settings_are_widgets_of_the_workflows(settings):
    trainer = Workflow(TRAIN)
    assert settings.training.keys() <= trainer.api[trainer.id_of("FaceChain_TrainFaceLoRA")]["inputs"].keys()
    portrait = Workflow(PORTRAIT)
    assert settings.ranking.keys() <= portrait.api[portrait.id_of("FaceChain_RTSRank")]["inputs"].keys()


def test_a_copy_without_the_pocket_model_says_what_to_do(monkeypatch, capsys, home, tmp_path):
    monkeypatch.setattr(material, "POCKET", tmp_path / "pocket-model.safetensors")
    assert cli.main(["demo", "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().out
    assert "come without it" in said and "git clone" in said and "--checkpoint FILE" in said
    assert not list((tmp_path / "out").iterdir())


def test_a_copy_without_the_pocket_model_takes_a_base_model(monkeypatch, home, tmp_path):
    monkeypatch.setattr(material, "POCKET", tmp_path / "pocket-model.safetensors")
    monkeypatch.setattr(demo.environment, "ready", lambda **_: (_ for _ in ()).throw(Failure("setting up", "far enough", "")))
    (tmp_path / "mine.safetensors").touch()
    for words in (["--checkpoint", str(tmp_path / "mine.safetensors")], ["--base", "film"]):
        with pytest.raises(Failure, match="far enough"):
            demo.run(argparse.Namespace(**vars(options(*words, "--out", str(tmp_path / "out"))), install=False))


def test_the_help_says_what_happens_without_options(run_py):
    text = " ".join(run_py("demo", "--help").stdout.split())
    assert "four sample people are trained" in text and "pocket model, a toy" in text
    assert "training steps of each person (default: 400; with a base model: 200 to 300 a photo)" in text


class Now:
    """A clock that the test moves."""

    def __init__(self):
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def test_the_remaining_time_is_known_after_the_first_pictures_and_counts_down():
    now = Now()
    clock = Clock([Job("base", Kind.SAMPLING, 60), Job("train", Kind.TRAINING, 400), Job("draw", Kind.SAMPLING, 90)], now)
    assert clock.begin("base") == "1/3"
    now.time = 30
    assert clock.remaining() is None and "after the first pictures" in clock.text()
    clock.end()
    assert clock.begin("train") == "2/3"
    assert clock.remaining() == 400 * 1.25 + 90 * 0.5
    now.time += 100
    assert clock.remaining() == 445 and clock.text() == "about 7 min left"
    now.time += 100
    clock.end()
    assert clock.remaining() == 45 and clock.text() == "about 45 s left"
    clock.begin("draw")
    now.time += 1000
    assert 0 < clock.remaining() < 10
    clock.end()
    assert clock.remaining() == 0


def test_what_was_measured_counts_for_the_next_job_of_its_kind():
    now = Now()
    clock = Clock([Job(name, Kind.TRAINING, units) for name, units in (("one", 10), ("two", 10), ("three", 20))], now)
    for name, seconds in (("one", 50), ("two", 20)):
        clock.begin(name)
        now.time += seconds
        clock.end()
    assert clock.remaining() == 40


def test_what_may_be_left_out_is_not_measured():
    now = Now()
    clock = Clock([Job("draw", Kind.SAMPLING, 10), Job("speak", Kind.SAMPLING, 0), Job("again", Kind.SAMPLING, 10)], now)
    for name in ("draw", "speak"):
        clock.begin(name)
        now.time += 20
        clock.end()
    assert clock.remaining() == 20


def test_jobs_have_an_order():
    clock = Clock([Job("three", Kind.TRAINING, 20)])
    with pytest.raises(ValueError, match="the next job is three, not two"):
        clock.begin("two")


def test_the_plan_has_every_step_once():
    jobs = steps.plan(material.SAMPLES, POCKET)
    assert len({job.title for job in jobs}) == len(jobs) == 1 + 2 * 4 + 2
    assert sum(job.units for job in jobs if job.kind is Kind.TRAINING) == 400 + 3 * 200
    (train,) = [job for job in steps.plan((material.ASTRONAUT,), USUAL) if job.kind is Kind.TRAINING]
    assert train.units == 300


def failed(kind: str, message: str) -> PromptFailed:
    error = {"node_type": "A", "node_id": "3", "exception_type": kind, "exception_message": message}
    return PromptFailed({"status": {"messages": [("execution_error", error)]}})


class Running:
    """Stands for a server. log: where it writes."""

    log = Path("demo.log")

    def __init__(self, running: bool = True):
        self.is_running, self.tail = lambda: running, lambda: "Killed"


def test_a_published_file_that_is_not_here_is_told_from_other_errors():
    missing = steps.failure("Speaking", failed("pack.errors.MissingWeights", "sadtalker_256 is missing"), Running())
    assert isinstance(missing, steps.MissingFiles) and missing.why == "sadtalker_256 is missing"
    other = steps.failure("Speaking", failed("ValueError", "odd"), Running())
    assert not isinstance(other, steps.MissingFiles) and "A (node 3): odd" in other.why and "demo.log" in other.remedy
    assert "Out of memory" in steps.failure("Speaking", failed("ValueError", "odd"), Running(False)).remedy


def test_the_packs_error_has_the_name_that_the_demo_looks_for():
    from facechain_impl import errors

    assert errors.MissingWeights.__name__ == steps.MISSING


def test_the_made_up_voice_is_a_recording(tmp_path):
    with wave.open(str(voice.write(tmp_path / "voice.wav"))) as file:
        samples = struct.unpack(f"<{file.getnframes()}h", file.readframes(file.getnframes()))
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, voice.RATE)
    assert 1.5 < len(samples) / voice.RATE < 2
    part = len(samples) // len(voice.VOWELS)
    for vowel in range(len(voice.VOWELS)):
        spoken = samples[vowel * part : (vowel + 1) * part]
        assert max(map(abs, spoken)) > 15000
        assert set(spoken[-int(0.9 * voice.PAUSE_SECONDS * voice.RATE) :]) == {0}, "vowels are apart"


def is_self_contained(text: str) -> bool:
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    return bool(sources) and all(re.match(r"data:image/(png|jpeg);base64,", source) for source in sources) and "<script" not in text


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

    mine = out / "people" / "demo"
    assert {path.name: Image.open(path).size for path in (mine / "crops").iterdir()} == {"10.png": (512, 512), "2.png": (512, 512)}
    assert (mine / "captions.txt").read_text() == "2.png\t<fcsks>, a pilot\n10.png\t<fcsks>, a pilot\n"
    with safe_open(mine / "demo.safetensors", "pt") as lora:
        assert len(lora.keys()) > 100
    assert Image.open(mine / "loss.png").width > 100
    for folder in (mine / "portraits", out / "base"):
        assert {path.name: Image.open(path).size for path in folder.iterdir()} == dict.fromkeys(("noise_1.png", "noise_2.png"), (64, 64))
    assert sorted(path.stem for path in (mine / "strengths").iterdir()) == ["0.5", "1.3"]
    ranking = json.loads((mine / "ranking.json").read_text())
    with (mine / "ranking.csv").open(newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == [row["file"] for row in ranking]
    assert {row["file"] for row in ranking} == {"portraits/noise_1.png", "portraits/noise_2.png"}
    assert sorted(path.name for path in (out / "workflows").iterdir()) == sorted(
        f"{title}{form}.json" for title in (TRAIN, PORTRAIT, PAINT) for form in ("", " (API)")
    )
    reports = json.loads((out / "reports.json").read_text())
    aligned = reports["The person in your photos: training"]["Cut out the faces"]["rows"]
    assert [(row["name"], row["status"]) for row in aligned] == [
        ("2.png", "aligned"), ("10.png", "aligned"), ("30.png", "aligned"), ("wall.png", "rejected"),
    ]  # fmt: skip

    text = (out / page.FILE_NAME).read_text()
    assert is_self_contained(text) and "http-equiv" not in text
    for words in ("pocket model", "likeness scores", "wall.png", "Nobody speaks on this page"):
        assert words in text
    for words in ("the pocket model, a toy", "likeness scores mean nothing", f"{out.as_uri()}/{page.FILE_NAME}"):
        assert words in done.stdout
    assert str(out / page.FILE_NAME) in done.stdout.splitlines()[-1]
    assert sorted(str(path) for path in Path(host["COMFYUI_PATH"]).rglob("*") if "__pycache__" not in path.parts) == before
    assert sorted(STRENGTHS) == [0.0, 0.5, 1.0, 1.3]
