"""The shipped talking portrait in a real host: the template as it is, its file opened again, the pieces, and a refusal."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest

from launcher.client import Client, HttpError, PromptFailed
from launcher.server import Server

from .made import RATE, SECONDS, recording

pytestmark = pytest.mark.host

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = next((ROOT / "assets" / "sample").glob("*.png"))
FILES = ("sadtalker_256", "sadtalker_mapping_full")


@pytest.fixture
def template(server: Server, stand_in) -> dict:
    """The API twin of "Talking Portrait", with a picture and a recording in place."""
    for name in FILES:
        stand_in(name)
    inputs = server.base / "input"
    (inputs / "portrait.png").write_bytes(SAMPLE.read_bytes())
    (inputs / "speech.wav").write_bytes(recording())
    return json.loads((ROOT / "workflows" / "api" / "Talking Portrait.json").read_text(encoding="utf-8"))


def saved(server: Server, entry: dict, node: str) -> Path:
    (item,) = entry["outputs"][node]["images"]
    return server.base / "output" / item["subfolder"] / item["filename"]


def test_the_template_makes_a_video(server: Server, client: Client, template: dict):
    template["3"]["inputs"]["seed"] = 20  # no other test's: nothing comes from the host's cache, and the node writes its file
    before = written(server)
    entry = client.run(template)
    report = entry["outputs"]["3"]["report"][0]
    assert "sadtalker_256.generator" in report["stand_ins"] and report["rows"][0]["status"] == "animated"
    path = saved(server, entry, "4")
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert audio.rate == RATE and audio.channels == 2 and video.average_rate == 25
        lengths = [float(stream.duration * stream.time_base) for stream in (video, audio)]
        assert abs(lengths[0] - SECONDS) <= 0.04 and abs(lengths[1] - lengths[0]) <= 0.04
        assert sum(1 for _ in container.decode(video)) == round(SECONDS * 25)
    (made,) = written(server) - before
    assert pictures(path) == pictures(made)


def written(server: Server) -> set[Path]:
    """Files of talking portraits in the host's temp folder, other tests' included."""
    return set((server.base / "temp").glob("facechain_talking_*.mp4"))


def pictures(path: Path) -> list[bytes]:
    """The encoded pictures: equal where nothing was encoded again."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def test_planned_edited_and_rendered(client: Client, template: dict, stand_in):
    stand_in("sadtalker_mapping_crop")
    settings = {**template["3"]["inputs"], "preprocess": "crop"}
    shared = {key: settings[key] for key in ("size", "preprocess", "detector", "landmarks", "face_order", "face_number", "no_face")}
    shared |= {"image": ["1", 0], "audio": ["2", 0], "driver": "SadTalker"}
    motions = ("pose_style", "expression_scale", "still", "pose_amplitude", "blink_rate", "blink_strength", "seed", "yaw", "pitch", "roll")
    graph = {key: template[key] for key in ("1", "2", "4")}
    plan = shared | {key: settings[key] for key in motions}
    edit = {"motion": ["5", 0], "expression_scale": 1.5, "pose_scale": 1.0, "yaw": "0, 10", "pitch": "", "roll": ""}
    drawn = {**shared, "motion": ["6", 0], "frame_batch": 2, "frames": True}
    for key, name, inputs in (("5", "MotionFromAudio", plan), ("6", "EditMotion", edit), ("7", "RenderMotion", drawn)):
        graph[key] = {"class_type": f"FaceChain_{name}", "inputs": inputs, "_meta": {"title": name}}
    graph["4"] = {**graph["4"], "inputs": {**graph["4"]["inputs"], "video": ["7", 0]}}
    graph["8"] = {"class_type": "PreviewImage", "inputs": {"images": ["7", 1]}, "_meta": {"title": "Frames"}}
    outputs = client.run(graph)["outputs"]
    assert len(outputs["8"]["images"]) == 12
    assert outputs["5"]["report"][0]["rows"][0]["status"] == "planned"


def test_a_picture_without_a_face_stops(client: Client, template: dict):
    template["1"] = {
        "class_type": "EmptyImage",
        "inputs": {"width": 300, "height": 200, "batch_size": 1, "color": 255},
        "_meta": {"title": "Empty"},
    }
    with pytest.raises(PromptFailed, match="No face was found"):
        client.run(template)


def test_frames_that_were_not_asked_for_stop_only_what_wants_them(client: Client, template: dict):
    template["5"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 1]}, "_meta": {"title": "Frames"}}
    outputs = client.run(template)["outputs"]
    assert "4" in outputs and "5" not in outputs


def test_the_switch_misses_nothing_but_models(client: Client, template: dict):
    """The host's speech-to-video files are not here; every node, input and link of the other branch has to be right."""
    graph = json.loads((ROOT / "workflows" / "api" / "Talking Portrait Or Speech To Video.json").read_text(encoding="utf-8"))
    assert graph["3"]["inputs"] == template["3"]["inputs"]
    with pytest.raises(HttpError) as refused:
        client.queue(graph)
    errors = [error for node in refused.value.body["node_errors"].values() for error in node["errors"]]
    assert {error["type"] for error in errors} == {"value_not_in_list"}
    assert {error["extra_info"]["input_name"] for error in errors} == {"unet_name", "clip_name", "vae_name", "audio_encoder_name"}
