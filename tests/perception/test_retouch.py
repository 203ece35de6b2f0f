"""The skin retouch on whole pictures, with networks of a known meaning."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from facechain_impl.errors import WeightsError
from facechain_impl.perception import retouch
from facechain_impl.perception.retouch import BlemishRemoval, Settings, SkinRetouch

SMOOTH = Settings(whitening=0)


class Network:
    """A network on the CPU that counts what it was given."""

    device = "cpu"

    def __init__(self, forward):
        self.forward, self.batches = forward, []

    def load(self):
        def run(*inputs):
            self.batches.append(len(inputs[0]))
            return self.forward(*inputs)

        return run


class Session:
    def __init__(self, answer, channels=3):
        self.answer, self.channels, self.seen = answer, channels, []

    def get_inputs(self):
        return [SimpleNamespace(name="input", shape=["height", "width", self.channels])]

    def run(self, outputs, feed):
        self.seen.append(feed["input"])
        return [self.answer(feed["input"])]


@pytest.fixture
def generator():
    """Brightens what is bright, darkens what is dark."""
    return Network(lambda x: torch.sigmoid(2 * x))


def picture(height, width, seed=0):
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def test_only_the_squares_change(generator):
    image = picture(120, 160)
    (result,) = SkinRetouch(generator, settings=SMOOTH).retouch([image], [np.array([[60.0, 40.0, 90.0, 80.0]])])
    x0, y0, x1, y1 = retouch.square_box(np.array([60.0, 40.0, 90.0, 80.0]))
    assert (x1 - x0, y1 - y0) == (60, 60)
    changed = (result != image).any(-1)
    outside = torch.ones_like(changed)
    outside[y0:y1, x0:x1] = False
    assert not changed[outside].any()
    assert changed[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5].float().mean() > 0.9
    change = (result - image).abs().mean(-1)
    assert change[y0, x0:x1].mean() < 0.3 * change[y0 + 10 : y1 - 10, x0 + 10 : x1 - 10].mean(), "it fades at the border"


def test_a_picture_without_a_face_is_left_to_the_caller(generator):
    images = [picture(64, 64, 1), picture(64, 64, 2), picture(64, 64, 3)]
    boxes = [np.zeros((0, 4)), np.array([[10.0, 10.0, 50.0, 50.0]]), np.array([[900.0, 900.0, 950.0, 950.0]])]
    first, second, third = SkinRetouch(generator, settings=SMOOTH).retouch(images, boxes)
    assert first is None and third is None
    assert second.shape == images[1].shape


def test_faces_of_all_pictures_share_batches(generator, monkeypatch):
    monkeypatch.setattr(retouch, "max_batch", lambda most, device: most)
    images = [picture(96, 80, seed) for seed in range(5)]
    boxes = [np.array([[8.0, 8.0, 40.0, 40.0], [30.0, 40.0, 70.0, 80.0]])] * 5
    together = SkinRetouch(generator, settings=SMOOTH).retouch(images, boxes)
    assert generator.batches == [8, 2]
    alone = [SkinRetouch(generator, settings=SMOOTH).retouch([image], [box])[0] for image, box in zip(images, boxes)]
    for a, b in zip(together, alone):
        assert torch.allclose(a, b, atol=1e-5)


def test_the_degree_scales_the_layer(generator):
    image, box = picture(64, 64), [np.array([[10.0, 10.0, 50.0, 50.0]])]
    results = [SkinRetouch(generator, settings=Settings(degree=d, whitening=0)).retouch([image], box)[0] for d in (0, 0.5, 1)]
    assert torch.allclose(results[0], image, atol=1e-6)
    half, full = results[1] - image, results[2] - image
    assert torch.allclose(half * 2, full, atol=1e-5) and full.abs().max() > 1e-3


def test_whitening_brightens_the_skin_that_the_mask_names(generator):
    def left_half(pixels):
        mask = np.zeros((*pixels.shape[:2], 1), np.float32)
        mask[:, : pixels.shape[1] // 2] = 255
        return mask

    image, mask = picture(200, 400) * 0.5 + 0.25, Session(left_half)
    neutral = Network(lambda x: torch.full((len(x), 3, 512, 512), 0.5))
    (result,) = SkinRetouch(neutral, mask, settings=Settings(whitening=0.8)).retouch([image], [np.array([[180.0, 80.0, 220.0, 120.0]])])
    assert mask.seen[0].shape == (400, 800, 3) and mask.seen[0].max() > 100
    assert torch.equal(result[:, 260:], image[:, 260:])
    gain = (result - image)[:, :140].mean((0, 1)).tolist()
    assert gain[0] > gain[1] > 0.01
    assert gain[1] == pytest.approx(gain[0] * 0.75, rel=0.1)


def test_a_foreign_mask_network_is_named(generator):
    mask = Session(lambda pixels: np.zeros((1, 4), np.float32))
    with pytest.raises(WeightsError, match="skin mask network"):
        SkinRetouch(generator, mask).retouch([picture(64, 64)], [np.array([[10.0, 10.0, 50.0, 50.0]])])
    mask = Session(lambda pixels: pytest.fail("a foreign network was run"), channels=1)
    with pytest.raises(WeightsError, match=r"skin_mask takes \['height', 'width', 1\] instead of \[800, 800, 3\].*models get skin_mask"):
        SkinRetouch(generator, mask).retouch([picture(64, 64)], [np.array([[10.0, 10.0, 50.0, 50.0]])])


def test_spots_are_painted_over_tile_by_tile():
    """A detector that calls the left third certain, the middle doubtful, the right clean; a painter that paints grey."""

    def spots(x):
        columns = torch.linspace(0, 1, x.shape[-1]).expand(len(x), 1, *x.shape[-2:])
        return torch.where(columns < 1 / 3, 4.0, torch.where(columns < 2 / 3, torch.logit(torch.tensor(0.4)), -4.0))

    detection, painter = Network(spots), Network(lambda x, keep: torch.zeros_like(x))
    image = picture(700, 900)
    result = BlemishRemoval(detection, painter).remove(image)
    assert len(painter.batches) == 4
    assert torch.allclose(result[:, :290], torch.full((700, 290, 3), 0.5), atol=1e-6)
    assert torch.allclose(result[:, 310:590], 0.6 * image[:, 310:590] + 0.4 * 0.5, atol=1e-5)
    assert torch.allclose(result[:, 610:], image[:, 610:], atol=1e-6)


def test_only_the_networks_that_are_asked_for_are_opened(monkeypatch):
    opened = []
    monkeypatch.setattr(retouch.models, "open_network", lambda name: opened.append(name) or Network(None))
    monkeypatch.setattr(retouch.models, "open_session", lambda name: opened.append(name) or Session(None))
    retouch.open_retouch()
    assert opened == ["skin_unet", "skin_mask"]
    opened.clear()
    retouch.open_retouch(Settings(blemishes=True, whitening=0))
    assert opened == ["skin_unet", "skin_detection", "skin_inpainting"]
