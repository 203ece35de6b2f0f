"""Sampling through the host's own samplers, on random models of a few channels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("comfy.model_base", reason="set COMFYUI_PATH to the folder of ComfyUI")

import comfy.cldm.cldm  # noqa: E402
import comfy.controlnet  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.ops  # noqa: E402
import comfy.sd1_clip  # noqa: E402

from facechain_impl.host.sampling import Control, Diffusion, DiffusionSampler, InpaintInput, SamplingProgress, SamplingSettings, Text  # noqa: E402

from ..small_models import randomise, sd15_model, sdxl_model  # noqa: E402

CPU = torch.device("cpu")
SPREAD = 0.1


class Vae:
    """Means of 8 x 8 cells, and a fourth channel."""

    def spacial_compression_encode(self):
        return 8

    def encode(self, images):
        small = F.avg_pool2d(images.movedim(-1, 1), 8) * 2 - 1
        return torch.cat([small, small.mean(1, keepdim=True)], 1)

    def decode(self, latents):
        return F.interpolate((latents[:, :3] + 1) / 2, scale_factor=8).movedim(1, -1).clamp(0, 1)


def conditioning(width, seed, pooled=None):
    generator = torch.Generator().manual_seed(seed)
    extra = {} if pooled is None else {"pooled_output": torch.randn(1, pooled, generator=generator)}
    return [[torch.randn(1, 77, width, generator=generator), extra]]


class World:
    def __init__(self, kind):
        model, width, pooled = (sd15_model(), 64, None) if kind == "sd15" else (sdxl_model(), 112, 48)
        self.text = Text(conditioning(width, 1, pooled), conditioning(width, 2, pooled))
        randomise(model.model.diffusion_model, 3, SPREAD)
        self.base = Diffusion(model, None, Vae())
        only_of_unets = ("out_channels", "transformer_depth_output")
        sizes = {key: value for key, value in model.model.model_config.unet_config.items() if key not in only_of_unets}
        net = comfy.cldm.cldm.ControlNet(**sizes, hint_channels=3, operations=comfy.ops.disable_weight_init, device=CPU)
        randomise(net, 4, SPREAD)
        self.net = comfy.controlnet.ControlNet(net, load_device=CPU)

    def sampler(self, steps=4, sampler="euler", **rest):
        return DiffusionSampler(
            self.base, SamplingSettings(steps=steps, cfg=3.0, sampler=sampler, scheduler="normal", **rest), SamplingProgress(100)
        )

    def hints(self, count, value=0.7):
        ramp = torch.linspace(0, value, 64).view(1, 1, 64, 1).expand(count, 64, 64, 3)
        return Control(self.net, ramp, 1.0)

    def start(self, count=1):
        images = torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(9))
        masks = torch.zeros(count, 8, 8)
        masks[:, 2:6, 3:7] = 1
        return InpaintInput(images, self.base.vae.encode(images), masks)


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def world(request):
    with torch.inference_mode():
        return World(request.param)


@pytest.fixture(scope="module")
def sd15():
    with torch.inference_mode():
        return World("sd15")


def test_the_same_seed_is_the_same_picture_and_another_is_not(world):
    sampler = world.sampler()
    first, again, other = (sampler.new(world.text, 64, [seed], [world.hints(1)]) for seed in (5, 5, 6))
    assert first.shape == (1, 4, 8, 8) and torch.equal(first, again) and not torch.allclose(first, other, atol=1e-2)


def test_a_picture_does_not_depend_on_what_shares_its_batch(world):
    sampler = world.sampler()
    together = sampler.new(world.text, 64, [5, 6, 7], [world.hints(3)])
    alone = sampler.new(world.text, 64, [6], [world.hints(1)])
    assert (together[1] - alone[0]).abs().max() < 1e-4 * alone.abs().max()


def test_every_picture_of_a_batch_has_its_own_control(sd15):
    hints = Control(sd15.net, torch.stack([sd15.hints(1).images[0], torch.zeros(64, 64, 3)]), 1.0)
    together = sd15.sampler().new(sd15.text, 64, [5, 5], [hints])
    alone = sd15.sampler().new(sd15.text, 64, [5], [Control(sd15.net, torch.zeros(1, 64, 64, 3), 1.0)])
    assert (together[1] - alone[0]).abs().max() < 1e-4 * alone.abs().max() and (together[0] - together[1]).abs().max() > 1e-2


def test_controls_steer_and_a_weight_of_zero_does_not(world):
    sampler = world.sampler()
    free = sampler.new(world.text, 64, [5], [])
    steered = sampler.new(world.text, 64, [5], [world.hints(1)])
    idle = sampler.new(world.text, 64, [5], [Control(world.net, world.hints(1).images, 0.0)])
    assert (steered - free).abs().max() > 1e-2 and torch.equal(idle, free)


def test_two_controls_add_up(sd15):
    sampler = sd15.sampler()
    once = sampler.new(sd15.text, 64, [5], [sd15.hints(1)])
    twice = sampler.new(sd15.text, 64, [5], [Control(sd15.net, sd15.hints(1).images, 0.5)] * 2)
    assert (once - twice).abs().max() < 1e-3


@pytest.mark.parametrize("sampler", ["uni_pc_bh2", "euler", "euler_ancestral", "dpmpp_2m_sde", "lcm"])
def test_repainting_stays_inside_the_mask(sd15, sampler):
    start = sd15.start()
    painted = sd15.sampler(6, sampler).repaint(sd15.text, start, [5], 0.65, [sd15.hints(1)])
    outside = (start.masks[:, None] == 0).expand_as(painted)
    assert torch.equal(painted[outside], start.latents[outside])
    assert (painted - start.latents)[~outside].abs().mean() > 1e-2


def test_repainting_sdxl(world):
    start = world.start(2)
    painted = world.sampler().repaint(world.text, start, [5, 6], 0.5, [world.hints(2), world.hints(2)])
    assert painted.isfinite().all() and torch.equal(painted[:, :, 0], start.latents[:, :, 0])


@pytest.mark.parametrize("steps, strength, kept", [(40, 0.65, 26), (40, 0.1, 4), (40, 0.025, 1), (3, 0.1, 1), (20, 1.0, 20), (10, 0.7, 7)])
def test_strength_keeps_the_last_share_of_the_steps(steps, strength, kept):
    assert SamplingSettings(steps=steps).kept(strength) == kept


def test_only_the_kept_steps_are_run(sd15, monkeypatch):
    done = []
    bar = SamplingProgress(100)
    monkeypatch.setattr(bar._bar, "update_absolute", lambda value, total, preview: done.append((value, total)))
    sampler = DiffusionSampler(sd15.base, SamplingSettings(steps=10, cfg=3.0, sampler="euler", scheduler="normal"), bar)
    sampler.new(sd15.text, 64, [5], [])
    sampler.repaint(sd15.text, sd15.start(), [5], 0.3, [])
    assert done == [(i, 100) for i in range(1, 14)]


def test_a_small_strength_changes_less(sd15):
    start = sd15.start()
    sampler = sd15.sampler(20)
    little, much = ((sampler.repaint(sd15.text, start, [5], s, []) - start.latents).abs().mean() for s in (0.1, 0.9))
    assert little < 0.5 * much


def test_an_inpainting_checkpoint_is_shown_mask_and_hollow_picture(sd15):
    base = Diffusion(SimpleNamespace(model=SimpleNamespace(concat_keys=("mask", "masked_image"))), None, Vae())
    start = sd15.start()
    text = DiffusionSampler(base, SamplingSettings(), SamplingProgress(1))._inpaint_model(sd15.text, start)
    shown = text.negative[0][1]
    assert torch.equal(shown["concat_mask"], start.masks[:, None])
    hollow = shown["concat_latent_image"]
    inside = start.masks[0] == 1
    assert hollow[0, :, inside].abs().max() < 1e-6 and torch.allclose(hollow[0, :, ~inside], start.latents[0, :, ~inside])
    assert text.positive[0][1]["concat_latent_image"] is hollow


def test_stop_ends_the_sampling_within_a_step(sd15, monkeypatch):
    seen = []
    bar = SamplingProgress(100)

    def stop_at_two(value, total, preview):
        seen.append(value)
        comfy.model_management.interrupt_current_processing(value == 2)

    monkeypatch.setattr(bar._bar, "update_absolute", stop_at_two)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        DiffusionSampler(sd15.base, SamplingSettings(steps=8, cfg=3.0, sampler="euler", scheduler="normal"), bar).new(
            sd15.text, 64, [5], []
        )
    assert seen == [1, 2]
    assert sd15.sampler().new(sd15.text, 64, [5], []).isfinite().all()


class TokenClip:
    """The host's SD1.5 tokenizer; what it would encode is handed back."""

    def __init__(self):
        self.tokenizer = comfy.sd1_clip.SD1Tokenizer()

    def tokenize(self, text, **options):
        return self.tokenizer.tokenize_with_weights(text, False, **options)

    def encode_from_tokens_scheduled(self, tokens):
        return [[tokens["l"][0], {}]]


def test_brackets_are_ordinary_characters_unless_weights_are_asked_for():
    sampler = DiffusionSampler(Diffusion(None, TokenClip(), None), SamplingSettings(), SamplingProgress(1))
    plain = sampler.text("(<fcsks>:10), a man", "").positive[0][0]
    weighted = sampler.text("(<fcsks>:10), a man", "", weights=True).positive[0][0]
    assert {weight for _, weight in plain} == {1.0} and {weight for _, weight in weighted} == {1.0, 10.0}
    # the eight pieces that the text encoder of the published system saw, comma included in the last
    pieces = [TokenClip().tokenizer.untokenize([token])[0][1] for token in plain[1:9]]
    assert [piece.replace("</w>", "") for piece in pieces] == ["(", "<", "fc", "sks", ">:", "1", "0", "),"]
