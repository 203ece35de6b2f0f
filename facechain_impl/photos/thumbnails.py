"""Small pictures for the editor: of what Load Photos is going to load, of crops beside their captions."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import torch
from PIL import Image

from ..errors import BadInput
from ..geometry.pixels import to_bytes
from .load import read_photo
from .sources import listed_files, missing_message, shown_name

SIDE = 144
MOST = 30


def thumbnails(source: str, folder: str, files: str) -> dict:
    """The photos that these settings load, as JSON: how many there are, and the first of them. file: as it stands in `files`. picture:
    an URL with the picture inside, or empty where the file is missing or cannot be read; then `problem` is the reason.

    Raises BadInput where nothing is chosen."""
    listed = listed_files(source, folder, files)
    return {"total": len(listed), "photos": [_thumbnail(file) for file in listed[:MOST]]}


def _thumbnail(file: Path) -> Mapping[str, str]:
    shown = {"name": file.name, "file": shown_name(file), "picture": "", "problem": ""}
    if not file.is_file():
        return {**shown, "problem": f"{missing_message()}."}
    try:
        pixels = read_photo(file, SIDE)
    except BadInput as problem:
        return {**shown, "problem": str(problem)}
    return {**shown, "picture": inline(pixels)}


def inline(pixels: torch.Tensor) -> str:
    """A picture [H, W, 3] in 0..1 as an URL with the picture inside, its longer side at most SIDE pixels."""
    stream = io.BytesIO()
    small = Image.fromarray(to_bytes(pixels))
    small.thumbnail((SIDE, SIDE))
    small.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
