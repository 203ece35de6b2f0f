"""The few vertices of the Basel Face Model that the face fusion needs, read from the user's copy of the model."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ..errors import WeightsError
from ..networks.bfm import JAW, SPLIT
from . import convert, files, headers
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


def read(path: Path, count: int) -> dict[str, torch.Tensor]:
    """The first `count` of the model's 68 landmarks: mean [count, 3], identity [count, 3, 80] and expression [count, 3, 64].

    The mean is taken relative to the centre of all vertices, as the reconstruction was trained."""
    # Slow to import, and only the first reading of this one file needs it.
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    headers.read(path)
    try:
        arrays = loadmat(path, variable_names=ARRAYS)
    except (MatReadError, ValueError, TypeError, NotImplementedError, OSError, zlib.error) as error:
        raise WeightsError(f"{path} is not a readable MATLAB file ({error}). Expected BFM_model_front.mat; get it again.") from error
    if problem := _problem(arrays, count):
        raise WeightsError(f"{path} is not BFM_model_front.mat: {problem}. Put the converted model of 2009 there.")
    return select(arrays["meanshape"], arrays["idBase"], arrays["exBase"], arrays["keypoints"], count)


def _problem(arrays: dict[str, np.ndarray], count: int) -> str:
    """What does not fit; empty when everything fits."""
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        return f"it has no {', '.join(missing)}"
    sides = arrays["meanshape"].size
    for name, columns in (("idBase", SPLIT[0]), ("exBase", SPLIT[1])):
        if arrays[name].shape != (sides, columns):
            return f"{name} has the shape {list(arrays[name].shape)} instead of {[sides, columns]}"
    keypoints = arrays["keypoints"].reshape(-1)
    if keypoints.size < count or keypoints.dtype.kind not in "iuf":
        return f"keypoints names {keypoints.size} vertices, at least {count} are needed"
    if not 1 <= keypoints.min() <= keypoints.max() <= sides // 3:
        return f"it names vertices {keypoints.min():g} to {keypoints.max():g}, but it has {sides // 3}"
    return ""


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
