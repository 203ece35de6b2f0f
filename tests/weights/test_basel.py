"""The few vertices of the user's Basel Face Model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import savemat

from facechain_impl.errors import WeightsError
from facechain_impl.networks.bfm import FaceShape
from facechain_impl.types import Origin
from facechain_impl.weights import basel, load
from facechain_impl.weights.files import WeightFile


def arrays(vertices=30, seed=0):
    random = np.random.default_rng(seed)
    return {
        "meanshape": random.normal(5, 1, (1, 3 * vertices)),
        "idBase": random.normal(0, 1, (3 * vertices, 80)),
        "exBase": random.normal(0, 1, (3 * vertices, 64)),
        "keypoints": random.permutation(vertices)[None, :20] + 1,
        "texBase": random.normal(0, 1, (3 * vertices, 80)),
    }


def file_of(path) -> WeightFile:
    return WeightFile("fusion_bfm", path, Origin.UNKNOWN, ("fusion_bfm",))


def test_only_the_jaw_is_read_and_kept(tmp_path):
    model = arrays()
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, model)
    found = basel.jaw(file_of(path))
    keypoints = model["keypoints"][0, :17] - 1
    mean = model["meanshape"].reshape(-1, 3)
    np.testing.assert_allclose(found["mean"], (mean - mean.mean(0))[keypoints], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found["identity"][3], model["idBase"][3 * keypoints[3] : 3 * keypoints[3] + 3], rtol=1e-5)
    np.testing.assert_allclose(found["expression"][16], model["exBase"][3 * keypoints[16] : 3 * keypoints[16] + 3], rtol=1e-5)
    kept = tmp_path / "fusion_bfm.safetensors"
    assert kept.stat().st_size < 60_000
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {n: s for n, (s, _) in FaceShape.layout().items()}


def test_the_kept_vertices_are_used_until_the_model_changes(tmp_path, monkeypatch):
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, arrays(seed=1))
    first = basel.jaw(file_of(path))
    with monkeypatch.context() as patch:
        patch.setattr(basel, "read", lambda *_: pytest.fail("read again"))
        assert torch.equal(basel.jaw(file_of(path))["mean"], first["mean"])
    savemat(path, arrays(vertices=31, seed=2))
    assert not torch.equal(basel.jaw(file_of(path))["mean"], first["mean"])


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, {name: value for name, value in arrays().items() if name in ("meanshape", "idBase")})
    with pytest.raises(WeightsError, match="it has no exBase, keypoints"):
        basel.jaw(file_of(path))
    path.write_bytes(b"no matlab file at all" * 20)
    with pytest.raises(WeightsError, match="should be a MATLAB file"):
        basel.jaw(file_of(path))
    savemat(path, arrays() | {"keypoints": np.array([[1, 2, 99] * 20])})
    with pytest.raises(WeightsError, match="names vertices 1 to 99, but it has 30"):
        basel.jaw(file_of(path))
    assert not (tmp_path / "fusion_bfm.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [({"idBase": np.zeros((90, 7))}, r"idBase has the shape \[90, 7\] instead of \[90, 80\]"),
     ({"exBase": np.zeros((5, 64))}, r"exBase has the shape \[5, 64\]"), ({"keypoints": np.array([[1, 2, 3]])}, "names 3 vertices"),
     ({"keypoints": np.array([[0] * 20])}, "vertices 0 to 0"), ({"keypoints": np.array(["a" * 20])}, "at least 17 are needed")],
)  # fmt: skip
def test_arrays_that_do_not_belong_together(tmp_path, change, message):
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, arrays() | change)
    with pytest.raises(WeightsError, match=message):
        basel.jaw(file_of(path))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_never_read(tmp_path, monkeypatch, compressed, share):
    path = tmp_path / "BFM_model_front.mat"
    savemat(path, arrays(), do_compression=compressed)
    path.write_bytes(path.read_bytes()[: max(int(path.stat().st_size * share), 130)])
    monkeypatch.setattr("scipy.io.loadmat", lambda *_, **__: pytest.fail("a damaged file was read"))
    with pytest.raises(WeightsError, match="cut off. Delete it and get it again"):
        basel.jaw(file_of(path))


def test_the_stand_in_fits(published):
    path = published("fusion_bfm")
    shape = FaceShape.from_state_dict(basel.jaw(load.find("fusion_bfm")))
    points = shape(torch.zeros(2, 257))
    assert points.shape == (2, 17, 2) and path.with_name("fusion_bfm.safetensors").is_file()
    assert points[0, 0, 0] < points[0, 8, 0] < points[0, 16, 0]
    assert points[0, 8, 1] > points[0, 0, 1], "the chin is below the ears, and y points down"
