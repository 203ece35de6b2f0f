"""Parsing: sizes, batches, and masks that are made when asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from facechain_impl.networks.m2fp.parser import M2FP, Queries
from facechain_impl.perception import parsing
from facechain_impl.perception.parsing import CLASSES, HumanParser, Parsing, resized_size

ROOT = Path(__file__).resolve().parents[2]
SIDE = 32


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1280, 1280), (640, 640)),
        ((480, 640), (640, 853)),
        ((3000, 4000), (640, 853)),
        ((1000, 250), (1333, 333)),
        ((200, 2000), (133, 1333)),
    ],
)
def test_short_side_640_unless_the_long_one_passes_1333(size, expected):
    assert resized_size(*size) == expected


def test_masks_have_the_size_of_the_picture():
    """Two faces and one person: the larger face wins, a mask with a doubtful edge scores lower, nothing is invented."""
    found = parsed({"Face": (2, 4), "Human": (0, 32)}, {"Face": (20, 28)})
    assert sorted(zip(found.labels, (round(score, 2) for score in found.scores))) == [("Face", 1.0), ("Face", 1.0), ("Human", 1.0)]
    face = found.largest("Face")
    assert face.shape == (64, 96) and face.dtype == torch.bool
    assert face.sum() == pytest.approx(8 * 2 * 96, abs=96) and face[48].all() and not face[6].any()
    assert found.largest("Hair") is None
    both = found.total(["Face", "Hair"])
    assert both[48].all() and both[6].all() and not both[20].any()
    assert not found.total(["Hair"]).any() and found.total(["Hair"]).shape == (64, 96)


def test_parts_come_before_people_and_background_never():
    found = parsed({"Human": (0, 32), "Face": (2, 4), "Background": (4, 30)})
    assert found.labels == ["Face", "Human"]


def test_doubtful_masks_do_not_pass_for_sure():
    found = parsed({"Face": (2, 10)}, strength=0.3)
    assert found.largest("Face") is None and found.largest("Face", 0.5) is not None
    assert 0.5 < found.scores[0] < 0.7


def test_guesses_that_cannot_pass_cost_no_mask(monkeypatch):
    found = parsed({"Face": (2, 10)}, {"Hair": (0, 4)}, {"Coat": (9, 30)})
    made = []
    monkeypatch.setattr(Parsing, "_full_logits", lambda self, query: made.append(query) or torch.zeros(self.size))
    found.largest("Scarf")
    found.total(["Hat", "Socks"])
    assert made == []


@pytest.fixture
def on_gpu(monkeypatch):
    """Groups as on a GPU; a processor takes one picture at a time."""
    monkeypatch.setattr(parsing, "max_batch", lambda most, device: most)


def test_pictures_of_one_size_go_through_together(on_gpu):
    images = [torch.rand(40, 50, 3), torch.rand(50, 40, 3), torch.rand(40, 50, 3)]
    network = Bands()
    found = HumanParser(managed(network)).parse(images)
    assert [tuple(one.largest("Face").shape) for one in found] == [(40, 50), (50, 40), (40, 50)]
    assert sorted(shape[0] for shape in network.shapes) == [1, 2]
    assert all(side % 32 == 0 for shape in network.shapes for side in shape[2:])


def test_batches_are_bounded(monkeypatch, on_gpu):
    monkeypatch.setattr(parsing, "BATCH_PIXELS", 2 * 640 * 640)
    network = Bands()
    assert len(HumanParser(managed(network)).parse([torch.rand(50, 50, 3)] * 5)) == 5
    assert [shape[0] for shape in network.shapes] == [2, 2, 1]


def test_no_pictures():
    assert HumanParser(managed(Bands())).parse([]) == []


def test_batched_network_gives_the_numbers_of_single_pictures():
    torch.manual_seed(0)
    network = M2FP(counts=(1, 1, 1, 1), encoder_layers=1, decoder_layers=2, queries=5).eval()
    with torch.no_grad():
        network.sem_seg_head.pixel_decoder.transformer.level_embed.normal_()
    pictures = torch.randn(2, 3, 64, 96)
    together, alone = network(pictures), network(pictures[1:])
    for batched, single in zip(together, alone):
        assert (batched[1:] - single).abs().max() < 1e-4
    assert (together.masks[0] - together.masks[1]).abs().max() > 1e-2


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_a_large_photo_stays_under_one_and_a_half_gigabytes():
    """12 megapixels, 100 queries: measured in a process of its own, above what it held before, weights included."""
    paths = os.pathsep.join([str(ROOT), os.environ.get("COMFYUI_PATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    assert measured["guesses"] == 100 and measured["shape"] == [3000, 4000]
    assert measured["peak_mb"] < 1500, measured


MEASURE = """
import json, re, types
import comfy.cli_args
comfy.cli_args.args.cpu = True
import torch
from facechain_impl.networks.m2fp.parser import M2FP
from facechain_impl.perception.parsing import HumanParser

def megabytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024

torch.manual_seed(0)
network = M2FP().eval()
for value in network.parameters():
    if value.ndim > 1:
        torch.nn.init.normal_(value, 0, value[0].numel() ** -0.5)
network.sem_seg_head.predictor.class_embed.weight.data *= 8
image = torch.rand(3000, 4000, 3)
with torch.inference_mode():
    open("/proc/self/clear_refs", "w").write("5")
    before = megabytes("VmRSS")
    found, = HumanParser(types.SimpleNamespace(load=lambda: network, device="cpu")).parse([image])
    label = max(set(found._guesses), key=lambda guess: guess.probability).label
    from facechain_impl.perception.parsing import CLASSES
    mask = found.total([CLASSES[label]], 0.0)
    largest = found.largest(CLASSES[label], 0.0)
print(json.dumps({"guesses": len(found._guesses), "shape": list(mask.shape), "peak_mb": megabytes("VmHWM") - before}))
"""


def parsed(*queries: dict[str, tuple[int, int]], strength: float = 20.0) -> Parsing:
    """What would be found in a 96x64 picture if each label of each dict lay in the rows (from, to) of 32."""
    bands = [(label, rows) for query in queries for label, rows in query.items()]
    logits, masks = torch.zeros(len(bands), len(CLASSES) + 1), torch.full((len(bands), SIDE, SIDE), -strength)
    for index, (label, (start, stop)) in enumerate(bands):
        logits[index, CLASSES.index(label)] = 20
        masks[index, start:stop] = strength
    return Parsing(logits, masks, (SIDE * 4, SIDE * 4), (SIDE * 4, SIDE * 4), (64, 96))


class Bands:
    """Stands for the network: finds a face in the upper half of every picture."""

    def __init__(self):
        self.shapes = []

    def __call__(self, x: torch.Tensor) -> Queries:
        self.shapes.append(tuple(x.shape))
        logits = torch.zeros(len(x), 1, len(CLASSES) + 1)
        logits[..., CLASSES.index("Face")] = 20
        masks = torch.full((len(x), 1, x.shape[2] // 4, x.shape[3] // 4), -20.0)
        masks[:, :, : x.shape[2] // 8] = 20
        return Queries(logits, masks)


def managed(network):
    return SimpleNamespace(load=lambda: network, device="cpu")
