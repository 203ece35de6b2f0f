"""Photos chosen with the button on Load Photos arrive in the run, in their order."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

from launcher.client import Client

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]

ADD_NODES = """
() => {
  app.graph.clear();
  const load = LiteGraph.createNode("FaceChain_LoadPhotos");
  const preview = LiteGraph.createNode("PreviewImage");
  [load.pos, preview.pos] = [[200, 150], [700, 150]];
  app.graph.add(load);
  app.graph.add(preview);
  load.connect(0, preview, 0);
}
"""
LOADER = "app.graph.nodes.find((node) => node.type === 'FaceChain_LoadPhotos')"
BUTTON_PLACE = f"""
() => {{
  const node = {LOADER};
  const button = node.widgets.find((widget) => widget.type === "button");
  app.canvas.draw(true, true);
  const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + button.y + 10]);
  const box = app.canvas.canvas.getBoundingClientRect();
  return [box.left + x, box.top + y];
}}
"""
FILES = f"() => {LOADER}.widgets.find((widget) => widget.name === 'files').value"
USE_FILES = f"() => {{ {LOADER}.widgets.find((widget) => widget.name === 'source').value = 'Files' }}"


def test_several_photos_at_once(page: Page, client: Client, tmp_path: Path):
    photos = [tmp_path / "second photo.png", tmp_path / "first.jpg"]
    for size, photo in zip((40, 50), photos):
        Image.new("RGB", (size, 30), "teal").save(photo)
    page.evaluate(ADD_NODES)
    with page.expect_file_chooser() as chooser:
        page.mouse.click(*page.evaluate(BUTTON_PLACE))
    assert chooser.value.is_multiple()
    chooser.value.set_files(photos)
    page.wait_for_function(f"({FILES})().length === 2")
    assert page.evaluate(FILES) == ["second photo.png", "first.jpg"]
    page.evaluate(USE_FILES)
    before = set(client.get("/history"))
    page.get_by_role("button", name="Run", exact=True).first.click()
    entry = wait_for_run(client, before)
    (report,) = [output["report"][0] for output in entry["outputs"].values() if "report" in output]
    assert [(row["name"], row["values"]["width"]) for row in report["rows"]] == [("second photo.png", 40), ("first.jpg", 50)]


def wait_for_run(client: Client, before: set[str]) -> dict:
    end = time.monotonic() + 900
    while time.monotonic() < end:
        if new := [key for key in client.get("/history") if key not in before]:
            return client.wait(new[0])
        time.sleep(0.3)
    raise TimeoutError("the run that was queued in the editor has not ended")
