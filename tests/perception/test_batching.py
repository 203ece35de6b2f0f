"""How pictures are grouped."""

from __future__ import annotations

import torch

from facechain_impl.perception.batching import batches, max_batch


def test_groups_of_one_size_and_bounded():
    sizes = [(10, 10), (20, 10), (10, 10), (10, 10), (50, 50)]
    assert list(batches(sizes, 200)) == [[0, 2], [3], [1], [4]]


def test_a_processor_takes_one_at_a_time():
    assert max_batch(8, "cpu") == max_batch(8, torch.device("cpu")) == 1
    assert max_batch(8, "cuda") == max_batch(8, torch.device("cuda", 1)) == 8
