"""Each template in the editor is the graph of its API twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import build, demo
from launcher.base_models import BaseModel
from launcher.demo import graphs
from launcher.tasks import convert_workflows
from launcher.workflows import Workflow

TWINS = sorted(build.TWINS.glob("*.json"))
NOTES = build.read(build.NOTES)
HOW = "run `python run.py build workflows`"
PROMPT = "async (workflow) => { await app.loadGraphData(workflow); return (await app.graphToPrompt()).output; }"

pytestmark = [pytest.mark.browser, pytest.mark.host]


@pytest.fixture(scope="module")
def named_models(server) -> None:
    build.name_models(server.base)


def test_every_template_has_a_note():
    assert set(NOTES) == {twin.stem for twin in TWINS}
    assert all(text["note"].startswith(f"# {title}\n") for title, text in NOTES.items())


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.stem)
def test_a_template_queues_what_its_twin_says(twin: Path, named_models, one_page):
    template = build.read(build.WORKFLOWS / twin.name)
    queued = one_page.evaluate(PROMPT, template)
    expected = build.read(twin)
    assert queued.keys() == expected.keys(), HOW
    for key, node in expected.items():
        assert queued[key]["class_type"] == node["class_type"], HOW
        assert queued[key]["inputs"] == node["inputs"], (node["_meta"]["title"], HOW)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.stem)
def test_a_template_is_what_the_editor_makes_of_its_twin(twin: Path, named_models, page):
    assert convert_workflows.converted(page, twin.stem) == build.read(build.WORKFLOWS / twin.name), HOW


@pytest.mark.parametrize("title", [demo.TRAIN, demo.PORTRAIT, demo.PAINT])
def test_a_template_that_the_demo_changed_queues_what_the_demo_ran(title, named_models, one_page):
    workflow = Workflow(title)
    BaseModel("film", "DiffusersLoader").choose(workflow)
    if title == demo.TRAIN:
        graphs.fill_with_faces(workflow, 0.55, 512)
    elif title == demo.PAINT:
        graphs.give_mask(workflow)
        graphs.give_first_stage(workflow, "person.png")
    queued = one_page.evaluate(PROMPT, workflow.editor)
    assert {key: node["class_type"] for key, node in queued.items()} == {key: node["class_type"] for key, node in workflow.api.items()}
    assert {key: node["inputs"] for key, node in queued.items()} == {key: node["inputs"] for key, node in workflow.api.items()}
