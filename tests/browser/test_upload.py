"""Photos that are clicked, dropped or typed into Load Photos are the photos that arrive in the run, in their order."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import expect

from launcher.client import Client

from .hands import Hands
from .runs import wait_for_run

pytestmark = [pytest.mark.browser, pytest.mark.host, pytest.mark.slow]

LOADER, SHOWN = "Load Photos", ".facechain-photos img"
ADD_NODES = """
(id) => {
  app.graph.clear();
  app.graph.id = id ?? app.graph.id;
  const load = LiteGraph.createNode("FaceChain_LoadPhotos");
  const preview = LiteGraph.createNode("PreviewImage");
  [load.pos, preview.pos] = [[200, 150], [700, 150]];
  app.graph.add(load);
  app.graph.add(preview);
  load.connect(0, preview, 0);
}
"""


@pytest.fixture
def photos(tmp_path: Path, hands: Hands) -> list[Path]:
    """Their names tell the modes apart: a run of the one is never answered from the host's cache of the other."""
    made = [tmp_path / f"{hands.mode}, {name}" for name in ("second photo.png", "first.jpg", "third.png")]
    for size, photo in zip((40, 50, 60), made):
        Image.new("RGB", (size, 30), "teal").save(photo)
    return made


@pytest.fixture
def loader(hands: Hands) -> Hands:
    """Load Photos as it is new, in a graph that the editor keeps no values of."""
    hands.page.evaluate(ADD_NODES, str(uuid.uuid4()))
    hands.place(LOADER)
    expect(hands.page.locator(SHOWN)).to_have_count(1)  # the sample photo
    return hands


def loaded(hands: Hands, client: Client) -> tuple[list[tuple[str, int]], list[str]]:
    """(name, width) of the photos that a run loads, and its notes."""
    before = set(client.get("/history"))
    hands.run()
    entry = wait_for_run(client, before)
    (report,) = [output["report"][0] for output in entry["outputs"].values() if "report" in output]
    return [(row["name"], row["values"]["width"]) for row in report["rows"]], report["notes"]


def test_added_with_the_button(loader: Hands, client: Client, photos: list[Path]):
    loader.add_photos(photos[:2])
    expect(loader.page.locator(SHOWN)).to_have_count(2)
    assert loader.value(LOADER, "source") == "Files"
    assert loaded(loader, client) == ([(photos[0].name, 40), (photos[1].name, 50)], [])
    loader.add_photos(photos[2:])
    expect(loader.page.locator(SHOWN)).to_have_count(3)
    assert [name for name, _ in loaded(loader, client)[0]] == [photo.name for photo in photos]


def test_dropped_on_the_node_and_on_its_photos(loader: Hands, client: Client, photos: list[Path], tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no picture")
    loader.drop([photos[1], tmp_path / "notes.txt"], *loader.place(LOADER))
    expect(loader.page.get_by_text("Not a picture: notes.txt")).to_be_visible()
    expect(loader.page.get_by_title(photos[1].name, exact=True)).to_be_visible()
    box = loader.page.locator(".facechain-photos").bounding_box()
    loader.drop(photos[:1], box["x"] + box["width"] / 2, box["y"] + box["height"] - 8)
    expect(loader.page.locator(SHOWN)).to_have_count(2)
    assert loader.value(LOADER, "source") == "Files"
    assert loaded(loader, client)[0] == [(photos[1].name, 50), (photos[0].name, 40)]


def test_typed_and_taken_off_again(loader: Hands, client: Client, photos: list[Path]):
    for photo in photos:
        client.upload(photo)
    loader.type_photos([photos[2].name, photos[1].name])
    expect(loader.page.locator(SHOWN)).to_have_count(2)
    assert loader.value(LOADER, "source") == "Files"
    loader.page.get_by_title(f"Take {photos[2].name} off the list").click()
    expect(loader.page.locator(SHOWN)).to_have_count(1)
    assert loader.value(LOADER, "files") == photos[1].name and loaded(loader, client)[0] == [(photos[1].name, 50)]
    loader.photo_list().click()
    loader.page.keyboard.press("Control+End")
    loader.page.keyboard.type("\nnowhere.jpg")
    expect(loader.page.locator(".facechain-photos .problem")).to_contain_text("Not in the input folder")
    loader.page.get_by_title("Take nowhere.jpg off the list").click()
    expect(loader.page.locator(".facechain-photos .problem")).to_have_count(0)
    assert loader.value(LOADER, "files") == photos[1].name


def test_what_is_listed_and_not_used_is_said(loader: Hands, client: Client, photos: list[Path]):
    loader.add_photos(photos[:1])
    expect(loader.page.get_by_title(photos[0].name, exact=True)).to_be_visible()
    loader.choose(LOADER, "source", "Sample photo")
    expect(loader.page.get_by_title(photos[0].name, exact=True)).to_have_count(0)
    rows, notes = loaded(loader, client)
    assert [name for name, _ in rows] == ["eileen_collins.png"]
    assert notes == ["Not loaded: 1 photo in files, because source is Sample photo. Set source to Files."]


def test_a_node_that_gets_the_values_of_one_before_it_shows_them(loader: Hands, photos: list[Path]):
    """As the editor does in a graph that was cleared, where a node is taken out and added again."""
    loader.page.evaluate(ADD_NODES)
    loader.place(LOADER)
    loader.add_photos(photos[:2])
    expect(loader.page.locator(SHOWN)).to_have_count(2)
    loader.page.evaluate(ADD_NODES)
    assert loader.value(LOADER, "files") == "\n".join(photo.name for photo in photos[:2])
    expect(loader.page.locator(SHOWN)).to_have_count(2)
