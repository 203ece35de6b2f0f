"""The whole making, small: two paintings, two drawn people, few steps; the file loads in the host and paints what it was taught."""

from __future__ import annotations

import hashlib

import cv2
import pytest
import torch
from safetensors.torch import load_file

from facechain_impl.weights import files, headers, pocket
from pocket import autoencoder, denoiser, drawn, making, pictures
from pocket.captions import Words
from pocket.training import Plan

SMALL = making.Recipe(Plan(12, 4, 1e-3, seed=1), crop=32, unet=Plan(4, 2, 3e-4, seed=2, average=True), numbers=pictures.Numbers(4, 2, 2))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Folder with two pictures that are listed, a text encoder that costs nothing, and the way so far."""
    source, rows = tmp_path / "source", []
    source.mkdir()
    for number, picture in enumerate(drawn.sample_pictures(96)[0][:2]):
        path = source / f"{number}.png"
        cv2.imwrite(str(path), picture[..., ::-1])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append(pictures.Painting(path.name, digest, (30, 30, 40, 40), Words("painting", "woman"), "A", "https://a", "CC0"))
    monkeypatch.setattr(pictures, "paintings", lambda: rows)
    monkeypatch.setattr(denoiser, "conditioning", lambda texts, device: torch.eye(77, 768).roll(len(texts)).repeat(len(texts), 1, 1))
    return source, tmp_path / "way"


def test_it_makes_a_file_that_assembles_into_a_checkpoint_and_goes_on_where_it_was(small, tmp_path, monkeypatch, capsys):
    source, way = small
    out = making.make(way, source, tmp_path / "pocket.safetensors", SMALL)
    assert "dB on its own pictures" in capsys.readouterr().out
    assert out.stat().st_size < making.LARGEST
    metadata = headers.read(out).metadata
    assert metadata[files.MARK] == files.POCKET and metadata["paintings"] == "2"
    shipped = headers.read(pocket.MODEL).layout
    assert headers.read(out).layout == shipped
    monkeypatch.setattr(pocket, "MODEL", out)
    assert len(load_file(pocket.assemble(tmp_path / "whole.safetensors"))) > len(shipped)
    monkeypatch.setattr(pictures, "make", lambda *_: pytest.fail("pictures are kept"))
    first, again = load_file(out), load_file(making.make(way, source, tmp_path / "again.safetensors", SMALL))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert "step" not in capsys.readouterr().out


def test_wrong_pictures_are_refused_before_anything_is_made(small, tmp_path):
    source, way = small
    (source / "0.png").unlink()
    with pytest.raises(pictures.WrongPictures):
        making.make(way, source, tmp_path / "a.safetensors", SMALL)
    assert not way.exists()


def test_the_autoencoders_latents_have_mean_0_and_spread_1_for_the_host():
    seen = torch.stack([torch.from_numpy(one).permute(2, 0, 1) for one in drawn.sample_pictures(64)[0]])
    model = autoencoder._normalised(autoencoder.build(torch.device("cpu")).eval(), seen)
    latents = autoencoder.encode(model, seen)
    assert latents.mean().abs() < 0.02
    assert latents.std() == pytest.approx(1, abs=0.02)


def test_the_noise_is_that_of_stable_diffusion():
    kept = denoiser.alphas()
    assert kept[0] == pytest.approx(0.99915, abs=1e-5)
    assert kept[-1] == pytest.approx(0.004660, abs=1e-5)


def test_sampling_with_a_perfect_prediction_gives_the_picture_back():
    clean = torch.randn((1, 4, 4, 4), generator=torch.Generator().manual_seed(1))

    class Knows:
        def __call__(self, noisy, steps, context):
            share = denoiser.alphas()[steps].view(-1, 1, 1, 1)
            return (noisy - share.sqrt() * clean) / (1 - share).sqrt()

    drawn_again = denoiser.sample(Knows(), torch.zeros(1, 77, 768), torch.randn(1, 4, 4, 4))
    assert torch.allclose(drawn_again, clean * denoiser.alphas()[0].sqrt(), atol=0.15)
