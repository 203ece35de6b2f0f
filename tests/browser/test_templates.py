"""Each template in the editor is the graph of its API twin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from workflows import build

ROOT = Path(__file__).resolve().parent.parent.parent
TWINS = sorted((ROOT / "workflows" / "api").glob("*.json"))
NOTES = json.loads((ROOT / "workflows" / "notes" / "notes.json").read_text(encoding="utf-8"))
PROMPT = "async (workflow) => { await app.loadGraphData(workflow); return (await app.graphToPrompt()).output; }"

pytestmark = [pytest.mark.browser, pytest.mark.host]


@pytest.fixture
def named_models(server) -> None:
    """Files by the names in the templates, so that their pictures show none as missing. The host lists them, nobody opens them."""
    for entries in (models for notes in NOTES.values() for models in notes["models"].values()):
        for model in entries:
            path = server.base / "models" / model["directory"] / model["name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_every_template_has_a_note():
    assert set(NOTES) == {twin.stem for twin in TWINS}
    assert all(text["note"].startswith(f"# {title}\n") for title, text in NOTES.items())


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.stem)
def test_a_template_queues_what_its_twin_says(twin: Path, named_models, page, refresh):
    if refresh:
        build.build(page, twin.stem, NOTES[twin.stem])
    template = json.loads((ROOT / "workflows" / f"{twin.stem}.json").read_text(encoding="utf-8"))
    queued = page.evaluate(PROMPT, template)
    expected = json.loads(twin.read_text(encoding="utf-8"))
    assert queued.keys() == expected.keys()
    for key, node in expected.items():
        assert queued[key]["class_type"] == node["class_type"]
        assert queued[key]["inputs"] == node["inputs"], node["_meta"]["title"]
