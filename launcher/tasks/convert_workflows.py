"""Makes the templates of the graph editor from their API twins: convert_workflows.py SERVER, for `run.py build workflows`.

The editor itself converts, so the result is what a user would have saved; notes and download links come from notes.json. The
browser is the one that FACECHAIN_CHROMIUM names.
"""

from __future__ import annotations

import os
import sys

from playwright.sync_api import Page, ViewportSize, sync_playwright

from launcher import build, places
from launcher.tasks import draw_cards

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
SETTLE_MS = 1500
VIEW: ViewportSize = {"width": 1600, "height": 900}

READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types.FaceChain_ModelCheck"

CONVERT = """
async ({ api, title, note, models }) => {
  await app.loadApiJson(structuredClone(api), title);
  const graph = app.graph;
  const depths = new Map();
  const depthOf = (node) => {
    if (!depths.has(node.id)) {
      const sources = (node.inputs ?? []).map((input) => graph.links.get(input.link)).filter(Boolean);
      depths.set(node.id, Math.max(0, ...sources.map((link) => 1 + depthOf(graph.getNodeById(link.origin_id)))));
    }
    return depths.get(node.id);
  };
  graph.nodes.forEach(depthOf);
  const columnOf = (node) => {
    const users = (node.outputs ?? []).flatMap((output) => output.links ?? []).map((link) => depths.get(graph.links.get(link).target_id));
    return depths.get(node.id) === 0 && users.length ? Math.min(...users) - 1 : depths.get(node.id);
  };
  const columns = [];
  for (const node of [...graph.nodes].sort((a, b) => a.id - b.id)) (columns[columnOf(node)] ??= []).push(node);
  let x = 40;
  for (const column of columns.filter(Boolean)) {
    const width = Math.max(320, ...column.map((node) => node.computeSize()[0]));
    let y = 80;
    for (const node of column) {
      node.pos = [x, y];
      node.setSize([width, node.computeSize()[1]]);
      y += node.size[1] + 70;
    }
    x += width + 70;
  }
  const widgets = graph.nodes.flatMap((node) => node.widgets ?? []);
  for (const widget of widgets) if (widget.name === "control_after_generate") widget.value = "fixed";
  const made = LiteGraph.createNode("MarkdownNote");
  made.title = "Read me";
  made.pos = [-440, 80];
  made.size = [430, 460];
  graph.add(made);
  made.widgets[0].value = note;
  for (const [node, entries] of Object.entries(models ?? {})) graph.getNodeById(Number(node)).properties.models = entries;
  const saved = graph.serialize();
  delete saved.id;  // the editor gives each opened copy its own, by which its runs are found again
  delete saved.extra.frontendVersion;
  for (const node of saved.nodes) for (const slot of [...(node.inputs ?? []), ...(node.outputs ?? [])]) delete slot.localized_name;
  return saved;
}
"""

SHOW = """
async (workflow) => {
  await app.loadGraphData(workflow);
  const boxes = app.graph.nodes.map((node) => node.getBounding());
  const left = Math.min(...boxes.map((b) => b[0])), top = Math.min(...boxes.map((b) => b[1]));
  const right = Math.max(...boxes.map((b) => b[0] + b[2])), bottom = Math.max(...boxes.map((b) => b[1] + b[3]));
  const margin = 60;
  const scale = Math.min(innerWidth / (right - left + 2 * margin), innerHeight / (bottom - top + 2 * margin));
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [margin - left, (innerHeight / scale - (bottom - top)) / 2 - top];
  app.graph.setDirtyCanvas(true, true);
}
"""

SETTINGS = {
    "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False, "Comfy.Graph.CanvasMenu": False, "Comfy.TutorialCompleted": True,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None", "LiteGraph.Canvas.MinFontSizeForLOD": 0,
}  # fmt: skip
NODES_2 = "Comfy.VueNodes.Enabled"


def open_editor(page: Page, server: str, nodes_2: bool = False) -> None:
    page.request.post(f"{server}/settings", data=SETTINGS | {NODES_2: nodes_2})
    page.goto(server)
    page.wait_for_function(READY)
    page.wait_for_timeout(SETTLE_MS)
    page.keyboard.press("Escape")


def converted(page: Page, title: str) -> dict:
    """The template of one API twin, as the editor saves it."""
    api, extras = build.read(build.TWINS / f"{title}.json"), build.read(build.NOTES)[title]
    saved = page.evaluate(CONVERT, {"api": api, "title": title, **extras})
    missing = {node["class_type"] for node in api.values()} - {node["type"] for node in saved["nodes"]}
    if missing:
        sys.exit(f"{title}: the editor made no node of {', '.join(sorted(missing))}. Does the host have these, and does the pack load?")
    return saved


def take_picture(page: Page, title: str, template: dict) -> None:
    page.evaluate("() => app.extensionManager.command.execute('Workspace.ToggleFocusMode')")
    page.evaluate(SHOW, template)
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=build.WORKFLOWS / f"{title}.jpg", type="jpeg", quality=80)


def main(server: str) -> None:
    titles = sorted(path.stem for path in build.TWINS.glob("*.json"))
    notes = build.read(build.NOTES)
    if unnamed := sorted(set(titles) ^ set(notes)):
        sys.exit(f"workflows/api and {build.NOTES.name} do not hold the same workflows: {', '.join(unnamed)}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["FACECHAIN_CHROMIUM"], args=FLAGS)
        for title in titles:
            page = browser.new_page(viewport=VIEW)
            open_editor(page, server)
            template = converted(page, title)
            changed, picture = build.write(build.WORKFLOWS / f"{title}.json", template), build.WORKFLOWS / f"{title}.jpg"
            has_card = picture.relative_to(places.ROOT).as_posix() in draw_cards.CARDS
            if not has_card and (changed or not picture.is_file()):
                take_picture(page, title, template)
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1])
