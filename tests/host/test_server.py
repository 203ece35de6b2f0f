"""The pack inside a real host: it loads, shows its nodes, and the server lives on after what users do wrong."""

from __future__ import annotations

import itertools
import re

import pytest

from launcher.client import Client, HttpError, PromptFailed
from launcher.server import Server

pytestmark = pytest.mark.host

EMPTY_IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 8, "batch_size": 2, "color": 255}, "_meta": {"title": "Image"}}
PREVIEW = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}, "_meta": {"title": "Preview"}}


def test_every_node_of_the_pack_is_listed_under_one_category(client: Client):
    nodes = {name: node for name, node in client.object_info().items() if node["python_module"] == "custom_nodes.facechain-studio"}
    assert len(nodes) >= 8
    assert all(name.startswith("FaceChain_") for name in nodes)
    assert {node["category"].split("/")[0] for node in nodes.values()} == {"FaceChain"}


def test_the_pack_loads_without_a_warning(server: Server):
    start = [line for line in itertools.takewhile(lambda line: "To see the GUI" not in line, server.lines()) if "facechain" in line]
    assert [line for line in start if "seconds" in line]
    assert [line for line in start if re.search("warning|error|failed|cannot", line, re.IGNORECASE)] == []


def test_a_prompt_runs_and_its_pictures_can_be_fetched(client: Client):
    entry = client.run({"1": EMPTY_IMAGE, "2": PREVIEW})
    images = entry["outputs"]["2"]["images"]
    assert len(images) == 2
    assert client.view(images[0]).startswith(b"\x89PNG")


def test_a_refused_graph_names_the_node(client: Client):
    with pytest.raises(HttpError) as refused:
        client.queue({"1": EMPTY_IMAGE, "2": {**PREVIEW, "inputs": {}}})
    assert refused.value.status == 400
    assert refused.value.body["node_errors"]["2"]["errors"][0]["type"] == "required_input_missing"


def test_a_failing_prompt_says_where_and_the_next_one_runs(client: Client):
    broken = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "broken.safetensors"}, "_meta": {"title": "Checkpoint"}}
    clip = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}, "_meta": {"title": "Text"}}
    loader = {"class_type": "LoadImage", "inputs": {"image": "missing.png"}, "_meta": {"title": "Load"}}
    with pytest.raises((HttpError, PromptFailed)):
        client.run({"1": broken, "2": clip, "3": loader, "4": {**PREVIEW, "inputs": {"images": ["3", 0]}}})
    assert client.run({"1": EMPTY_IMAGE, "2": PREVIEW})["status"]["completed"]
