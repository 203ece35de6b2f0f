"""Files of all kinds: what is read, how it lies, and what is said about the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from facechain_impl.errors import BadInput
from facechain_impl.photos.load import load_photos, natural, picture_files, read_photo

ORIENTATION = 0x0112


@pytest.fixture
def corner() -> np.ndarray:
    """A small picture in which every turn and mirror image looks different."""
    pixels = np.full((6, 9, 3), 200, np.uint8)
    pixels[0, :4] = [255, 0, 0]
    pixels[:3, 0] = [0, 0, 255]
    return pixels


# How a picture stored with each EXIF orientation is to be shown.
SHOWN = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p),
}


@pytest.mark.parametrize("orientation", SHOWN)
def test_exif_orientation_is_applied(tmp_path, corner, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(corner).save(tmp_path / "photo.png", exif=exif)
    photo = read_photo(tmp_path / "photo.png")
    assert torch.equal(photo, torch.from_numpy(SHOWN[orientation](corner).astype(np.float32) / 255))


def test_alpha_is_blended_onto_white(tmp_path):
    pixels = np.zeros((2, 2, 4), np.uint8)
    pixels[0, 0] = [0, 0, 0, 255]
    pixels[0, 1] = [255, 0, 0, 51]
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    photo = read_photo(tmp_path / "alpha.png")
    assert torch.allclose(photo, torch.tensor([[[0, 0, 0], [1, 0.8, 0.8]], [[1, 1, 1], [1, 1, 1.0]]]), atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGB", "YCbCr", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    grey = Image.fromarray(np.full((4, 5), 255, np.uint8))
    if mode == "I;16":
        grey = Image.fromarray(np.full((4, 5), 65535, np.uint16))
    picture = grey if mode == "I;16" else grey.convert(mode)
    name = "photo.tif" if mode in ("CMYK", "YCbCr") else "photo.png"
    picture.save(tmp_path / name)
    photo = read_photo(tmp_path / name)
    assert photo.shape == (4, 5, 3) and photo.dtype == torch.float32
    assert photo.min() > 0.98 and photo.max() <= 1


def test_dark_sixteen_bit_grey_stays_dark(tmp_path):
    Image.fromarray(np.full((3, 3), 6553, np.uint16)).save(tmp_path / "dark.png")
    assert torch.allclose(read_photo(tmp_path / "dark.png"), torch.full((3, 3, 3), 0.1), atol=1e-3)


def test_a_transparent_colour_of_a_palette_is_white(tmp_path):
    picture = Image.fromarray(np.zeros((2, 2), np.uint8)).convert("P")
    picture.save(tmp_path / "palette.png", transparency=0)
    assert (read_photo(tmp_path / "palette.png") == 1).all()


def test_natural_order_and_what_counts_as_a_picture(tmp_path):
    for name in ("photo10.JPG", "photo2.jpg", "Photo1.png", "notes.txt", ".hidden.jpg", "a.webp"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    assert [file.name for file in picture_files(tmp_path)] == ["a.webp", "Photo1.png", "photo2.jpg", "photo10.JPG"]
    assert sorted(["x٣", "x2", "2", "b", "10"], key=natural) == ["2", "10", "b", "x2", "x٣"]


def test_files_that_cannot_be_read_are_named_with_the_reason(tmp_path, corner):
    Image.fromarray(corner).save(tmp_path / "good.png")
    whole = (tmp_path / "good.png").read_bytes()
    noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "big.jpg").read_bytes()[:1500])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "half.png").write_bytes(whole[:40])
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    photos = load_photos(picture_files(tmp_path))
    assert photos.names == ["big.jpg", "good.png"] and len(photos.images) == 2
    reasons = dict(photos.unreadable)
    assert set(reasons) == {"cut.jpg", "empty.png", "half.png", "phone.heic", "text.jpg"}
    assert "damaged or incomplete" in reasons["cut.jpg"]
    assert "Convert it to JPEG or PNG" in reasons["phone.heic"]


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch, corner):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    Image.fromarray(corner).save(tmp_path / "bomb.png")
    with pytest.raises(BadInput, match="too large"):
        read_photo(tmp_path / "bomb.png")


def test_no_folder_is_no_empty_folder(tmp_path):
    with pytest.raises(BadInput, match="There is no folder"):
        picture_files(tmp_path / "nowhere")
