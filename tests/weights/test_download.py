"""Downloads through the real hub client from a folder that plays the hub."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import WeightsError
from facechain_impl.types import Origin
from facechain_impl.weights import catalogue, cli, download, files, load

from .conftest import container


def left_over(models) -> list[str]:
    return [path.name for path in models.rglob("*") if path.is_file()]


def test_licence_first_then_the_file(hub, published, capsys):
    published("damofd", hub.folder)
    assert cli.main(["get", "damofd"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "damofd: Face detector DamoFD-0.5G"
    assert lines[1] == "Licence: Apache-2.0: commercial use allowed"
    assert hub.requests and set(hub.requests) == {("v1.1", "pytorch_model.pt")}
    found = load.find("damofd")
    assert lines[-1] == f"Ready: {found.path}"
    assert found.origin is Origin.PUBLISHED
    assert type(load.network(found)).__name__ == "DamoFD"


def test_only_safetensors_are_kept_of_a_pickle(hub, models, published):
    published("flcm", hub.folder)
    download.get("flcm", lambda line: None)
    assert left_over(models) == ["flcm.safetensors"]


def test_all_networks_of_one_file_come_together(hub, models, published, monkeypatch):
    """Made up, as the published file with two networks is large."""
    path = published("flcm", hub.folder)
    place = {name: getattr(catalogue.get("flcm"), name) for name in ("repo", "revision", "path")}
    detector = changed("damofd", key="detector", **place)
    torch.save(container(catalogue.get("flcm")) | container(detector), path)
    monkeypatch.setitem(catalogue._BY_NAME, "damofd", detector)
    monkeypatch.setattr(catalogue, "ENTRIES", (catalogue.get("flcm"), detector))
    download.get("flcm", lambda line: None)
    assert sorted(left_over(models)) == ["damofd.safetensors", "flcm.safetensors"]
    assert load.find("damofd").origin is Origin.PUBLISHED


def changed(name: str, **changes):
    entry = catalogue.get(name)
    return type(entry)(**entry.__dict__ | changes)


def test_files_that_are_no_pickles_are_recorded(hub, models, published):
    published("rot_bgr", hub.folder)
    path = download.get("rot_bgr", lambda line: None)
    assert sorted(left_over(models)) == [files.RECORD, "rot_bgr.onnx"]
    assert files.record(path)["revision"] == "v1.0.0"


def test_a_folder_of_the_host(hub, models):
    source = hub.folder / "ly261666/cv_wanx_style_model/contronet-canny"
    source.mkdir(parents=True)
    (source / "config.json").write_text("{}", "utf-8")
    (source.parent / "unrelated.bin").write_bytes(b"x")
    assert download.get("controlnet_canny", lambda line: None) == models / "controlnet" / "contronet-canny"
    assert left_over(models) == ["config.json"]


def test_what_is_there_is_not_downloaded(hub, published):
    published("damofd")
    said = []
    download.get("damofd", said.append)
    assert said[-1].startswith("It is already there")
    assert not hub.requests


def test_a_broken_line_goes_on_where_it_stopped(hub, published):
    published("flcm", hub.folder)
    hub.cut = 500_000
    download.get("flcm", lambda line: None)
    assert any(not wanted.startswith("bytes=0-") for wanted in hub.ranges)
    assert load.find("flcm").origin is Origin.PUBLISHED


def test_without_a_connection(hub, models, published):
    published("damofd", hub.folder)
    hub.broken = True
    with pytest.raises(WeightsError, match=r"damo/cv_ddsar.* could not be downloaded.*run the command again"):
        download.get("damofd", lambda line: None)
    assert not (models / "facechain" / catalogue.get("damofd").converted_place).exists()


def test_a_file_that_vanished(hub, published):
    published("damofd", hub.folder).rename(hub.folder / "damo/cv_ddsar_face-detection_iclr23-damofd/other.pt")
    with pytest.raises(WeightsError, match="no longer has pytorch_model.pt"):
        download.get("damofd", lambda line: None)


@pytest.mark.parametrize("how", ["other network", "other size", "other hash", "cut"])
def test_wrong_files_are_not_moved_into_place(hub, models, published, monkeypatch, how):
    path = published("flcm", hub.folder)
    if how == "other network":
        path.write_bytes(published("damofd", hub.folder).read_bytes())
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-3000])
    else:
        wrong = {"bytes": 7} if how == "other size" else {"sha256": "0123…4567"}
        monkeypatch.setitem(catalogue._BY_NAME, "flcm", changed("flcm", **wrong))
    with pytest.raises(WeightsError):
        download.get("flcm", lambda line: None)
    assert "pytorch_model.pt" not in left_over(models)
    assert "flcm.safetensors" not in left_over(models)
