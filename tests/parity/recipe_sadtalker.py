"""The stand-in weights behind the talking-head fixtures: recipe.py with other scales."""

from __future__ import annotations

import re

import numpy as np

from . import recipe

# list -> (pattern, factor, offset); "unit" brings a tensor of the recipe to N(0, 1)
OVERRIDES = {
    "bundle": [
        (r"\.classbias$", "unit", 0.0),
        (r"^face_3drecon\..*layer\d\.\d+\.bn3\.weight$", 0.5, 0.0),
        (r"^face_3drecon\.final_layers\.\d\.weight$", 0.03, 0.0),
        (r"audio_encoder\.\d+\.conv_block\.1\.weight$", 0.6, 0.0),
        (r"^audio2exp\.mapping1\.weight$", 0.3, 0.0),
        (r"^kp_extractor\.kp\.weight$", 0.3, 0.0),
        (r"^generator\.second\.weight$", 0.5, 0.0),
        (r"^generator\.resblocks_3d\.3dr\d\.conv2\.weight$", 0.3, 0.0),
        (r"^generator\.dense_motion_network\.compress\.weight$", 0.5, 0.0),
        (r"^generator\.dense_motion_network\.mask\.weight$", 5.0, 0.0),
        (r"^generator\.dense_motion_network\.occlusion\.weight$", 4.0, 0.0),
        (r"^generator\.decoder\.conv_img\.weight$", 0.5, 0.0),
    ],
    "mapping": [(r"^fc_(yaw|pitch|roll)\.weight$", 2.0, 0.0), (r"^fc_(t|exp)\.weight$", 0.1, 0.0)],
    "fan": [(r"\.(bn[123]|downsample\.0)\.weight$", 0.4, 0.0), (r"^bn_end\d\.weight$", 0.3, 0.0)],
    "retinaface": [
        (r"^body\.conv1\.weight$", 0.015, 0.0),
        (r"^body\.layer\d\.\d+\.bn3\.weight$", 0.5, 0.0),
        (r"^ClassHead\.", 0.06, 0.0),
        (r"^(BboxHead|LandmarkHead)\.", 0.015, 0.0),
    ],
    "gfpgan": [
        (r"^conv_body_(down|up)\.\d\.(conv2|skip)\.weight$", 0.5, 0.0),
        (r"^final_linear\.weight$", 0.3, 0.0),
        (r"^condition_scale\.\d\.2\.weight$", 0.3, 0.0),
        (r"^condition_scale\.\d\.2\.bias$", 1.0, 1.0),
        (r"^condition_shift\.\d\.2\.weight$", 0.3, 0.0),
        (r"noises\.noise\d+$", "unit", 0.0),
        (r"constant_input\.weight$", "unit", 0.0),
        (r"modulation\.bias$", 1.0, 1.0),
        (r"modulation\.weight$", 0.3, 0.0),
        (r"style_conv(1|s\.\d+)\.weight$", 0.2, 0.0),
        (r"to_rgb(1|s\.\d+)\.bias$", 0.1, 0.0),
        (r"to_rgb(1|s\.\d+)\.modulated_conv\.weight$", 0.2, 0.0),
    ],
    "parsenet": [(r"\.conv2\.norm\.norm\.weight$", 0.4, 0.0)],
}


def maker(name: str):
    """`recipe.make` for the key list `name`; a leading "module." of a published name is not part of the random stream."""

    def make(rows: list, seed: int) -> dict[str, np.ndarray]:
        plain = [(row[0].removeprefix("module."), *row[1:]) for row in rows]
        arrays = _unscaled(plain, seed)
        for key, shape, _ in plain:
            arrays[key] = _overridden(key, shape, arrays, OVERRIDES[name], seed)
        if name == "mapping":  # columns 70:73 are a scale and a translation in pixels
            arrays["first.0.weight"][:, 71:] *= np.float32(0.005)
        return {row[0]: arrays[key] for row, (key, *_) in zip(rows, plain)}

    return make


def _unscaled(rows: list, seed: int) -> dict[str, np.ndarray]:
    tables = recipe.SCALE, recipe.SHIFT, recipe.CENTRE
    recipe.SCALE, recipe.SHIFT, recipe.CENTRE = [], [], re.compile("(?!)")
    try:
        return recipe.make(rows, seed)
    finally:
        recipe.SCALE, recipe.SHIFT, recipe.CENTRE = tables


def _overridden(key: str, shape: tuple, arrays: dict, overrides: list, seed: int) -> np.ndarray:
    array = arrays[key]
    for pattern, factor, add in overrides:
        if re.search(pattern, key):
            factor = np.sqrt(np.prod(shape[1:])) / recipe.GAIN if factor == "unit" else factor
            array = (array * np.float32(factor) + np.float32(add)).astype(np.float32)
    return _sane_norm(key, array, arrays, seed) if key.endswith("weight_orig") else array


def _sane_norm(key: str, weight: np.ndarray, arrays: dict, seed: int) -> np.ndarray:
    """Moved along u v^T so that the norm which evaluation divides by, u.(W v), is 0.7 to 1.5."""
    base = key.removesuffix("weight_orig")
    u, v = arrays[base + "weight_u"].astype(np.float64), arrays[base + "weight_v"].astype(np.float64)
    matrix = weight.reshape(len(u), -1).astype(np.float64)
    norm = 0.7 + 0.8 * recipe.rng(key + ":sigma", seed).random()
    return (matrix + np.outer(u, v) * (norm - u @ (matrix @ v))).astype(np.float32).reshape(weight.shape)
