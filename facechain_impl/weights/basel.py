"""The few vertices of the Basel Face Model that the face fusion needs, read from the user's own copy of the model."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..errors import WeightsError
from ..networks.bfm import JAW
from . import convert, files
from .files import WeightFile

ARRAYS = ("meanshape", "idBase", "exBase", "keypoints")


def jaw(file: WeightFile) -> dict[str, torch.Tensor]:
    """Tensors of `networks.bfm.FaceShape` for the jaw. The model is read once; its 17 vertices are kept beside it.

    Raises WeightsError when the file is not BFM_model_front.mat."""
    kept = file.path.with_name(f"{file.name}.safetensors")
    if not kept.is_file() or files.is_stale(kept, file.path):
        metadata = {files.MARK: files.CONVERTED, "origin": file.origin.value, **files.fingerprint_metadata(file.path)}
        convert.write(kept, read(file.path, JAW), metadata)
    return load_file(kept)


def read(path, count: int) -> dict[str, torch.Tensor]:
    """The first `count` of the model's 68 landmarks: mean [count, 3], identity [count, 3, 80] and expression [count, 3, 64].

    The mean is taken relative to the centre of all vertices, as the reconstruction was trained."""
    try:
        arrays = loadmat(path, variable_names=ARRAYS)
    except (MatReadError, ValueError, NotImplementedError) as error:
        raise WeightsError(f"{path} is not a readable MATLAB file ({error}). Expected BFM_model_front.mat; get it again.") from error
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise WeightsError(f"{path} is not BFM_model_front.mat: it has no {', '.join(missing)}. Put the converted model of 2009 there.")
    vertices = arrays["meanshape"].size // 3
    last = int(arrays["keypoints"].max())
    if last > vertices:
        raise WeightsError(f"{path} names vertex {last}, but it has {vertices}. Put the converted model of 2009 there.")
    return select(*(arrays[name] for name in ARRAYS), count)


def select(mean: np.ndarray, identity: np.ndarray, expression: np.ndarray, keypoints: np.ndarray, count: int) -> dict[str, torch.Tensor]:
    """The same from the model's arrays: mean [1, 3 V], bases [3 V, K], keypoints [1, 68] counted from 1."""
    vertices = keypoints.reshape(-1)[:count].astype(np.int64) - 1
    mean = mean.reshape(-1, 3).astype(np.float32)
    parts = {
        "mean": (mean - mean.mean(0))[vertices],
        "identity": identity.reshape(len(mean), 3, -1)[vertices],
        "expression": expression.reshape(len(mean), 3, -1)[vertices],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(part, np.float32)) for name, part in parts.items()}
