"""What the ends of a file tell without loading it."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import WeightsError
from facechain_impl.weights import headers
from facechain_impl.weights.stand_ins import networks as stand_ins

WRITERS = {
    "x.safetensors": lambda path: stand_ins.write(path, {"a": torch.ones(3, 2), "n": torch.tensor(1)}, {"facechain": "stand-in"}),
    "x.pt": lambda path: torch.save({"a": torch.ones(300)}, path),
    "x.onnx": lambda path: stand_ins.OTHER_FILES["rot_bgr"](path, 1),
    "x.jpg": lambda path: stand_ins.OTHER_FILES["fusion_alpha"](path, 1),
    "x.mat": lambda path: stand_ins.OTHER_FILES["fusion_bfm"](path, 1),
}


@pytest.fixture(params=WRITERS)
def whole(request, tmp_path):
    path = tmp_path / request.param
    WRITERS[request.param](path)
    return path


def test_whole_files_pass(whole):
    assert isinstance(headers.read(whole), headers.Header)


def test_empty_files(whole):
    whole.write_bytes(b"")
    with pytest.raises(WeightsError, match="is empty"):
        headers.read(whole)


def test_web_pages(whole):
    whole.write_bytes(b"<html><body>404 Not Found</body></html>" * 20)
    with pytest.raises(WeightsError, match=r"should be an? .*Delete it and get it again"):
        headers.read(whole)


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("name", WRITERS)
def test_cut_files(tmp_path, name, share):
    path = tmp_path / name
    WRITERS[name](path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(WeightsError, match=name):
        headers.read(path)


def test_layout_and_metadata(tmp_path):
    path = tmp_path / "x.safetensors"
    WRITERS[path.name](path)
    header = headers.read(path)
    assert header.layout == {"a": ((3, 2), torch.float32), "n": ((), torch.int64)}
    assert header.metadata == {"facechain": "stand-in"}


def test_metadata_of_onnx(tmp_path):
    path = tmp_path / "x.onnx"
    WRITERS[path.name](path)
    assert headers.read(path).metadata == {"facechain": "stand-in"}


def test_another_zip_archive(tmp_path):
    import zipfile

    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "hello")
    with pytest.raises(WeightsError, match="another kind of zip archive"):
        headers.read(path)
