"""Tags of several pictures, and the letterbox."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import WeightsError
from facechain_impl.perception.tagging import Tagger, letterbox


class Bright:
    """Answers how red, green and blue a picture is."""

    device = "cpu"

    def __init__(self):
        self.batches = []

    def load(self):
        return self

    def __call__(self, x):
        self.batches.append(len(x))
        return torch.logit(x.mean((1, 2)).clamp(0.01, 0.99))


def colour(*rgb, size=(40, 30)):
    return torch.tensor(rgb).expand(*size, 3)


def test_pictures_of_all_sizes_share_batches():
    network = Bright()
    images = [colour(0.9, 0.5, 0.1, size=(20 + 7 * i, 60 - 5 * i)) for i in range(5)] + [colour(0.0, 0.0, 0.6)]
    found = Tagger(network, ["red", "rating:safe", "blue"]).tags(images, 0.5)
    assert network.batches == [4, 2]
    assert [list(tags) for tags in found] == [["red", "rating:safe"]] * 5 + [["blue"]]
    assert found[0]["red"] == pytest.approx(0.9, abs=0.01)


def test_another_number_of_tags_is_refused():
    with pytest.raises(WeightsError, match="returns 3 tags, but its file names 2"):
        Tagger(Bright(), ["red", "green"]).tags([colour(1.0, 1.0, 1.0)], 0.5)


@pytest.mark.parametrize(("size", "bar"), [((512, 512), 0), ((1000, 500), 128), ((500, 1000), 128), ((2000, 3), 256), ((1, 2000), 256)])
def test_letterbox_stretches_the_edges_over_the_bars(size, bar):
    image = torch.rand(*size, 3, generator=torch.Generator().manual_seed(1))
    boxed = letterbox(image)
    assert boxed.shape == (512, 512, 3)
    along = boxed if size[0] < size[1] else boxed.transpose(0, 1)
    assert torch.equal(along[:bar], along[:1].expand(bar, -1, -1))
    assert torch.equal(along[512 - bar :], along[-1:].expand(bar, -1, -1))
    assert torch.allclose(along[bar : max(512 - bar, bar + 1)].mean((0, 1)), image.mean((0, 1)), atol=0.01)


def test_letterbox_of_the_right_size_changes_nothing():
    image = (torch.rand(512, 512, 3) * 255).round() / 255
    assert torch.allclose(letterbox(image), image, atol=1e-6)
