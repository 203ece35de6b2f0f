"""Portrait prompts in the real host."""

from __future__ import annotations

import pytest

from launcher.client import PromptFailed

pytestmark = pytest.mark.host


def graph(**values):
    inputs = {
        "style": "wearing a kimono",
        "style_lora": False,
        "ethnicity": "",
        "negative": "blurry",
        "trigger": "<fcsks>, a mature man",
        **values,
    }
    nodes = {"1": {"class_type": "FaceChain_PortraitPrompt", "inputs": inputs, "_meta": {"title": "Prompt"}}}
    for name, output in (("2", 0), ("3", 1)):
        nodes[name] = {"class_type": "PreviewAny", "inputs": {"source": ["1", output]}, "_meta": {"title": "Show"}}
    return nodes


def test_both_prompts_arrive(client):
    shown = client.run(graph())["outputs"]
    assert shown["2"]["text"][0].startswith("<fcsks>, a mature man, raw photo, masterpiece, wearing a kimono, one person")
    assert shown["3"]["text"] == ["blurry, children"]


def test_nobody_is_an_error(client):
    with pytest.raises(PromptFailed, match="The trigger is empty and no person is connected"):
        client.run(graph(trigger=" "))
