"""What a running node shows beside its progress bar."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

live = pytest.importorskip("facechain_impl.host.live", reason="set COMFYUI_PATH")
from comfy_execution.utils import CurrentNodeContext  # noqa: E402


@pytest.fixture
def sent(monkeypatch) -> list:
    events = []
    server = SimpleNamespace(client_id="me", send_sync=lambda *event: events.append(event))
    monkeypatch.setattr(live.PromptServer, "instance", server, raising=False)
    return events


def opened(address: str) -> np.ndarray:
    head, _, content = address.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_a_picture_is_sent_to_the_page_that_started_the_node_and_kept_while_it_runs(sent):
    grey, white = torch.full((40, 30, 3), 0.5), torch.ones(40, 30, 3)
    with CurrentNodeContext("a prompt", "5:3"):
        with live.finishable():
            assert live.shown("5:3") is None
            live.show(grey)
            live.show(white)
            assert live.shown("5:3") == sent[1][1]["picture"] and live.shown("3") is None
        assert live.shown("5:3") is None
    assert [(event, data["node_id"], client) for event, data, client in sent] == [("facechain.picture", "5:3", "me")] * 2
    pictures = [opened(data["picture"]) for _, data, _ in sent]
    assert pictures[0].shape == (40, 30, 3) and abs(pictures[0].astype(int) - 128).max() < 3 and pictures[1].min() > 250


def test_outside_of_a_node_nobody_looks(sent):
    live.show(torch.ones(4, 4, 3))
    assert sent == []


def test_a_node_that_ends_in_an_error_leaves_no_picture(sent):
    with CurrentNodeContext("a prompt", "7"), pytest.raises(RuntimeError), live.finishable():
        live.show(torch.ones(4, 4, 3))
        raise RuntimeError("out of luck")
    assert live.shown("7") is None
