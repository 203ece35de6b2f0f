"""The train-free adapter against upstream: encoder, projector and one gated block inside a UNet's attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facechain_impl.geometry.affine import align112
from facechain_impl.networks.fact import HEADS, TOKENS, FaceProjector, GatedFaceAttention
from facechain_impl.networks.transface import TransFace

FIXTURES = ("fact",)
LIMITS = {"max": 1e-4, "rel": 2e-5}
ATTENTION = {f"to_{part}.weight": ((320, 320 if part == "q" else 768), torch.float32) for part in "qkv"} | {
    "to_out.0.weight": ((320, 320), torch.float32),
    "to_out.0.bias": ((320,), torch.float32),
}


@pytest.fixture(scope="module")
def encoder(case):
    return case.network(TransFace, "transface_s")


@pytest.fixture(scope="module")
def projector(case):
    return case.network(FaceProjector, "fact_projector")


def test_encoder_and_projector(case, encoder, projector):
    tokens = encoder(case.random("transface.x", "x_shape", -1, 1))
    case.compare("tokens", tokens, **LIMITS)
    case.compare("projected", projector(tokens), **LIMITS)
    case.compare("projected_null", projector(torch.zeros_like(tokens)), **LIMITS)


def test_heads_that_are_left_out(case, encoder):
    """The adapter does not use the global embedding; computed here from the tensors that the network leaves out."""
    weights = case.weights("transface_s", TransFace.layout())
    tokens = encoder(case.random("transface.x", "x_shape", -1, 1))
    share = F.linear(F.relu(F.linear(tokens.flatten(1), weights["senet.0.weight"])), weights["senet.2.weight"]).sigmoid()
    x = (tokens * share[..., None]).flatten(1)
    for linear, norm in ((0, 1), (2, 3)):
        mean, var, scale, shift = (weights[f"feature.{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        x = F.batch_norm(F.linear(x, weights[f"feature.{linear}.weight"]), mean, var, scale, shift, eps=2e-5)
    case.compare("global_unused", x, **LIMITS)


def test_photo(case, encoder, projector):
    """The crop is warped here; the network's limits are widened by what single pixels one level off make."""
    crop = align112(case.picture("main") * 255, case.input("photo_points")).round() / 255
    tokens = encoder(crop.permute(2, 0, 1)[None] * 2 - 1)
    case.compare("photo_tokens", tokens, max=1e-2, rel=1e-3, photo="main")
    case.compare("photo_projected", projector(tokens), max=1e-2, rel=1e-3, photo="main")


@pytest.mark.parametrize(("name", "stream"), [("one", "fact.text1"), ("half", "fact.text1"), ("two", "fact.text2")])
def test_block(case, name, stream):
    gate = case.network(GatedFaceAttention, "fact_processor320")
    norm = case.weights("fact_processor320", GatedFaceAttention.layout())
    images, scale = case.input(f"block_{name}_images_scale")
    hidden = case.random("fact.hidden", "block_hidden_shape", -1, 1)
    face = TOKENS * int(images)
    context = case.random(stream, (hidden.shape[0], 77 + face, 768), -1, 1)
    gated = gate(hidden, context[:, -face:], float(scale))
    normed = F.layer_norm(gated, gated.shape[-1:], norm["ln.weight"], norm["ln.bias"])
    found = host_attention(case.weights("sd15_attn2_320", ATTENTION), normed, context[:, :-face]) + gated - hidden
    case.compare(f"block_{name}", found, **LIMITS)


def host_attention(weights, x, context):
    q, k, v = (F.linear(value, weights[f"to_{part}.weight"]) for part, value in (("q", x), ("k", context), ("v", context)))
    q, k, v = (value.unflatten(-1, (HEADS, -1)).transpose(1, 2) for value in (q, k, v))
    x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return F.linear(x, weights["to_out.0.weight"], weights["to_out.0.bias"])
