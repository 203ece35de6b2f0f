"""Captions that a person types beside the crops are those of the next run, also after a reload, and stay with their photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from launcher.client import Client

from .hands import Hands
from .runs import wait_for_run

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]

TAGGER = "Caption Crops (Tagger)"
ADD_NODES = """
async () => {
  app.graph.clear();
  const [load, tagger] = ["FaceChain_LoadPhotos", "FaceChain_Tagger"].map((type) => LiteGraph.createNode(type));
  [load.pos, tagger.pos] = [[100, 150], [550, 60]];
  app.graph.add(load);
  app.graph.add(tagger);
  load.connect(0, tagger, 0);
  await app.loadGraphData({ ...app.graph.serialize(), id: crypto.randomUUID() });
}
"""
# In the draft of the graph, from which the editor comes back after a reload; what was copied is kept elsewhere.
KEPT = """
(text) => [localStorage, sessionStorage].some((kept) => Object.entries({ ...kept })
  .some(([key, value]) => !key.includes("clipboard") && value.includes(text)))
"""
COPY = """
() => {
  const node = app.graph.nodes.find((candidate) => candidate.type === "FaceChain_Tagger");
  app.canvas.selectItems([node]);
  app.canvas.copyToClipboard([node]);
  app.canvas.pasteFromClipboard();
  return app.graph.nodes.filter((candidate) => candidate.type === "FaceChain_Tagger")
    .map((candidate) => candidate.widgets.find((widget) => widget.name === "edits").value);
}
"""


@pytest.fixture
def photos(tmp_path: Path, hands: Hands, client: Client) -> list[Path]:
    """Their sizes tell the modes apart: a run of the one is never answered from the host's cache of the other."""
    made = [tmp_path / f"{name}, {hands.mode}.png" for name in ("teal", "maroon")]
    for photo in made:
        Image.new("RGB", (60 + len(hands.mode), 60), photo.stem.partition(",")[0]).save(photo)
        client.upload(photo)
    return made


@pytest.fixture
def tagger(hands: Hands, client: Client, photos: list[Path]) -> Hands:
    """Two photos into the Tagger, which has run once."""
    hands.page.evaluate(ADD_NODES)
    hands.type_photos([photo.name for photo in photos])
    assert captions(hands, client) == ["<fcsks>, a person", "<fcsks>, a person"]
    expect(field(hands, 1)).to_be_attached()
    hands.place(TAGGER)
    return hands


def field(hands: Hands, index: int) -> Locator:
    return hands.page.locator(".facechain-captions textarea").nth(index)


def type_over(hands: Hands, index: int, text: str) -> None:
    field(hands, index).click()
    hands.page.keyboard.press("Control+A")
    hands.page.keyboard.type(text) if text else hands.page.keyboard.press("Delete")


def run(hands: Hands, client: Client) -> dict:
    before = set(client.get("/history"))
    hands.run()
    entry = wait_for_run(client, before)
    (report,) = [shown["report"][0] for shown in entry["outputs"].values() if "captions" in shown]
    return report


def captions(hands: Hands, client: Client) -> list[str]:
    return [row["values"]["caption"] for row in run(hands, client)["rows"]]


def test_typed_reloaded_and_taken_back(tagger: Hands, client: Client):
    expect(tagger.page.locator(".facechain-captions img")).to_have_count(2)
    type_over(tagger, 1, "<fcsks>, a person, laughing: hat")
    expect(tagger.page.locator(".facechain-captions .mark").nth(1)).to_be_visible()
    expect(tagger.page.locator(".facechain-captions .mark").nth(0)).to_be_hidden()
    report = run(tagger, client)
    assert [row["values"]["caption"] for row in report["rows"]] == ["<fcsks>, a person", "<fcsks>, a person, laughing: hat"]
    assert [row["reason"] for row in report["rows"]] == ["", "edited by hand"]
    first, copied = tagger.page.evaluate(COPY)
    assert first == copied and "laughing: hat" in copied, "a copy of the node has the same edits"
    tagger.page.keyboard.press("Delete")
    tagger.page.wait_for_function(KEPT, arg="laughing: hat")
    tagger.page.reload()
    tagger.page.wait_for_function("() => window.app?.graph?.nodes.length > 1")
    tagger.place(TAGGER)
    expect(field(tagger, 1)).to_have_value("<fcsks>, a person, laughing: hat")
    expect(tagger.page.locator(".facechain-captions img")).to_have_count(2)
    assert captions(tagger, client) == ["<fcsks>, a person", "<fcsks>, a person, laughing: hat"]
    tagger.page.get_by_role("button", name="Take back").click()
    expect(field(tagger, 1)).to_have_value("<fcsks>, a person")
    assert tagger.value(TAGGER, "edits") == ""
    assert captions(tagger, client) == ["<fcsks>, a person", "<fcsks>, a person"]


def test_an_edit_goes_with_its_photo(tagger: Hands, client: Client, photos: list[Path]):
    teal, maroon = photos
    type_over(tagger, 1, "<fcsks>, a person, on a\nboat")
    tagger.type_photos([maroon.name, teal.name])
    assert captions(tagger, client) == ["<fcsks>, a person, on a boat", "<fcsks>, a person"]
    expect(field(tagger, 0)).to_have_value("<fcsks>, a person, on a boat")
    tagger.type_photos([teal.name])
    report = run(tagger, client)
    assert [row["values"]["caption"] for row in report["rows"]] == ["<fcsks>, a person"]
    assert "not used, but kept" in report["notes"][0] and "on a boat" in report["notes"][0]
    expect(tagger.page.locator(".facechain-captions").get_by_text("not among the pictures of the last run")).to_be_visible()
    expect(field(tagger, 1)).to_have_value("<fcsks>, a person, on a boat")
    type_over(tagger, 1, "")
    assert tagger.value(TAGGER, "edits") == ""


def test_an_emptied_field_is_the_automatic_caption(tagger: Hands, client: Client):
    type_over(tagger, 0, "hat")
    assert tagger.value(TAGGER, "edits").endswith(": hat")
    type_over(tagger, 0, "")
    field(tagger, 1).click()
    expect(field(tagger, 0)).to_have_value("<fcsks>, a person")
    assert tagger.value(TAGGER, "edits") == ""


def test_the_tagger_runs_alone_so_that_captions_are_edited_before_a_training(hands: Hands, client: Client, photos: list[Path]):
    hands.page.evaluate(ADD_NODES)
    hands.type_photos([photo.name for photo in photos])
    hands.page.evaluate("() => app.graph.add(Object.assign(LiteGraph.createNode('FaceChain_ModelCheck'), { pos: [100, 700] }))")
    hands.select(TAGGER)
    before = set(client.get("/history"))
    hands.page.get_by_role("button", name="Execute to selected output nodes").click()
    shown = wait_for_run(client, before)["outputs"].values()
    assert [len(output["captions"]) for output in shown if "captions" in output] == [2]
    assert not any(report["title"].startswith("Published files") for output in shown for report in output.get("report", []))
    expect(field(hands, 1)).to_have_value("<fcsks>, a person")
