"""Photographs from files: upright, in natural order; unreadable files are listed with the reason."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import BadInput

PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jfif", ".avif", ".heic", ".heif"}


class Photos(NamedTuple):
    """images: float32 RGB [H, W, 3] in 0..1 each, names: their files, unreadable: (name, reason) of the files left out."""

    images: list[torch.Tensor]
    names: list[str]
    unreadable: list[tuple[str, str]]


def natural(name: str) -> list:
    """Sort key under which photo2 comes before photo10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name.casefold()) if part]


def picture_files(folder: Path) -> list[Path]:
    """The pictures in `folder`, not in subfolders, in natural order, without hidden files. Raises BadInput without the folder."""
    if not folder.is_dir():
        raise BadInput(f"There is no folder {folder}. Give the name of a folder with photos.")
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in PICTURES and not file.name.startswith(".")]
    return sorted(files, key=lambda file: natural(file.name))


def load_photos(files: list[Path]) -> Photos:
    """Read `files` in their order."""
    photos = Photos([], [], [])
    for file in files:
        try:
            photos.images.append(read_photo(file))
            photos.names.append(file.name)
        except BadInput as problem:
            photos.unreadable.append((file.name, str(problem)))
    return photos


def read_photo(file: Path, longest: int | None = None) -> torch.Tensor:
    """The picture in `file`, float32 RGB [H, W, 3] in 0..1: EXIF orientation applied, alpha blended onto white, grey repeated.
    longest: its longer side is scaled down to that, which is quick for JPEG.

    Raises BadInput when the file is not a picture, is damaged, or is too large.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                return _pixels(_small(picture, longest) if longest else ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise BadInput("The file is not a picture in a format that can be read here. Convert it to JPEG or PNG.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadInput(f"The file is damaged or incomplete ({error}). Copy or export it again.") from error
    except Image.DecompressionBombError as error:
        raise BadInput(f"The picture is too large: {error}. Scale it down below 100 megapixels.") from error


def _small(picture: Image.Image, longest: int) -> Image.Image:
    picture.draft("RGB", (longest, longest))  # JPEG only: decoded at a half, a quarter or an eighth, never below this size
    upright = ImageOps.exif_transpose(picture)
    upright.thumbnail((longest, longest))
    return upright


def _pixels(picture: Image.Image) -> torch.Tensor:
    if picture.mode.startswith(("I", "F")):
        grey = _unit(np.array(picture))
        return torch.from_numpy(np.repeat(grey[..., None], 3, 2))
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        pixels = np.array(picture.convert("RGBA"), np.float32) / 255
        colour, alpha = pixels[..., :3], pixels[..., 3:]
        return torch.from_numpy(colour * alpha + (1 - alpha))
    return torch.from_numpy(np.array(picture.convert("RGB"), np.float32) / 255)


def _unit(grey: np.ndarray) -> np.ndarray:
    """Grey values of 16 or 32 bits as float32 in 0..1."""
    top = 65535.0 if grey.dtype.kind in "iu" else max(float(grey.max()), 1.0)
    return np.clip(grey.astype(np.float32) / top, 0, 1)
