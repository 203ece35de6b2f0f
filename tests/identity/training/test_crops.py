"""What training pictures are cut from: whether they would be enlarged, and what the user is told then."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

crops = pytest.importorskip("facechain_impl.identity.training.crops", reason="set COMFYUI_PATH")
from facechain_impl.geometry.crop import LARGEST_SIZE  # noqa: E402
from facechain_impl.identity.training.settings import Augmentation  # noqa: E402
from facechain_impl.types import Face, Faces, Picture, digest_of, replace  # noqa: E402


def photo(side: int) -> torch.Tensor:
    return torch.zeros(side, side, 3)


def test_faceChains_own_sizes_need_no_remark():
    assert crops.remark([photo(512)], Augmentation.FACE_CROP, 512, [1.0]) == ""
    assert crops.remark([photo(1024)], Augmentation.CENTRE, 1024, [1.0]) == ""


@pytest.mark.parametrize("augmentation", [Augmentation.FACE_CROP, Augmentation.CENTRE])
def test_enlarged_training_pictures_are_told_with_a_way_out(augmentation):
    said = crops.remark([photo(2048), photo(512)], augmentation, 1024, [1.0, 1.0])
    assert "times (photo 2), so the LoRA learns blur. Set size of Face Align to 0" in said
    assert crops.enlargement(photo(512), augmentation, 1024) == pytest.approx(
        float(re.search(r"up to (\S+) times", said).group(1)), abs=0.06
    )
    assert "photo" not in crops.remark([photo(512)] * 2, augmentation, 1024, [1.0, 1.0]).split(", so")[0]


def test_the_largest_automatic_crops_are_never_enlarged_at_1024():
    assert crops.enlargement(photo(LARGEST_SIZE), Augmentation.FACE_CROP, 1024) <= 1


def cut(photos: list[torch.Tensor], scales: list[float]) -> Faces:
    """As Face Align tells of crops that it enlarged by these scales, turned a little."""
    turn = np.array([[0.8, -0.6, 5.0], [0.6, 0.8, -3.0], [0, 0, 1.0]])
    wholes, crops_of = [], []
    for index, (one, scale) in enumerate(zip(photos, scales)):
        face = Face(np.array([8, 8, 56, 56], np.float32), 1.0, crop_transform=np.diag([scale, scale, 1.0]) @ turn)
        wholes.append(Picture((Face(face.box, 0.5), face), (3000, 2000), f"whole {index}"))
        crops_of.append(Picture((replace(face, crop_transform=None),), tuple(one.shape[:2]), digest_of(one), source=f"whole {index}"))
    return Faces(tuple(wholes), tuple(crops_of))


def test_a_small_photo_beside_a_large_one_is_told():
    """Face Align makes all crops of one size, so that the crop alone does not show that it was enlarged."""
    photos = [photo(1536) + 0.1 * index for index in range(3)]
    scales = crops.scales(photos, cut(photos[:2], [0.5, 4.0]))
    assert scales == pytest.approx([1.0, 4.0, 1.0]) and crops.scales(photos, None) == [1.0] * 3
    assert "enlarged up to 3.9 times (photo 2)" in crops.remark(photos, Augmentation.FACE_CROP, 1024, scales)


@pytest.mark.parametrize(
    ("side", "augmentation", "scale", "expected"),
    [
        (512, Augmentation.FACE_CROP, 1.0, (389, 389)),
        (1536, Augmentation.FACE_CROP, 1.0, None),
        (1536, Augmentation.FACE_CROP, 3.0, (389, 389)),
        (800, Augmentation.RANDOM, 1.0, (800, 800)),
        (1024, Augmentation.CENTRE, 1.0, None),
        (512, Augmentation.BUCKETS, 2.0, (256, 256)),
    ],
)
def test_the_original_size_is_what_a_training_picture_shows_before_it_is_enlarged(side, augmentation, scale, expected):
    assert crops.original_size(photo(side), augmentation, 1024, scale) == expected


def test_it_has_the_shape_of_the_bucket():
    assert crops.original_size(torch.zeros(200, 400, 3), Augmentation.BUCKETS, 1024, 1.0) == (400, 200)
