"""A photo of 12 megapixels is no special case: what is found in it lies in its own pixels, and memory stays bounded.

The networks are replaced by ones of a known meaning, so that what is measured is what the pack itself holds above the photo,
which takes 144 MB. M2FP, whose masks are the largest of all, is measured with its real network in test_parsing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.geometry.affine import ARCFACE_112, align112
from facechain_impl.networks.bfm import JAW, FaceShape
from facechain_impl.networks.damofd import Maps
from facechain_impl.networks.flcm import Findings
from facechain_impl.networks.retinaface import Raw, anchors
from facechain_impl.perception.detection import DamoFDDetector
from facechain_impl.perception.landmark_confidence import LandmarkConfidence
from facechain_impl.perception.recognition import FaceRecognition
from facechain_impl.perception.retinaface import RetinaFace
from facechain_impl.perception.retouch import BlemishRemoval, SkinRetouch
from facechain_impl.perception.rotation import PhotoRotation
from facechain_impl.perception.tagging import Tagger
from facechain_impl.portrait.fusion.face_fusion import FaceFusion
from facechain_impl.types import Origin, digest_of

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
HEIGHT, WIDTH = 3000, 4000
POINTS = (ARCFACE_112 * 20 + [900, 400]).astype(np.float32)
BOX = np.array([1000.0, 500, 3000, 2500], np.float32)

pytestmark = pytest.mark.skipif(not RESET.exists(), reason="peak memory is read from Linux's /proc")


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """Grey, its left half redder."""
    image = torch.full((HEIGHT, WIDTH, 3), 0.5)
    image[:, : WIDTH // 2, 0] = 0.75
    return image


def within(megabytes: int, task: Callable):
    """What `task` gives. Fails when it needed more memory than that for a while."""
    RESET.write_text("5")
    before = _megabytes("VmRSS")
    found = task()
    used = _megabytes("VmHWM") - before
    assert used < megabytes, f"{used:.0f} MB"
    return found


def _megabytes(field: str) -> float:
    return int(re.search(field + r":\s+(\d+)", STATUS.read_text())[1]) / 1024


def managed(forward):
    return SimpleNamespace(load=lambda: forward, device="cpu", origin=Origin.PUBLISHED)


def session(forward):
    return SimpleNamespace(
        get_inputs=lambda: [SimpleNamespace(name="x", shape=[])], run=lambda outputs, feed: [forward(feed["x"])]
    )  # fmt: skip


def test_damofd(photo):
    def one_cell(x):
        """A face at column 20, row 10 of stride 8, 40 px to every side."""
        maps = [
            Maps(torch.full((1, 2, n, n), -20.0), torch.full((1, 8, n, n), 40 * n / 640), torch.zeros(1, 20, n, n)) for n in (80, 40, 20)
        ]
        maps[0].scores[0, 0, 10, 20] = 20
        return maps

    ((face,),) = within(250, lambda: DamoFDDetector(managed(one_cell)).detect([photo]))
    assert face.box == pytest.approx([120 * 6.25, 40 * 6.25, 200 * 6.25, 120 * 6.25])
    assert face.points == pytest.approx(np.tile([[1000, 500]], (5, 1)))


def test_retinaface(photo):
    def one_anchor(x):
        """A face of 16 px around column 50, row 20 of stride 8."""
        count = len(anchors(*x.shape[2:]))
        scores = torch.zeros(1, count, 2)
        scores[0, 2 * (20 * 125 + 50), 1] = 0.99
        return Raw(torch.zeros(1, count, 4), scores, torch.zeros(1, count, 10))

    ((face,),) = within(450, lambda: RetinaFace(managed(one_anchor)).detect([photo]))
    assert face.box == pytest.approx([396 * 4, 156 * 4, 412 * 4, 172 * 4])


def test_rotation(photo):
    def left_is_redder(x):
        return np.pad(np.stack([x[:, 2, :, 112:].mean((1, 2)), x[:, 2, :, :112].mean((1, 2))], 1), ((0, 0), (0, 2)), constant_values=-9)

    assert within(250, lambda: PhotoRotation(session(left_is_redder)).quarter_turns([photo] * 2)) == [1, 1]


def test_landmark_confidence(photo):
    def middle(x):
        assert x.shape == (1, 3, 120, 120)
        return Findings(x[:, 2].mean((1, 2))[:, None] / 255, None, None, None)

    (score,) = within(200, lambda: LandmarkConfidence(managed(middle)).score([photo], [BOX]))
    assert score == pytest.approx(1 - 0.625, abs=0.01)


def test_recognition(photo):
    """As attributes and quality it sees nothing but the aligned face."""

    def edges(x):
        return torch.nn.functional.pad(x[:, 0, 56, [5, -5]], (0, 510)), torch.zeros(1, 4)

    (found,) = within(150, lambda: FaceRecognition(managed(edges)).embed([align112(photo, POINTS)]))
    assert found.vector[:2] == pytest.approx(np.array([0.5, 0]) / 0.5, abs=1e-3)


def test_tagger(photo):
    def halves(x):
        return torch.logit(x[:, 256, [100, 400], 0])

    (found,) = within(400, lambda: Tagger(managed(halves), ["left", "right"]).tags([photo], 0.1))
    assert found == pytest.approx({"left": 0.75, "right": 0.5}, abs=0.01)


@pytest.mark.slow
def test_retouch(photo):
    brighter = managed(lambda x: torch.full((len(x), 3, 512, 512), 0.6))
    everywhere = session(lambda pixels: np.full((*pixels.shape[:2], 1), 255, np.float32))
    clean = BlemishRemoval(managed(lambda x: torch.full_like(x[:, :1], -9)), managed(lambda x, keep: x))
    (found,) = within(1200, lambda: SkinRetouch(brighter, everywhere, clean).retouch([photo], [BOX[None]]))
    smoothed = 0.5 + 2 * 0.07 * 0.25
    assert found.shape == photo.shape
    assert float(found[1500, 2500, 1]) == pytest.approx(smoothed + 2 * 0.12 * (smoothed - smoothed**2), abs=2e-3)
    assert float(found[100, 3900, 1]) == pytest.approx(0.5 + 2 * 0.12 * 0.25, abs=2e-3)


@pytest.mark.slow
def test_fusion(photo):
    jaw = FaceShape.from_state_dict(
        {"mean": torch.zeros(JAW, 3), "identity": torch.zeros(JAW, 3, 80), "expression": torch.zeros(JAW, 3, 64)}
    )
    inverted, as_it_is = managed(lambda x, identity, found, wanted: -x), managed(lambda x: x)
    means, nothing = managed(lambda x: x.mean((2, 3))), managed(lambda x: torch.zeros(len(x), 257))
    fusion = FaceFusion(means, nothing, jaw, inverted, torch.ones(256, 256), as_it_is)
    found = within(1200, lambda: fusion.fuse(photo, POINTS, photo, POINTS))
    assert found[1500, 1500].tolist() == pytest.approx([0.25, 0.5, 0.5], abs=5e-3)
    assert torch.equal(found[:, 3800:], photo[:, 3800:])


def test_digest(photo):
    assert within(50, lambda: digest_of(photo)) != digest_of(photo.flip(1))
