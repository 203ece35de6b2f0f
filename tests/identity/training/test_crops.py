"""What training pictures are cut from: whether they would be enlarged, and what the user is told then."""

from __future__ import annotations

import re

import pytest
import torch

crops = pytest.importorskip("facechain_impl.identity.training.crops", reason="set COMFYUI_PATH")
from facechain_impl.geometry.crop import LARGEST_SIZE  # noqa: E402
from facechain_impl.identity.training.settings import Augmentation  # noqa: E402


def photo(side: int) -> torch.Tensor:
    return torch.zeros(side, side, 3)


def test_faceChains_own_sizes_need_no_remark():
    assert crops.remark([photo(512)], Augmentation.FACE_CROP, 512) == ""
    assert crops.remark([photo(1024)], Augmentation.CENTRE, 1024) == ""


@pytest.mark.parametrize("augmentation", [Augmentation.FACE_CROP, Augmentation.CENTRE])
def test_enlarged_training_pictures_are_told_with_a_way_out(augmentation):
    said = crops.remark([photo(2048), photo(512)], augmentation, 1024)
    assert "the LoRA learns blur. Set size of Face Align to 0" in said
    assert crops.enlargement([photo(512)], augmentation, 1024) == pytest.approx(
        float(re.search(r"up to (\S+) times", said).group(1)), abs=0.06
    )


def test_the_largest_automatic_crops_are_never_enlarged_at_1024():
    assert crops.enlargement([photo(LARGEST_SIZE)], Augmentation.FACE_CROP, 1024) <= 1
