"""Deterministic stand-in weights and inputs for the parity fixtures. Needs numpy only.

    keys = read_keys("keys/rts.tsv")
    weights = make(keys, seed=1)        # dict name -> np.ndarray, same names, shapes and dtypes as the published state dict
    x = array("rts.x", (2, 3, 112, 112), -1.0, 1.0, seed=1)
    fingerprint(weights)                # crc32, compare with the "# crc32 seed N" comment in the .tsv

Every tensor depends only on (seed, its name, its shape, the set of names beside it), never on the order of the list.
Random numbers come from numpy Generator(PCG64([seed, crc32(name)])), drawn in float32.

Rules, first match wins (``fan`` is the product of all dimensions but the first):
  num_batches_tracked                     0 (int64)
  integral.project                        0, 1, 2 ... n-1                     (fixed buffer, unused by the network)
  *.kernel (4, 4)                         [1,3,3,1] outer product / 64; four times that when the name has 'upsample' or
                                          'convs.' (these blurs follow a x2 upsampling)     (fixed buffer)
  down.weight (c, 1, k, k)                the antialias Gaussian: sigma 1.5 for k = 13, sums to 1  (fixed buffer)
  running_mean / running_var              normal 0.1 / uniform 0.5-1.5
  *.weight_u, *.weight_v                  a normal vector of length 1
  *.weight_bar                            normal gain/sqrt(fan), then moved along u v^T so that u.(W v) is exactly c,
                                          c uniform 0.7-1.5: dividing by the stored sigma changes numbers, sanely
  embeddings, latents, constants (EMBED)  normal 0.5
  equalised layers (a list with           weights normal 1 because the layer scales them at run time; the style MLP's
    'generator.style.1.weight')           weights normal 100 (learning-rate multiplier .01); modulation bias normal .05 + 1
  two or more dimensions                  normal gain/sqrt(fan), gain 1.4
  1-d '...weight' with no '...bias'       uniform 0.1-0.4   (PReLU slopes, noise strengths)
  1-d '...weight'                         uniform 0.5-1.5   (norm scales)
  0-d                                     uniform 0.5-1.5   (scales, gates)
  everything else (biases)                normal 0.05
After that CENTRE removes the mean of each output filter (so that the share of detections depends less on the seed), SCALE
multiplies and SHIFT adds, for every pattern found in the name. They only keep activations and outputs in range.
"""

import re
import zlib

import numpy as np

GAIN = 1.4
EMBED = re.compile(r"(level_embed|query_feat|query_embed)(\.weight)?$|(^|\.)(pos_embed|latents|mask_token|input\.input)$")

SCALE = [  # (pattern, names that must also be in the list for the rule to apply, factor)
    (r"res_layer\.4\.weight$", None, 0.3),  # last norm of an IR residual branch
    (r"layer\d\.\d+\.bn3\.weight$", None, 0.5),  # last norm of a bottleneck branch
    (r"layer\d\.\d+\.bn2\.weight$", "fc.weight", 0.5),  # last norm of a basic-block branch (ResNet-34)
    (r"res\d\.\d+\.conv3\.norm\.weight$", None, 0.4),  # the same in the parsing backbone
    (r"^n_Conv_\d+\.weight$", None, 0.7),  # tagger: no norms at all
    (r"^bbox_head\.stride_reg\.0\.weight$", None, 0.35),
    (r"^bbox_head\.stride_cls\.0\.weight$", None, 0.6),
    (r"^body\.conv1\.weight$", None, 0.015),  # these two networks read 0-255 pictures
    (r"^landmark_net\.conv_pre\.0\.weight$", None, 0.008),
    (r"^fc\.weight$", "layer4.2.bn2.weight", 0.03),
    (r"^final_layers\.\d\.weight$", None, 0.02),
    (r"^ClassHead\..*weight$", None, 0.018),
    (r"^(BboxHead|LandmarkHead)\..*weight$", None, 0.01),
    (r"predictor\.query_feat\.weight$", None, 8.0),
    (r"predictor\.transformer_.*(out_proj|linear2)\.weight$", None, 0.1),
    (r"predictor\.class_embed\.weight$", None, 3.0),
    (r"^(outc|dc_images_6|out|final)\b.*weight$", None, 0.5),
]
CENTRE = re.compile(r"^(bbox_head\.stride_cls|ClassHead)\..*weight$")
SHIFT = [
    (r"^bbox_head\.stride_reg\.0\.bias$", None, 2.0),
    (r"^bbox_head\.stride_cls\.0\.bias$", None, -1.9),
]


def read_keys(path):
    """[(name, shape, dtype)] from a .tsv; lines that start with # are comments; shape '-' is a scalar."""
    rows = []
    with open(path, encoding="utf-8") as f:
        for line in f:
            if line.startswith("#") or not line.strip():
                continue
            name, shape, dtype = line.rstrip("\n").split("\t")
            rows.append((name, () if shape == "-" else tuple(int(n) for n in shape.split("x")), dtype))
    return rows


def rng(name, seed):
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode("utf-8"))]))


def array(name, shape, low, high, seed):
    """Uniform float32 input; ``name`` picks the stream."""
    return (low + (high - low) * rng("input:" + name, seed).random(shape, dtype=np.float32)).astype(np.float32)


def make(keys, seed):
    """dict name -> array for a list of (name, shape, dtype)."""
    names = {k[0] for k in keys}
    shapes = {k[0]: tuple(k[1]) for k in keys}
    out = {}
    for name, shape, dtype in keys:
        value = _value(name, tuple(shape), names, shapes, seed)
        if CENTRE.search(name):
            value = value - value.reshape(shape[0], -1).mean(1).reshape((-1,) + (1,) * (len(shape) - 1))
        if not name.endswith("num_batches_tracked"):
            for pattern, needs, factor in SCALE:
                if (needs is None or needs in names) and re.search(pattern, name):
                    value = value * np.float32(factor)
            for pattern, needs, offset in SHIFT:
                if (needs is None or needs in names) and re.search(pattern, name):
                    value = value + np.float32(offset)
        out[name] = np.asarray(value).astype(dtype).reshape(shape)
    return out


def fingerprint(weights):
    crc = 0
    for name in sorted(weights):
        crc = zlib.crc32(np.ascontiguousarray(weights[name]).tobytes(), zlib.crc32(name.encode("utf-8"), crc))
    return crc


def _normal(name, shape, std, seed):
    return rng(name, seed).standard_normal(shape, dtype=np.float32) * np.float32(std)


def _uniform(name, shape, low, high, seed):
    return np.float32(low) + np.float32(high - low) * rng(name, seed).random(shape, dtype=np.float32)


def _unit(name, size, seed):
    v = rng(name, seed).standard_normal(size)
    return (v / np.linalg.norm(v)).astype(np.float32)


def _weight_bar(name, shape, seed):
    fan = int(np.prod(shape[1:]))
    w = _normal(name, (shape[0], fan), GAIN / np.sqrt(fan), seed)
    base = name[: -len("weight_bar")]
    u, v = _unit(base + "weight_u", shape[0], seed).astype(np.float64), _unit(base + "weight_v", fan, seed).astype(np.float64)
    c = 0.7 + 0.8 * rng(name + ":sigma", seed).random()
    sigma = u @ (w.astype(np.float64) @ v)
    return (w + np.outer(u, v) * (c - sigma)).astype(np.float32).reshape(shape)


def _blur(name):
    k = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64
    return k * 4 if ("upsample" in name or "convs." in name) else k


def _gaussian(shape):
    k = shape[-1]
    d = np.arange(k, dtype=np.float32) - (k - 1) / 2
    g = np.exp(-(d**2) / (2 * 1.5**2))
    g = np.outer(g, g)
    return np.broadcast_to((g / g.sum()).astype(np.float32), shape).copy()


def _value(name, shape, names, shapes, seed):
    equalised = "generator.style.1.weight" in names
    if name.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    if name.endswith("integral.project"):
        return np.arange(shape[0], dtype=np.float32)
    if name.endswith(".kernel") and shape == (4, 4):
        return _blur(name)
    if name.endswith("down.weight") and len(shape) == 4 and shape[1] == 1 and shape[-1] == 13:
        return _gaussian(shape)
    if name.endswith("running_mean"):
        return _normal(name, shape, 0.1, seed)
    if name.endswith("running_var"):
        return _uniform(name, shape, 0.5, 1.5, seed)
    if name.endswith(("weight_u", "weight_v")):
        return _unit(name, shape[0], seed)
    if name.endswith("weight_bar"):
        return _weight_bar(name, shape, seed)
    if EMBED.search(name):
        return _normal(name, shape, 0.5, seed)
    if equalised and len(shape) >= 2:
        return _normal(name, shape, 100.0 if ".style." in name else 1.0, seed)
    if equalised and name.endswith("modulation.bias"):
        return _normal(name, shape, 0.05, seed) + np.float32(1)
    if len(shape) >= 2:
        return _normal(name, shape, GAIN / np.sqrt(np.prod(shape[1:])), seed)
    if len(shape) == 0:
        return _uniform(name, shape, 0.5, 1.5, seed)
    if name.endswith("weight"):
        low, high = (0.5, 1.5) if name[: -len("weight")] + "bias" in names else (0.1, 0.4)
        return _uniform(name, shape, low, high, seed)
    return _normal(name, shape, 0.05, seed)
