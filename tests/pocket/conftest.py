"""Nothing here runs in a node: the making is a program of its own."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _no_inference_mode():
    with torch.inference_mode(False):
        yield
