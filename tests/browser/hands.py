"""What a person does in the editor, in the classic canvas and in Nodes 2.0: click, drop, type. Scripts only say where things are."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page

CLASSIC, NODES_2 = "classic canvas", "Nodes 2.0"
MODES = (CLASSIC, NODES_2)

PLACE = """
([title, name]) => {
  const node = app.graph.nodes.find((candidate) => candidate.title === title);
  app.canvas.ds.scale = 1;
  app.canvas.centerOnNode(node);
  app.canvas.draw(true, true);
  const down = name ? node.widgets.find((candidate) => candidate.name === name).y + 10 : -15;
  const past = Math.max(0, node.size[1] / 2 - app.canvas.canvas.clientHeight / 2 + 100);
  app.canvas.ds.offset[1] += name && down < node.size[1] / 2 ? past : name ? -past : 0;
  app.canvas.draw(true, true);
  const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] / 2, node.pos[1] + down]);
  const box = app.canvas.canvas.getBoundingClientRect();
  return [box.left + x, box.top + y];
}
"""
NODE_ID = "(title) => String(app.graph.nodes.find((candidate) => candidate.title === title).id)"
VALUE = "([title, name]) => app.graph.nodes.find((node) => node.title === title).widgets.find((widget) => widget.name === name).value"


class Hands:
    """A person at the editor `page`, which shows nodes in one of MODES."""

    def __init__(self, page: Page, mode: str):
        self.page = page
        self.mode = mode

    def pick_template(self, title: str, node: str) -> None:
        """Open a template of the pack from the dialog. node: the title of one of its nodes."""
        self.page.locator("button[aria-label^='Templates']").first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_text("facechain-studio", exact=True).first.click()
        dialog.get_by_test_id(f"template-workflow-{title}").click()
        self.page.wait_for_function("(title) => app.graph.nodes.some((node) => node.title === title)", arg=node)
        if self.mode == NODES_2:
            self.node(node).wait_for()

    def node(self, title: str) -> Locator:
        """The node as an element of the page, in Nodes 2.0."""
        return self.page.locator(f"[data-node-id='{self.page.evaluate(NODE_ID, title)}']")

    def place(self, title: str, widget: str | None = None) -> tuple[float, float]:
        """Brings a node to the middle of the window, or the half with its widget. Where that is on the page, or its title bar."""
        x, y = self.page.evaluate(PLACE, [title, widget])
        return x, y

    def select(self, title: str) -> None:
        """Click a node's title bar."""
        at = self.place(title)
        if self.mode == CLASSIC:
            self.page.mouse.click(*at)
        else:  # it follows the canvas a moment later
            self.node(title).get_by_text(title, exact=True).first.click()

    def value(self, title: str, widget: str) -> object:
        return self.page.evaluate(VALUE, [title, widget])

    def choose(self, title: str, widget: str, entry: str) -> None:
        """Click a list on a node and then one of its entries."""
        at = self.place(title, widget)
        if self.mode == CLASSIC:
            self.page.mouse.click(*at)
            self.page.locator(".litemenu-entry", has_text=entry).first.click()
            return
        self.node(title).get_by_label(widget, exact=True).click()
        self.page.get_by_role("option", name=entry).first.click()

    def enter(self, title: str, widget: str, number: int) -> None:
        """Type a number into a node."""
        at = self.place(title, widget)
        if self.mode == CLASSIC:
            self.page.mouse.dblclick(*at)
            dialog = self.page.locator(".graphdialog input")
            dialog.fill(str(number))
            dialog.press("Enter")
            return
        field = self.node(title).get_by_label(widget, exact=True).locator("input")
        field.fill(str(number))
        field.press("Enter")

    def press(self, title: str, widget: str, label: str) -> None:
        """Press a button on a node."""
        at = self.place(title, widget)
        if self.mode == CLASSIC:
            self.page.mouse.click(*at)
            return
        button = self.node(title).get_by_role("button", name=label)
        view = self.page.viewport_size
        self.page.mouse.move(view["width"] / 2, view["height"] / 2)
        for _ in range(12):  # zoom out until it is on the screen
            box = button.bounding_box()
            if box and 60 < box["y"] < view["height"] - 80:
                break
            self.page.mouse.wheel(0, 150)
            self.page.wait_for_timeout(150)
        button.click()

    def add_photos(self, photos: list[Path]) -> None:
        """With the button on Load Photos."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_role("button", name="Add photos").click()
        assert chooser.value.is_multiple()
        chooser.value.set_files(photos)

    def photo_list(self) -> Locator:
        """The text field of Load Photos with the names of its files."""
        if self.mode == CLASSIC:
            return self.page.get_by_placeholder("one file name per line")
        return self.node("Load Photos").get_by_role("textbox").first

    def type_photos(self, names: list[str]) -> None:
        """Into that field, over what is there."""
        self.place("Load Photos")
        self.photo_list().click()
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type("\n".join(names))

    def drop(self, files: list[Path], x: float, y: float) -> None:
        """Drag files from the desktop to a place in the window, and let go."""
        devtools = self.page.context.new_cdp_session(self.page)
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for event in ("dragEnter", "dragOver", "drop"):
            devtools.send("Input.dispatchDragEvent", {"type": event, "x": x, "y": y, "data": data})
        devtools.detach()

    def run(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).first.click()
