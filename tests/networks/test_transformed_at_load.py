"""Networks that load something else than they hold: folded norms, heads left out, optional copies."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import KeyMismatch
from facechain_impl.networks import aei, fact
from facechain_impl.networks.transface import TransFace, unused_heads


def filled(layout, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(shape, generator=generator) if dtype.is_floating_point else torch.zeros(shape, dtype=dtype)
        for name, (shape, dtype) in layout.items()
    }


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.sa = aei.SpectralConv2d(4, 6, 3, padding=1)
        self.plain = torch.nn.Conv2d(6, 2, 1)


def test_spectral_norm_is_divided_out_once():
    with torch.device("meta"):
        layout = aei.published(Attention())
    assert layout["sa.module.weight_bar"][0] == (6, 4, 3, 3)
    assert layout["sa.module.weight_u"][0] == (6,)
    assert layout["sa.module.weight_v"][0] == (36,)
    assert "sa.weight" not in layout and "plain.weight" in layout
    tensors = filled(layout)
    folded = aei.folded(tensors)
    assert set(folded) == {"sa.weight", "sa.bias", "plain.weight", "plain.bias"}
    bar, u, v = (tensors[f"sa.module.weight_{part}"] for part in ("bar", "u", "v"))
    expected = bar / (u @ bar.reshape(6, 36) @ v)
    assert torch.allclose(folded["sa.weight"], expected, rtol=1e-6)
    assert folded["sa.bias"] is tensors["sa.module.bias"]


def test_aei_lists_what_does_not_fit():
    layout = aei.AEINet.layout()
    tensors = {name: torch.empty(shape, dtype=dtype, device="meta") for name, (shape, dtype) in layout.items()}
    del tensors["generator.sa.theta.module.weight_u"]
    tensors["surplus"] = torch.zeros(1)
    with pytest.raises(KeyMismatch, match=r"1 missing: generator\.sa\.theta\.module\.weight_u.*1 unexpected: surplus"):
        aei.AEINet.from_state_dict(tensors)
    with pytest.raises(KeyMismatch, match=r"not a AEINet: it has no 'generator\.up1\.weight'"):
        aei.AEINet.from_state_dict({"weight": torch.zeros(1)})


@pytest.fixture
def small_transface():
    with torch.device("meta"):
        network = TransFace(width=16, blocks=2, tokens=4)
    layout = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in network.state_dict().items()}
    return filled(layout | unused_heads(16, 4))


def test_transface_checks_the_heads_and_leaves_them_out(small_transface):
    network = TransFace.from_state_dict(small_transface)
    assert network(torch.zeros(3, 3, 21, 20)).shape == (3, 4, 16)
    assert not [name for name in network.state_dict() if name.startswith(("feature", "senet", "mask_token"))]
    del small_transface["senet.0.weight"]
    with pytest.raises(KeyMismatch, match=r"missing: senet\.0\.weight"):
        TransFace.from_state_dict(small_transface)


def test_transface_reads_no_pixel_behind_the_last_patch(small_transface):
    network = TransFace.from_state_dict(small_transface)
    picture = torch.rand(1, 3, 22, 22)
    changed = picture.clone()
    changed[..., 18:, :] = 0
    changed[..., :, 18:] = 0
    assert torch.equal(network(picture), network(changed))


def test_the_hosts_norm_may_be_absent_from_an_adapter():
    tensors = filled(fact.GatedFaceAttention.layout())
    hidden, face = torch.rand(1, 6, 320), torch.rand(1, 16, 768)
    with_norm = fact.GatedFaceAttention.from_state_dict(tensors)(hidden, face)
    without = fact.GatedFaceAttention.from_state_dict({k: v for k, v in tensors.items() if not k.startswith("ln.")})(hidden, face)
    assert torch.equal(with_norm, without)
    assert torch.equal(fact.GatedFaceAttention.from_state_dict(tensors)(hidden, face, scale=0.0), hidden)


def test_the_adapters_layout_has_16_sites_and_the_projector():
    layout = fact.FactAdapter.layout()
    assert len([name for name in layout if "processor" in name]) == 16 * 19
    assert {name.removeprefix("local_fac_prj.") for name in layout if "processor" not in name} == set(fact.FaceProjector.layout())
    assert layout["up_blocks.1.attentions.2.transformer_blocks.0.attn2.processor.linear.weight"][0] == (1280, 768)
    assert layout["up_blocks.3.attentions.0.transformer_blocks.0.attn2.processor.ln.weight"][0] == (320,)
