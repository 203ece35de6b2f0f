"""The table of Check Models: every state, offline, and whatever lies in the folders."""

from __future__ import annotations

import os
import socket

import pytest

from facechain_impl.types import Report
from facechain_impl.weights import catalogue, check, cli, files
from facechain_impl.weights.stand_ins import networks as stand_ins


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *args, **kwargs: pytest.fail("a connection was opened"))


def row(name: str):
    return next(row for row in check.report().rows if row.name == name)


def test_everything_missing(models):
    report = check.report()
    assert isinstance(report, Report)
    assert {row.status for row in report.rows} == {"missing"}
    assert len(report.rows) == len(catalogue.ENTRIES)
    rts = row("rts")
    assert rts.reason == "get it with: python run.py models get rts"
    assert rts.values["size"] == "about 192.9 MB"
    assert "non-commercial" in rts.values["licence"]
    assert rts.values["file"] == str(models / "facechain" / "cv_ir_face-recognition-ood_rts" / "pytorch_model.pt")
    assert rts.values["needed by"] == (
        "Rank by Likeness (RTS); Pick Faces, Check Training Photos, Train Face LoRA and Put Faces Into a Picture (Two-Stage Inpaint): "
        "likeness"
    )


def test_present(published):
    published("damofd")
    assert row("damofd").status == "present"
    assert row("damofd").reason == "not compared with a published hash"


def test_present_as_downloaded(published):
    path = published("fusion_alpha")
    files.write_record(path, files.sha256(path), catalogue.get("fusion_alpha").revision)
    assert (row("fusion_alpha").status, row("fusion_alpha").reason) == ("present", "")


def test_stand_in(models):
    stand_ins.write_stand_in("damofd", models / "facechain_stand_ins")
    found = row("damofd")
    assert found.status == "stand-in"
    assert "random numbers" in found.reason and "models get damofd" in found.reason


@pytest.mark.parametrize("name", ["damofd", "rot_bgr", "fusion_alpha"])
def test_truncated(published, name):
    path = published(name)
    path.write_bytes(path.read_bytes()[:-500])
    assert row(name).status == "damaged"
    assert str(path) in row(name).reason


def test_another_network_as_safetensors(models):
    place = models / "facechain" / catalogue.get("damofd").converted_place
    place.parent.mkdir(parents=True)
    stand_ins.write(place, stand_ins.make(catalogue.get("flcm").layout(), 1), {})
    assert row("damofd").status == "damaged"
    assert "missing: backbone." in row("damofd").reason
    assert "unexpected: cls_net." in row("damofd").reason


def test_another_size_than_documented(published):
    import onnx

    path = published("skin_mask")
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    assert row("skin_mask").status == "damaged"
    assert "instead of 102544002" in row("skin_mask").reason


def test_folders_of_base_models(models):
    (models / "diffusers" / "majicmixRealistic_v6").mkdir()
    assert row("base_majic").status == "missing"
    (models / "diffusers" / "majicmixRealistic_v6" / "model_index.json").write_text("{}", "utf-8")
    assert row("base_majic").status == "present"


def test_a_folder_where_a_file_should_be(models):
    (models / "facechain" / catalogue.get("damofd").place).mkdir(parents=True)
    assert row("damofd").status == "missing"


def test_unreadable_files(published, monkeypatch):
    path = published("fusion_alpha")

    def refuse(_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(check.headers, "read", refuse)
    assert row("fusion_alpha").status == "damaged"
    assert row("fusion_alpha").reason == f"{path} cannot be read (Permission denied). Check its read permission."


def test_the_fingerprint_follows_the_files(published):
    first = check.fingerprint()
    assert check.fingerprint() == first
    path = published("damofd")
    second = check.fingerprint()
    os.utime(path, ns=(1, 1))
    third = check.fingerprint()
    path.unlink()
    assert len({first, second, third}) == 3
    assert check.fingerprint() == first


def test_the_fingerprint_of_some_files(published):
    before = check.fingerprint("rts", "fqa"), check.fingerprint("damofd")
    published("damofd")
    assert check.fingerprint("rts", "fqa") == before[0]
    assert check.fingerprint("damofd") != before[1]


def test_command_line(published, capsys):
    published("damofd")
    assert cli.main(["check", "damofd", "rts"]) == 0
    out = capsys.readouterr().out
    assert "present   damofd" in out and "missing   rts" in out
    published("fusion_alpha").write_bytes(b"broken")
    assert cli.main(["check"]) == 1
    assert cli.main(["list"]) == 0
    assert "CC BY-NC 4.0: non-commercial use only" in capsys.readouterr().out
    assert cli.main(["check", "damofdd"]) == 1
    assert "Did you mean damofd" in capsys.readouterr().err


def test_states_are_words_of_the_help_page():
    assert [state.value for state in check.STATES] == ["present", "missing", "damaged", "stand-in"]
