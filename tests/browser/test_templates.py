"""Each template in the editor is the graph of its API twin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workflows import build

ROOT = Path(__file__).resolve().parent.parent.parent
TWINS = sorted((ROOT / "workflows" / "api").glob("*.json"))
NAMED = "v1-5-pruned-emaonly-fp16.safetensors"
PROMPT = "async (workflow) => { await app.loadGraphData(workflow); return (await app.graphToPrompt()).output; }"

pytestmark = [pytest.mark.browser, pytest.mark.host]


@pytest.fixture
def named_checkpoint(server, checkpoint) -> None:
    """The checkpoint that the templates name, so that their pictures show no missing file."""
    folder = server.base / "models" / "checkpoints"
    if not (folder / NAMED).exists():
        (folder / NAMED).hardlink_to(folder / checkpoint)


def test_every_template_has_a_note():
    notes = json.loads((ROOT / "workflows" / "notes" / "notes.json").read_text(encoding="utf-8"))
    assert set(notes) == {twin.stem for twin in TWINS}
    assert all(text["note"].startswith(f"# {title}\n") for title, text in notes.items())


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.stem)
def test_a_template_queues_what_its_twin_says(twin: Path, named_checkpoint, page, refresh):
    if refresh:
        build.build(page, twin.stem, json.loads((ROOT / "workflows" / "notes" / "notes.json").read_text(encoding="utf-8"))[twin.stem])
    template = json.loads((ROOT / "workflows" / f"{twin.stem}.json").read_text(encoding="utf-8"))
    queued = page.evaluate(PROMPT, template)
    expected = json.loads(twin.read_text(encoding="utf-8"))
    assert queued.keys() == expected.keys()
    for key, node in expected.items():
        assert queued[key]["class_type"] == node["class_type"]
        assert queued[key]["inputs"] == node["inputs"], node["_meta"]["title"]
