"""Shared workflows keep working: node signatures are frozen, every text is there in every language, every template fits its nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher import build, contract
from launcher.build import read
from launcher.client import Client
from launcher.places import ROOT

TEMPLATES = sorted((ROOT / "workflows").glob("*.json"))
TWINS = sorted((ROOT / "workflows" / "api").glob("*.json"))

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def object_info(server) -> dict:
    return server.client.object_info()


def test_signatures_are_frozen(object_info):
    found = contract.signatures(object_info)
    assert found == read(build.SIGNATURES), "a change on purpose: `python run.py build snapshots`, and a row in CHANGELOG.md"


def test_english_texts_are_those_of_the_schemas(object_info):
    assert contract.texts(object_info) == read(build.LOCALES / "en" / "nodeDefs.json"), "run `python run.py build locales`"


def test_every_english_text_says_something(object_info):
    for path, text in build.leaves(contract.texts(object_info)):
        assert text.strip(), path


def test_every_text_is_there_in_chinese():
    """In Chinese, or named in the list of those that still wait for somebody who can write it."""
    english = dict(build.leaves(read(build.LOCALES / "en" / "nodeDefs.json")))
    chinese = read(build.LOCALES / "zh" / "nodeDefs.json")
    assert english.keys() == dict(build.leaves(chinese)).keys(), "run `python run.py build locales`"
    assert build.untranslated(chinese) == read(build.LOCALES / "zh" / "untranslated.json"), "run `python run.py build locales`"


@pytest.mark.parametrize("language", ["en"])
def test_every_node_has_a_help_page_that_names_its_inputs(object_info, language):
    for name, node in contract.ours(object_info).items():
        page = (ROOT / "web" / "docs" / name / f"{language}.md").read_text(encoding="utf-8")
        unnamed = [key for key in contract.specs(node) if key not in page]
        assert unnamed == [], name


def test_help_pages_and_locales_are_served(client: Client, object_info):
    for name in contract.ours(object_info):
        assert client.request(f"/extensions/facechain-studio/docs/{name}/en.md").decode().startswith("# "), name
    served = client.get("/i18n")
    assert set(contract.ours(object_info)) <= set(served["en"]["nodeDefs"]) & set(served["zh"]["nodeDefs"])


def test_every_part_of_a_category_has_a_name(client: Client, object_info):
    parts = {part for node in contract.ours(object_info).values() for part in node["category"].split("/")}
    served = client.get("/i18n")
    for language in ("en", "zh"):
        assert parts <= served[language]["nodeCategories"].keys(), language


def test_templates_have_a_picture_and_a_twin(client: Client):
    assert [path.stem for path in TEMPLATES] == [path.stem for path in TWINS]
    assert all(path.with_suffix(".jpg").is_file() for path in TEMPLATES)
    assert set(client.get("/workflow_templates")["facechain-studio"]) == {path.stem for path in TEMPLATES}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_every_node_of_a_template_fits_the_host(path: Path, object_info):
    workflow = read(path)
    links = {link[0]: link for link in workflow["links"]}
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for node in nodes.values():
        if node["type"] in contract.ONLY_IN_EDITOR:
            continue
        known = object_info[node["type"]]
        slots = [slot for slot in node["inputs"] if slot["name"] not in contract.BUTTONS]
        if node["type"].startswith(contract.PREFIX):
            widgets = [slot["name"] for slot in slots if "widget" in slot]
            assert widgets == [name for name, spec in contract.specs(known).items() if contract.is_widget(spec)], node["type"]
            assert [slot["type"] for slot in node["outputs"]] == known["output"], node["type"]
        for slot in (slot for slot in slots if slot.get("link") is not None):
            assert contract.spec_of(known, slot["name"]) is not None, (node["type"], slot["name"])
            _, source, output, _, _, kind = links[slot["link"]]
            assert kind in (object_info[nodes[source]["type"]]["output"][output], nodes[source]["outputs"][output]["type"]), node["type"]


@pytest.mark.parametrize("path", TWINS, ids=lambda path: path.stem)
def test_every_twin_is_titled_and_ends_in_a_node_of_ours(path: Path):
    """Behind our last node stand only the host's nodes that save or show what it made."""
    graph = read(path)
    assert all(node["_meta"]["title"] for node in graph.values())
    sources = {key: {value[0] for value in node["inputs"].values() if isinstance(value, list)} for key, node in graph.items()}
    for key in graph.keys() - set().union(*sources.values()):
        makers = [maker for source in sources[key] for maker in ends_of(graph, source)] or [key]
        assert any(graph[maker]["class_type"].startswith(contract.PREFIX) for maker in makers), graph[key]["class_type"]


def ends_of(graph: dict, key: str) -> list[str]:
    """The node itself, or those that a switch chooses from."""
    node = graph[key]
    return [value[0] for value in node["inputs"].values() if isinstance(value, list)] if node["class_type"] == "ComfySwitchNode" else [key]
