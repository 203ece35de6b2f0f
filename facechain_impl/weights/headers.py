"""What the first and last bytes of a file tell: its kind, whether it is whole, its metadata and its tensors. Loads nothing."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from ..errors import WeightsError
from ..networks.base import FoundLayout

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
ONNX_METADATA = 14
MATLAB_START = 128


@dataclass(frozen=True)
class Header:
    """metadata: text written into the file. layout: its tensors, None where only loading would tell."""

    metadata: dict[str, str] = field(default_factory=dict)
    layout: FoundLayout | None = None


def read(path: Path) -> Header:
    """Raises WeightsError where the file is damaged or not of the kind its name says."""
    size = path.stat().st_size
    if size == 0:
        raise WeightsError(f"{path} is empty. Delete it and get it again.")
    return _reader(path.suffix)(path)


def _reader(suffix: str) -> Callable[[Path], Header]:
    if suffix in (".pt", ".pth", ".bin", ".ckpt", ".tar"):
        return _pickle
    return {".safetensors": _safetensors, ".onnx": _onnx, ".mat": _matlab, ".jpg": _jpeg}.get(suffix, lambda path: Header())


def _safetensors(path: Path) -> Header:
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no mapping)
            layout = {name: (tuple(part.get_shape()), DTYPES.get(part.get_dtype())) for name, part in slices.items()}
            return Header(dict(file.metadata() or {}), layout)
    except SafetensorError as error:
        raise _damaged(path, "a safetensors file", str(error)) from error


def _pickle(path: Path) -> Header:
    with path.open("rb") as file:
        start = file.read(2)
    if start == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise _damaged(path, "a PyTorch file", "its end is missing") from error
        if not any(name.endswith("data.pkl") for name in names):
            raise _damaged(path, "a PyTorch file", "it is another kind of zip archive")
    elif start not in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        raise _damaged(path, "a PyTorch file", f"it begins with {start!r}")
    return Header()


def _onnx(path: Path) -> Header:
    size = path.stat().st_size
    metadata = {}
    with path.open("rb") as file:
        for number, length in _protobuf_fields(file, size, path):
            if number == ONNX_METADATA:
                key, value = (text.decode("utf-8", "replace") for text in _two_texts(file.read(length)))
                metadata[key] = value
    return Header(metadata)


def _protobuf_fields(file: BinaryIO, size: int, path: Path) -> Iterator[tuple[int, int]]:
    """(field number, length) of each top-level field with a body, the file standing at the body; skips to the next one."""
    while file.tell() < size:
        tag = _varint(file)
        length = None if tag is None else _varint(file) if tag & 7 == 2 else 0 if tag & 7 == 0 else None
        if tag is None or length is None or file.tell() + length > size:
            raise _damaged(path, "an ONNX file", "it ends early or is something else")
        if tag & 7 == 0:
            _varint(file)
            continue
        end = file.tell() + length
        yield tag >> 3, length
        file.seek(end)


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _two_texts(body: bytes) -> tuple[bytes, bytes]:
    """The key and value of a StringStringEntryProto: tag, length, text, twice; shorter where the body is."""
    stream, texts = BytesIO(body), []
    for _ in range(2):
        stream.read(1)
        texts.append(stream.read(_varint(stream) or 0))
    return texts[0], texts[1]


def _matlab(path: Path) -> Header:
    """Of version 5, whose arrays stand one after the other, each behind its kind and its length."""
    with path.open("rb") as file:
        start, size = file.read(MATLAB_START), path.stat().st_size
        if not start.startswith(b"MATLAB"):
            raise _damaged(path, "a MATLAB file", "it does not begin like one")
        if b"HDF5" in start:
            return Header()
        order = "<" if start.endswith(b"IM") else ">"
        while (place := file.tell()) < size:
            tag = file.read(8)
            end = file.tell() + (struct.unpack(order + "II", tag)[1] if len(tag) == 8 else size)
            if end > size:
                raise _damaged(path, "a MATLAB file", f"the array at byte {place} is cut off")
            file.seek(end)
    return Header()


def _jpeg(path: Path) -> Header:
    data = path.read_bytes()
    if not (data.startswith(b"\xff\xd8") and data.rstrip(b"\0").endswith(b"\xff\xd9")):
        raise _damaged(path, "a JPEG picture", "it is cut off or something else")
    return Header()


def _damaged(path: Path, kind: str, what: str) -> WeightsError:
    return WeightsError(f"{path} should be {kind}, but {what}. Delete it and get it again.")
