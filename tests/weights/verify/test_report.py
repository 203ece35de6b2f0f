"""`models verify` against a folder that plays the hub: one report, whatever the files hold."""

from __future__ import annotations

import json

import pytest
import torch

from facechain_impl.types import Origin
from facechain_impl.weights import catalogue, cli, files, load
from facechain_impl.weights.verify import probes
from facechain_impl.weights.verify import report as verify
from facechain_impl.weights.verify.questions import QUESTIONS


@pytest.fixture
def report(tmp_path, capsys):
    """Runs verify on some names and gives the exit status, what was said and the report."""

    def run(*names: str):
        path = tmp_path / "report.md"
        status = cli.main(["verify", *names, "--report", str(path)])
        return status, capsys.readouterr().out, path.read_text("utf-8") if path.exists() else ""

    return run


def test_a_file_as_the_catalogue_says(hub, published, report):
    path = published("damofd", hub.folder, epoch=640)
    digest = files.sha256(path)
    settings = {"framework": "pytorch", "task": "face-detection"}
    path.with_name("configuration.json").write_text(json.dumps(settings), "utf-8")
    path.with_name("DamoFD_lms.py").write_text("norm = dict()\ntest_cfg = dict(nms=dict(type='nms', iou_threshold=0.45))\n", "utf-8")
    path.with_name("README.md").write_text("# DamoFD\nlicense: Apache License 2.0\nother\n", "utf-8")
    status, said, text = report("damofd")
    assert status == 0
    assert "damofd: as the catalogue says" in said
    assert said.index("Licence:") < said.index("as the catalogue says")
    for part in (
        f"pytorch_model.pt: {path.stat().st_size} bytes", f"sha256 {digest}", "Entries of pytorch_model.pt: state_dict, epoch",
        "Tensors of damofd: 298", "    bbox_head.stride_cls.0.weight  [2, 64, 3, 3]  float32", '"task": "face-detection"',
        "license: Apache License 2.0", "Run of damofd on the picture:", "[1, 2, 80, 80] mean",
        "### DamoFD: is the shipped configuration", "2: test_cfg = dict(nms=dict(type='nms', iou_threshold=0.45))",
    ):  # fmt: skip
        assert part in text, part
    assert "M2FP: how many" not in text
    assert load.find("damofd").origin is Origin.PUBLISHED


def test_onnx_files_run_too(hub, published, report):
    published("rot_bgr", hub.folder)
    status, _, text = report("rot_bgr")
    assert status == 0
    assert "input input [1, 3, 224, 224]" in text
    assert "[1, 4] mean" in text


def test_differences_are_named_and_tensors_listed(hub, published, report):
    path = published("flcm", hub.folder)
    content = torch.load(path, weights_only=True)
    content["state_dict"]["extra.weight"] = torch.zeros(3)
    torch.save(content, path)
    status, said, text = report("flcm")
    assert status == 1
    assert "1 unexpected: extra.weight" in said
    assert "    extra.weight  [3]  float32" in text
    assert not (files.target(catalogue.get("flcm"))).exists()


def test_what_cannot_be_had_does_not_stop_the_rest(hub, published, report):
    published("rot_bgr", hub.folder)
    status, _, text = report("m2fp", "rot_bgr")
    assert status == 1
    assert "- m2fp (damo/cv_resnet101_image-multiple-human-parsing v1.0.1): damo/cv_resnet101_image" in text
    assert "- rot_bgr (Cherrytest/rot_bgr v1.0.0): as the catalogue says" in text
    assert "### M2FP: how many queries" in text


def test_outputs_that_are_not_finite(monkeypatch):
    finding = verify.Finding(catalogue.get("damofd"))
    verify._note_run(finding, "damofd", [probes.describe(torch.tensor([1.0, float("nan")]))])
    assert finding.problems == ["damofd gives numbers that are not finite"]


def test_a_picture_that_is_none(models, tmp_path, capsys):
    path = tmp_path / "x.png"
    path.write_text("no picture")
    assert cli.main(["verify", "damofd", "--picture", str(path)]) == 1
    assert "cannot be read as a picture" in capsys.readouterr().err


def test_every_open_question_of_the_specification_is_asked():
    asked = " ".join(question.text for question in QUESTIONS)
    for subject in (
        "Skin retouch", "Face fusion", "M2FP", "num_parsing", "DamoFD", "FACT", "ln.*", "alphas", "Common face LoRA", "contronet-canny",
        "rank and alpha", "scheduler", "Where are the base models",
    ):  # fmt: skip
        assert subject in asked


def test_every_network_has_a_probe():
    networks = {entry.name for entry in catalogue.ENTRIES if entry.network}
    parts = {f"{entry.name}.{part.name}" for entry in catalogue.ENTRIES for part in entry.parts}
    assert {name for name in networks | parts if callable(catalogue.get(name).probe)} == networks | parts
    assert not [entry.name for entry in catalogue.ENTRIES if entry.probe and not entry.network]
