"""What a newcomer does in the editor: pick the template, choose a checkpoint, run it, read what the nodes say, come back later."""

from __future__ import annotations

import time

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from facechain_impl.weights import catalogue
from launcher.client import Client

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]

TITLE = "Train My Portrait"
SMALL = {"steps": 2, "resolution": 64, "variants": 1, "preview_every": 0}

SET_WIDGETS = """
([title, values]) => {
  const node = app.graph.nodes.find((candidate) => candidate.title === title);
  for (const [name, value] of Object.entries(values)) node.widgets.find((widget) => widget.name === name).value = value;
}
"""

WIDGET_PLACE = """
([title, name]) => {
  const node = app.graph.nodes.find((candidate) => candidate.title === title);
  const widget = node.widgets.find((candidate) => candidate.name === name);
  app.canvas.centerOnNode(node);
  app.canvas.draw(true, true);
  const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + widget.y + 10]);
  const box = app.canvas.canvas.getBoundingClientRect();
  return [box.left + x, box.top + y];
}
"""

PRESS_FINISH = """
() => {
  const node = LiteGraph.createNode("FaceChain_TrainFaceLoRA");
  app.graph.add(node);
  node.widgets.find((widget) => widget.name === "finish_now").callback();
}
"""

ADD_CHECK = """
() => {
  app.graph.clear();
  app.graph.add(LiteGraph.createNode("FaceChain_ModelCheck"));
}
"""
SEVERITIES = """
() => {
  const rows = [...document.querySelectorAll(".facechain-report tr")].slice(1);
  return Object.fromEntries(rows.map((row) => [row.cells[0].innerText, row.className]));
}
"""
REPORTS = "() => [...document.querySelectorAll('.facechain-report')].map((report) => report.innerText)"
# The editor keeps a draft of the graph, from which it comes back after a reload.
KEPT = "() => [localStorage, sessionStorage].some((kept) => Object.values({ ...kept }).some((text) => text.includes(app.graph.id)))"
RUN_SECONDS = 900


def pick_template(page: Page) -> None:
    page.locator("button[aria-label^='Templates']").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("facechain-studio", exact=True).first.click()
    dialog.get_by_text(TITLE).first.click()
    page.wait_for_function("(title) => app.graph.nodes.some((node) => node.title === title)", arg="Train")


def choose(page: Page, title: str, widget: str, value: str) -> None:
    """Click a list on a node and then one of its entries."""
    page.mouse.click(*page.evaluate(WIDGET_PLACE, [title, widget]))
    page.locator(".litemenu-entry", has_text=value).first.click()


def wait_for_run(client: Client, before: set[str]) -> dict:
    """The history of the first run that is not in `before`. Raises PromptFailed."""
    end = time.monotonic() + RUN_SECONDS
    while time.monotonic() < end:
        if new := [key for key in client.get("/history") if key not in before]:
            return client.wait(new[0])
        time.sleep(0.5)
    raise TimeoutError("nothing that was queued in the editor has ended")


def wait_for_reports(page: Page) -> str:
    page.wait_for_function(f"() => ({REPORTS})().some((text) => text.includes('aligned'))")
    return "\n".join(page.evaluate(REPORTS))


def test_template_to_report_and_back_after_a_reload(page: Page, checkpoint, client: Client):
    before = set(client.get("/history"))
    pick_template(page)
    choose(page, "Choose a checkpoint", "ckpt_name", checkpoint)
    page.evaluate(SET_WIDGETS, ["Train", SMALL])
    page.get_by_role("button", name="Run", exact=True).first.click()
    wait_for_run(client, before)
    shown = wait_for_reports(page)
    assert "1 of 1 photos aligned" in shown
    assert "eileen_collins" in shown
    assert "STAND-IN" in shown
    page.wait_for_function(KEPT)
    page.reload()
    page.wait_for_function("() => window.app?.graph?.nodes.length > 5")
    again = wait_for_reports(page)
    assert "1 of 1 photos aligned (earlier run)" in again
    expect(page.locator(".facechain-report p.stand-in").first).to_be_attached()


def test_a_healthy_file_is_not_drawn_as_a_problem(page: Page, client: Client, server):
    """A file that is there and was never compared with a hash says so, and is no more red for it; a damaged one is."""
    healthy, damaged = (server.base / "models" / "facechain" / catalogue.get(name).place for name in ("fusion_alpha", "fqa"))
    for path in (healthy, damaged):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(healthy)
    damaged.write_bytes(b"no network")
    before = set(client.get("/history"))
    page.evaluate(ADD_CHECK)
    page.get_by_role("button", name="Run", exact=True).first.click()
    wait_for_run(client, before)
    page.wait_for_function(f"() => 'fqa' in ({SEVERITIES})()")
    shown = page.evaluate(SEVERITIES)
    healthy.unlink()
    damaged.unlink()
    assert (shown["fusion_alpha"], shown["fqa"], shown["base_sdxl"]) == ("good", "problem", "note")


def test_finish_now_says_when_nothing_is_training(page: Page):
    page.evaluate(PRESS_FINISH)
    expect(page.get_by_text("is not training at the moment")).to_be_visible()
