"""What a newcomer does in the editor: pick the template, choose a checkpoint, run it, read what the nodes say, come back later."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from facechain_impl.weights import catalogue
from launcher import places
from launcher.client import Client

from .hands import Hands
from .runs import wait_for_run

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]

SAMPLE = places.ROOT / "assets" / "sample" / "eileen_collins.png"
TITLE = "Train My Portrait"
SMALL = {"steps": 2, "resolution": 64}

# As the server says it during a training; the node is in no subgraph.
SHOW_LOOKS = """
(picture) => {
  const node = LiteGraph.createNode("FaceChain_TrainFaceLoRA");
  app.graph.add(node);
  window.app.api.dispatchEvent(new CustomEvent("facechain.picture", { detail: { node_id: String(node.id), picture } }));
}
"""
FINISH_TRAINING = """
() => {
  const isShown = (node) => node.widgets?.some((widget) => widget.name === "facechain_looks");
  const node = app.graph.nodes.find(isShown);
  node.onExecuted({});
  return isShown(node);
}
"""
NOTE_PICTURES = """
() => {
  window.noted = [];
  app.api.addEventListener("facechain.picture", ({ detail }) => window.noted.push(detail.picture.slice(0, 15)));
}
"""
DOT = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="

ADD_CHECK = """
() => {
  app.graph.clear();
  app.graph.add(LiteGraph.createNode("FaceChain_ModelCheck"));
}
"""
OPEN_OLD_CHECK = """
async () => {
  app.graph.clear();
  app.graph.add(LiteGraph.createNode("FaceChain_CheckPhotos"));
  const saved = app.graph.serialize();
  saved.nodes[0].widgets_values = [""];
  await app.loadGraphData(saved);
  return app.graph.nodes[0].widgets.map((widget) => widget.value);
}
"""
SEVERITIES = """
() => {
  const rows = [...document.querySelectorAll(".facechain-report tr")].slice(1);
  return Object.fromEntries(rows.map((row) => [row.cells[0].innerText, row.className]));
}
"""
REPORTS = "() => [...document.querySelectorAll('.facechain-report')].map((report) => report.innerText)"
OPEN_REPORTS = "() => app.graph.nodes.flatMap((node) => node.widgets ?? []).filter((widget) => widget.name === 'facechain_report').length"
# The editor keeps a draft of the graph, from which it comes back after a reload.
KEPT = "() => [localStorage, sessionStorage].some((kept) => Object.values({ ...kept }).some((text) => text.includes(app.graph.id)))"


def wait_for_reports(page: Page) -> str:
    page.wait_for_function(f"() => ({REPORTS})().some((text) => text.includes('aligned'))")
    return "\n".join(page.evaluate(REPORTS))


def test_own_photos_are_trained_and_the_reports_come_back(hands: Hands, checkpoint, client: Client, tmp_path: Path):
    photos = [tmp_path / f"anna at home, {hands.mode}.jpg", tmp_path / f"anna, {hands.mode}.png"]
    with Image.open(SAMPLE) as picture:
        mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)  # two copies of one photo would be trained on once
        for photo, side, shown in zip(photos, (900, 700), (picture, mirrored)):
            # other pixels in each mode, or the second training would have finished before
            shown.resize((side + len(hands.mode), side)).save(photo)
    hands.pick_template(TITLE, "Train")
    hands.choose("Choose a checkpoint", "ckpt_name", checkpoint)
    for widget, number in SMALL.items():
        hands.enter("Train", widget, number)
    hands.place("Photos of one person")
    hands.add_photos(photos)
    expect(hands.page.locator(".facechain-photos img")).to_have_count(2)
    before = set(client.get("/history"))
    hands.page.evaluate(NOTE_PICTURES)
    hands.run()
    outputs = wait_for_run(client, before)["outputs"]
    reports = {report["title"]: report for output in outputs.values() for report in output.get("report", [])}
    assert [row["name"] for row in reports["2 photos loaded"]["rows"]] == [photo.name for photo in photos]
    (training,) = [report for title, report in reports.items() if title.startswith("Training of")]
    assert [row["name"] for row in training["rows"][1:]] == ["photo 1", "photo 2", "after step 2"]
    shown = wait_for_reports(hands.page)
    assert hands.page.evaluate("window.noted") == ["data:image/jpeg"], "the contact sheet, while the training runs"
    expect(hands.page.locator(".facechain-looks")).to_have_count(0)
    assert "2 of 2 photos aligned" in shown and photos[0].name in shown and "eileen_collins" not in shown and "STAND-IN" in shown
    hands.page.wait_for_function(KEPT)
    hands.page.reload()
    hands.page.wait_for_function("() => window.app?.graph?.nodes.length > 5")
    assert "2 of 2 photos aligned (earlier run)" in wait_for_reports(hands.page)
    expect(hands.page.locator(".facechain-report p.stand-in").first).to_be_attached()
    hands.pick_template(TITLE, "Train")
    hands.page.wait_for_timeout(3000)
    assert hands.page.evaluate(OPEN_REPORTS) == 0, "a template that is opened for the next person shows nothing of the last one"
    assert hands.value("Photos of one person", "files") == ""


def test_a_healthy_file_is_not_drawn_as_a_problem(one_page: Page, client: Client, server):
    """A file that is there and was never compared with a hash says so, and is no more red for it; a damaged one is."""
    healthy, damaged = (server.base / "models" / "facechain" / catalogue.get(name).place for name in ("fusion_alpha", "fqa"))
    for path in (healthy, damaged):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(healthy)
    damaged.write_bytes(b"no network")
    before = set(client.get("/history"))
    one_page.evaluate(ADD_CHECK)
    one_page.get_by_role("button", name="Run", exact=True).first.click()
    wait_for_run(client, before)
    one_page.wait_for_function(f"() => 'fqa' in ({SEVERITIES})()")
    shown = one_page.evaluate(SEVERITIES)
    healthy.unlink()
    damaged.unlink()
    assert (shown["fusion_alpha"], shown["fqa"], shown["base_sdxl"]) == ("good", "problem", "note")


def test_a_value_saved_where_a_report_was_is_not_taken_for_a_new_widgets(one_page: Page):
    """Version 0.1 saved an empty text for the report; Check Training Photos, which had no widget, now has one in its place."""
    assert one_page.evaluate(OPEN_OLD_CHECK) == ["Bad photos"]


def test_finish_now_says_when_nothing_is_training(hands: Hands):
    hands.pick_template(TITLE, "Train")
    hands.press("Train", "finish_now", "Finish now")
    expect(hands.page.get_by_text("is not training at the moment").first).to_be_visible()


def test_the_sheet_of_a_running_training_is_on_its_node_until_it_ends(one_page: Page):
    one_page.evaluate(SHOW_LOOKS, DOT)
    expect(one_page.locator(".facechain-looks img")).to_have_attribute("src", DOT)
    assert one_page.evaluate(FINISH_TRAINING) is False
    expect(one_page.locator(".facechain-looks")).to_have_count(0)
