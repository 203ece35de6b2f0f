"""Fast, Balanced and Best for every family, and what models with a guidance input are told."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest
import torch

presets = pytest.importorskip("facechain_impl.identity.training.presets", reason="set COMFYUI_PATH")
from facechain_impl.errors import BadInput  # noqa: E402
from facechain_impl.host import families, models  # noqa: E402
from facechain_impl.identity.training import train  # noqa: E402
from facechain_impl.identity.training.dataset import encode_captions  # noqa: E402
from facechain_impl.identity.training.settings import Average, Offload, Precision, Targets  # noqa: E402

from ...small_models import flux_model  # noqa: E402
from .test_train import changed, order, weights  # noqa: E402

EVERY = [*families.BY_CLASS.values(), *families.BY_CONFIG.values(), families.OTHER_FLOW]


@pytest.mark.parametrize("family", EVERY, ids=lambda family: family.title)
def test_from_fast_to_best_a_training_gets_longer_and_larger(family):
    fast, balanced, best = (presets.from_preset(level, 10, {}, family=family) for level in presets.LEVELS)
    assert fast.steps < balanced.steps < best.steps and fast.rank < balanced.rank < best.rank
    assert (balanced.rank, balanced.learning_rate) == (family.rank, family.learning_rate)
    assert {one.resolution for one in (fast, balanced, best)} == {family.resolution}
    assert (best.targets, best.average) == (Targets.ATTENTION_AND_MLP, Average.EMA)


@pytest.mark.parametrize(("level", "photos"), product(presets.LEVELS, (1, 40)))
def test_few_and_many_photos_stay_within_limits(level, photos):
    steps = presets.from_preset(level, photos, {}).steps
    assert steps == presets.LEVELS[level].limits[photos > 1]
    assert presets.from_preset(level, photos, {"batch_size": 2}).steps == steps // 2


def test_every_number_of_a_level_has_a_reason_and_a_source():
    for level, family in product(presets.LEVELS, EVERY):
        said = presets.of(level, family).remark
        assert family.source in said and presets.LEVELS[level].reason in said
        assert said.endswith(". Not measured here.") and said.count("measured") == 1, "a guide is no measurement"
        assert f"rank {presets.from_preset(level, 5, {}, family=family).rank} " in said


def test_face_chains_numbers_are_the_same_for_every_family():
    flux = presets.from_preset("FaceChain", 5, {}, family=families.BY_CLASS["Flux"])
    assert (flux.rank, flux.learning_rate, flux.schedule) == (4, 1.5e-4, "cosine")
    assert (flux.resolution, flux.guidance) == (1024, 1.0)


def test_only_the_family_that_upstream_trains_computes_in_fp32_for_it():
    """Larger models would not fit; the report says so."""
    large = presets.from_preset("FaceChain", 5, {}, family=families.BY_CLASS["SDXL"])
    assert large.precision is Precision.AUTO
    assert presets.of("FaceChain", families.BY_CLASS["SDXL"]).remark.startswith("FaceChain for SDXL: upstream trains SD 1.5 alone, in fp32")
    assert presets.of("FaceChain", presets.SD15).remark == ""
    assert {presets.from_preset(name, 5, {}).precision for name in presets.NAMES if name != "FaceChain"} == {Precision.AUTO}
    assert presets.from_preset("FaceChain", 5, {"precision": Precision.BF16}).precision is Precision.BF16


def test_a_chosen_number_wins():
    chosen = presets.from_preset("Best", 5, {"rank": 8, "steps": 7, "resolution": 64, "average": Average.LAST}, family=families.OTHER_FLOW)
    assert (chosen.rank, chosen.alpha, chosen.steps, chosen.resolution, chosen.average) == (8, 8.0, 7, 64, Average.LAST)


def test_dora_and_offload_exclude_each_other():
    with pytest.raises(BadInput, match="cannot be offloaded. Switch offload or dora off"):
        presets.from_preset("Balanced", 5, {"dora": True, "offload": Offload.ON})


@pytest.mark.parametrize(("guidance", "told"), [(None, 3.5), (1.0, 1.0)])
def test_guidance_reaches_the_model(flux, guidance, told):
    with models.training_model(flux.model, torch.float32) as opened:
        (condition,) = encode_captions(opened, flux.clip, [("a", torch.zeros(1, 16, 8, 8), None)], guidance)
    assert condition["guidance"].cond.item() == told


@pytest.mark.parametrize(
    ("family", "guidance", "said"),
    [
        ("sd15", None, False),
        ("sd15", 3.5, True),
        ("flux", 1.0, False),
        ("flux", 3.5, False),
        ("schnell", 1.0, False),
        ("schnell", 3.5, True),
    ],
)
def test_guidance_without_an_input_for_it_is_said(home, sd15, flux, photos, family, guidance, said):
    schnell = SimpleNamespace(model=flux_model(guidance_embed=False), clip=flux.clip, vae=flux.vae)
    objects = {"sd15": sd15, "flux": flux, "schnell": schnell}[family]
    notes = train.train_face_lora(order(objects, photos, steps=1, guidance=guidance)).report.notes
    assert ("guidance has no effect: this model has no guidance input." in notes) is said


def test_another_guidance_is_another_training(home, flux, photos):
    first, second = (train.train_face_lora(order(flux, photos, guidance=guidance)) for guidance in (1.0, 3.5))
    assert any(not torch.equal(one, other) for one, other in zip(weights(first).values(), weights(second).values()))


def test_what_a_preset_chose_is_in_the_report(home, sd15, photos):
    request = order(sd15, photos)
    result = train.train_face_lora(changed(request, remarks=(presets.of("Fast", families.of(sd15.model)).remark,)))
    assert any(note.startswith("Fast for SD 1.5: learning rate 0.0002 and rank 8") for note in result.report.notes)
