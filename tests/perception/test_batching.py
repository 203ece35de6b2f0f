"""How pictures are grouped and turned into bytes."""

from __future__ import annotations

import torch

from facechain_impl.perception.batching import as_bytes, batches, max_batch


def test_groups_of_one_size_and_bounded():
    sizes = [(10, 10), (20, 10), (10, 10), (10, 10), (50, 50)]
    assert list(batches(sizes, 200)) == [[0, 2], [3], [1], [4]]


def test_a_processor_takes_one_at_a_time():
    assert max_batch(8, "cpu") == max_batch(8, torch.device("cpu")) == 1
    assert max_batch(8, "cuda") == max_batch(8, torch.device("cuda", 1)) == 8


def test_bytes_survive_the_way_through_floats():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).expand(16, 16, 3)
    assert (as_bytes(pixels.float() / 255) == pixels.numpy()).all()


def test_values_outside_are_clamped():
    assert as_bytes(torch.tensor([[[-1.0, 0.5, 2.0]]])).tolist() == [[[0, 128, 255]]]
