"""Files from the input folder and from nowhere else, and a fingerprint that changes with them."""

from __future__ import annotations

import base64
import io
import os

import numpy as np
import pytest
from PIL import Image

from facechain_impl.errors import BadInput
from facechain_impl.host import folders
from facechain_impl.photos import sources, thumbnails
from facechain_impl.photos.load import load_photos


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    """The host's input folder: two photos, one in a folder of its own; a secret beside it."""
    place = tmp_path / "input"
    (place / "anna").mkdir(parents=True)
    for file in (place / "top.png", place / "anna" / "1.png", tmp_path / "secret.png"):
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file)
    monkeypatch.setattr(folders, "input_folder", lambda: place)
    return place


def test_a_folder_and_files_are_found(inputs):
    assert sources.chosen_files(sources.FOLDER, "anna", "") == [inputs / "anna" / "1.png"]
    assert sources.chosen_files(sources.FOLDER, sources.TOP, "") == [inputs / "top.png"]
    files = [inputs / "anna" / "1.png", inputs / "top.png"]
    assert sources.chosen_files(sources.FILES, "", "anna/1.png\n\ntop.png\n") == files
    for saved_by_0_1 in (["anna/1.png", "top.png"], []):
        assert sources.names_in(str(saved_by_0_1)) == saved_by_0_1
    assert sources.names_in("[1] anna.png\n[eve].png") == ["[1] anna.png", "[eve].png"]


@pytest.mark.parametrize("name", ["../secret.png", "anna/../../secret.png", "{absolute}", "a\0b", "link.png"])
def test_nothing_outside_the_input_folder_is_read(inputs, name):
    (inputs / "link.png").symlink_to(inputs.parent / "secret.png")
    name = name.replace("{absolute}", str(inputs.parent / "secret.png"))
    with pytest.raises(BadInput, match="not inside the input folder"):
        sources.chosen_files(sources.FILES, "", name)


@pytest.mark.parametrize("folder", ["..", "/", "anna/../..", "linked"])
def test_no_folder_outside_the_input_folder_is_read(inputs, folder):
    (inputs / "linked").symlink_to(inputs.parent, target_is_directory=True)
    with pytest.raises(BadInput, match="not inside the input folder"):
        sources.chosen_files(sources.FOLDER, folder, "")


def test_what_is_missing_is_said(inputs):
    (inputs / "empty").mkdir()
    for source, folder, files, text in [
        (sources.FILES, "", "", "No file is chosen"),
        (sources.FILES, "", "gone.png\ntop.png", "gone.png"),
        (sources.FOLDER, "empty", "", "holds no picture"),
        (sources.FOLDER, "nowhere", "", "There is no folder"),
        ("Web", "", "", "no source 'Web'"),
    ]:
        with pytest.raises(BadInput, match=text):
            sources.chosen_files(source, folder, files)


def test_the_fingerprint_changes_when_a_file_does(inputs):
    before = sources.fingerprint(sources.chosen_files(sources.FOLDER, "anna", ""))
    assert before == sources.fingerprint(sources.chosen_files(sources.FOLDER, "anna", ""))
    os.utime(inputs / "anna" / "1.png", ns=(1, 1))
    touched = sources.fingerprint(sources.chosen_files(sources.FOLDER, "anna", ""))
    (inputs / "anna" / "2.png").write_bytes(b"new")
    assert before != touched != sources.fingerprint(sources.chosen_files(sources.FOLDER, "anna", ""))


def test_the_sample_photo_is_there():
    files = sources.chosen_files(sources.SAMPLE, "", "")
    photos = load_photos(files)
    assert photos.images and not photos.unreadable
    assert any("licence" in file.name.lower() or file.suffix == ".md" for file in files[0].parent.iterdir())


def test_thumbnails_show_what_will_be_loaded(inputs):
    sideways = Image.new("RGB", (600, 300), "red")
    exif = Image.Exif()
    exif[0x0112] = 6
    sideways.save(inputs / "anna" / "2.jpg", exif=exif)
    (inputs / "anna" / "3.jpg").write_bytes(b"no picture")
    shown = thumbnails.thumbnails(sources.FILES, "", "anna/2.jpg\nanna/3.jpg\ntop.png")
    assert shown["total"] == 3 and [photo["file"] for photo in shown["photos"]] == ["anna/2.jpg", "anna/3.jpg", "top.png"]
    first, damaged, _ = shown["photos"]
    with Image.open(io.BytesIO(base64.b64decode(first["picture"].partition(",")[2]))) as picture:
        assert picture.size == (thumbnails.SIDE // 2, thumbnails.SIDE) and picture.getpixel((5, 5))[0] > 240
    assert damaged["picture"] == "" and "not a picture" in damaged["problem"]


def test_thumbnails_of_missing_files_say_so_and_can_be_taken_off_the_list(inputs):
    shown = thumbnails.thumbnails(sources.FILES, "", "anna/gone.png\ntop.png")
    gone, there = shown["photos"]
    assert (shown["total"], gone["file"], gone["picture"]) == (2, "anna/gone.png", "") and "Not in the input folder" in gone["problem"]
    assert there["picture"] and not there["problem"]
    with pytest.raises(BadInput, match=r"Not in the input folder .*: gone\.png\. Upload them again"):
        sources.chosen_files(sources.FILES, "", "anna/gone.png\ntop.png")


def test_thumbnails_of_many_photos_are_those_of_the_first(inputs):
    for number in range(thumbnails.MOST + 5):
        Image.new("RGB", (8, 8)).save(inputs / "anna" / f"{number}.png")
    shown = thumbnails.thumbnails(sources.FOLDER, "anna", "")
    assert (shown["total"], len(shown["photos"])) == (thumbnails.MOST + 5, thumbnails.MOST)
