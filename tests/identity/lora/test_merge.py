"""LoRAs on models of the host, and merged files, on small models."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from facechain_impl.errors import BadInput
from facechain_impl.types import LoraEntry, Report

merge = pytest.importorskip("facechain_impl.identity.lora.merge", reason="set COMFYUI_PATH")
import comfy.sd  # noqa: E402

from facechain_impl.host import lora  # noqa: E402
from facechain_impl.identity import persons  # noqa: E402
from facechain_impl.identity.lora import formats as lora_files  # noqa: E402
from facechain_impl.identity.lora import store as lora_store  # noqa: E402
from facechain_impl.identity.training import adapters  # noqa: E402
from facechain_impl.types import Person  # noqa: E402

from ..conftest import added  # noqa: E402


def made(model, clip=None, rank=4, seed=0, alpha=None) -> dict[str, torch.Tensor]:
    """A random LoRA on every attention layer, in the format that the trainer writes."""
    generator = torch.Generator().manual_seed(seed)

    def layers(module):
        chosen = [name for name in adapters.target_modules(module, adapters.Targets.ATTENTION)]
        return {name: random_layer(module.get_submodule(name).weight, rank, alpha, generator) for name in chosen}

    tensors = adapters.tensors_for_file(layers(model.model.diffusion_model), lora.file_names(model), lora.MODEL_PREFIX)
    if clip is not None:
        tensors |= adapters.tensors_for_file(layers(clip.cond_stage_model), lora.text_file_names(clip))
    return tensors


def random_layer(weight, rank, alpha, generator) -> lora_files.Layer:
    up = torch.randn(weight.shape[0], rank, generator=generator)
    down = torch.randn(rank, weight.shape[1], generator=generator)
    return lora_files.Layer(up * 0.1, down * 0.1, alpha)


def entry(tensors, weight=1.0, text=None, role="face") -> LoraEntry:
    return LoraEntry(role, weight, weight if text is None else text, role, tensors=tensors)


def weights_of(patcher) -> dict[str, torch.Tensor]:
    """All weights with patches applied by the host."""
    with torch.inference_mode():
        return {key: patcher.patch_weight_to_device(key, return_weight=True).clone() for key in patcher.model.state_dict()}


def assert_same_weights(first, second, limit=1e-5):
    first, second = weights_of(first), weights_of(second)
    assert max(float((first[key] - second[key]).abs().max()) for key in first) <= limit


@pytest.fixture(params=["sd15", "sdxl"])
def host(request):
    return request.getfixturevalue(request.param)


def test_no_key_is_left_unmatched_by_the_host(host):
    tensors = made(host.model, host.clip)
    found = lora.match(host.model, host.clip, tensors)
    assert not found.unknown and len(found.patches) == len(tensors) // 3


def test_equals_the_hosts_own_loader_which_leaves_no_key(host, caplog):
    tensors = made(host.model, host.clip, alpha=2.0)
    theirs, their_clip = comfy.sd.load_lora_for_models(host.model, host.clip, tensors, 0.7, 0.4)
    comfy.sd.load_lora_for_models(host.model, None, made(host.model), 1.0, 0)
    assert "not loaded" not in caplog.text.lower()
    ours, our_clip, _ = merge.apply(host.model, host.clip, [entry(tensors, 0.7, 0.4)])
    assert_same_weights(ours, theirs, 0)
    assert_same_weights(our_clip.patcher, their_clip.patcher, 0)


def test_weight_zero_changes_nothing_and_one_does(host):
    tensors = made(host.model, host.clip)
    zero, _, _ = merge.apply(host.model, host.clip, [entry(tensors, 0.0)])
    one, _, _ = merge.apply(host.model, host.clip, [entry(tensors, 1.0)])
    assert_same_weights(zero, host.model, 0)
    with pytest.raises(AssertionError):
        assert_same_weights(one, host.model, 1e-3)


def test_patching_at_a_weight_is_base_plus_weight_times_delta(sd15):
    tensors = made(sd15.model, alpha=2.0)
    patched, _, _ = merge.apply(sd15.model, sd15.clip, [entry(tensors, 0.3)])
    names = {theirs: ours for ours, theirs in lora.file_names(sd15.model).items()}
    base, result = sd15.model.model.state_dict(), weights_of(patched)
    for name, layer in lora_files.layers(tensors).items():
        key = f"{names[name]}.weight"
        torch.testing.assert_close(result[key], base[key] + 0.3 * added(layer), rtol=0, atol=1e-5)


def test_merged_file_equals_patching(host):
    parts = [entry(made(host.model, host.clip, seed=1, alpha=2.0), 0.95), entry(made(host.model, host.clip, 8, 2), 0.25, 0.1, "style")]
    merged = merge.merge(host.model, host.clip, parts)
    assert merged.rank == 12 and merged.error == 0
    patched = merge.apply(host.model, host.clip, parts)
    whole = merge.apply(host.model, host.clip, [entry(merged.tensors)])
    assert_same_weights(whole[0], patched[0])
    assert_same_weights(whole[1].patcher, patched[1].patcher)


def test_compression_reports_its_error(sd15):
    parts = [entry(made(sd15.model, seed=1)), entry(made(sd15.model, seed=2), 0.5)]
    merged = merge.merge(sd15.model, sd15.clip, parts, rank=6)
    assert merged.rank == 6 and 0.01 < merged.error < 0.5
    exact = lora_files.layers(merge.merge(sd15.model, sd15.clip, parts).tensors)
    small = lora_files.layers(merged.tensors)
    lost = sum(float((added(exact[name]) - added(small[name])).square().sum()) for name in exact)
    assert merged.error == pytest.approx((lost / sum(float(added(one).square().sum()) for one in exact.values())) ** 0.5, rel=1e-3)


def test_compression_of_one_lora_to_its_own_rank_is_exact(sd15):
    tensors = made(sd15.model)
    merged = merge.merge(sd15.model, sd15.clip, [entry(tensors), entry(tensors)], rank=4)
    assert merged.error < 1e-6


@pytest.mark.parametrize("kind", ["loha", "lokr", "dora"])
def test_other_kinds_go_through_the_host(sd15, kind):
    name = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "loha": {"hada_w1_a": (32, 2), "hada_w1_b": (2, 32), "hada_w2_a": (32, 2), "hada_w2_b": (2, 32)},
        "lokr": {"lokr_w1": (4, 4), "lokr_w2": (8, 8)},
        "dora": {"lora_up.weight": (32, 2), "lora_down.weight": (2, 32), "dora_scale": (32, 1)},
    }[kind]
    tensors = {f"{name}.{part}": torch.rand(shape, generator=generator) * 0.3 + 0.1 for part, shape in shapes.items()}
    patched, _, _ = merge.apply(sd15.model, sd15.clip, [entry(tensors, 1.0)])
    merged = merge.merge(sd15.model, sd15.clip, [entry(tensors, 1.0)])
    whole, _, _ = merge.apply(sd15.model, sd15.clip, [entry(merged.tensors)])
    assert_same_weights(whole, patched)


def test_one_file_loads_in_diffusers_and_peft(sd15, tmp_path):
    """diffusers' own loader takes the trainer's file, and its UNet then gives what the host's gives."""
    from ..training.test_parity import copy_weights, reference_sd15

    tensors = made(sd15.model, alpha=2.0)
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    with torch.inference_mode(False), torch.no_grad():
        unet: UNet2DConditionModel = reference_sd15()
        copy_weights(unet, sd15.model)
        state, alphas = StableDiffusionPipeline.lora_state_dict(str(tmp_path), weight_name="a.safetensors", unet_config=unet.config)
        StableDiffusionPipeline.load_lora_into_unet(state, alphas, unet)
        adapters = [name for name, _ in unet.named_parameters() if ".lora_A." in name]
        assert len(adapters) == len(tensors) // 3
        unet.fuse_lora()
        fused = {key.replace(".base_layer", ""): value for key, value in unet.state_dict().items() if ".lora_" not in key}
    patched, _, _ = merge.apply(sd15.model, sd15.clip, [entry(tensors, 1.0)])
    ours, names = weights_of(patched), comfy.utils.unet_to_diffusers(sd15.model.model.model_config.unet_config)
    for key, value in fused.items():
        torch.testing.assert_close(value.flatten(), ours[f"diffusion_model.{names[key]}"].flatten(), rtol=0, atol=1e-5)


class TestRefusals:
    def test_lora_of_another_architecture(self, sd15, sdxl):
        with pytest.raises(BadInput, match="made for a model of another size|matches this model|only partly"):
            merge.apply(sd15.model, sd15.clip, [entry(made(sdxl.model))])

    def test_no_key_matches(self, sd15):
        tensors = {"transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(4, 8)}
        tensors["transformer.single_transformer_blocks.0.attn.to_q.lora_B.weight"] = torch.zeros(8, 4)
        with pytest.raises(BadInput, match=r"None of the 2 keys of the LoRA face matches.*peft, Flux"):
            merge.apply(sd15.model, sd15.clip, [entry(tensors)])

    def test_partial_match_above_the_threshold_names_counts_and_examples(self, sd15):
        tensors = made(sd15.model)
        extra = {f"lora_unet_nowhere_{i}.alpha": torch.tensor(1.0) for i in range(40)}
        with pytest.raises(BadInput, match="40 of 208 keys match nothing, such as lora_unet_nowhere_0.alpha"):
            merge.apply(sd15.model, sd15.clip, [entry(tensors | extra)])

    def test_few_extra_keys_are_reported(self, sd15):
        tensors = made(sd15.model) | {"lora_unet_nowhere.alpha": torch.tensor(1.0)}
        _, _, report = merge.apply(sd15.model, sd15.clip, [entry(tensors)])
        assert "1 keys (lora_unet_nowhere.alpha)" in report.notes[0]

    def test_text_keys_do_not_count_without_a_text_encoder(self, sd15):
        tensors = made(sd15.model, sd15.clip)
        model, clip, report = merge.apply(sd15.model, None, [entry(tensors)])
        assert clip is None and not report.notes


class TestStore:
    def test_person_wins_over_lora_and_file(self):
        person = Person("Ann", {"a": torch.ones(1)}, "")
        assert lora_store.entry("x", {"b": torch.ones(1)}, person, "face").person is person
        assert lora_store.entry("x", {"b": torch.ones(1)}, None, "face").tensors is not None
        with pytest.raises(BadInput, match="No LoRA is chosen"):
            lora_store.entry(None, None, None, "face")

    def test_merged_file_lies_with_the_person(self, home, sd15):
        person = persons.save(Person("Ann", made(sd15.model), ""), {})
        parts = [LoraEntry("Ann", person=person), entry(made(sd15.model, seed=3), 0.25, role="style")]
        report = Report("merge")
        lora_store.save_merged(sd15.model, sd15.clip, parts, name="both", rank=0, report=report)
        assert (person.folder / "both.safetensors").is_file() and "exactly, at rank 8" in report.notes[0]
        persons.delete("Ann")
        assert not list((home / "models").rglob("*.safetensors"))

    def test_merged_file_without_a_person_lies_in_the_lora_folder(self, home, sd15):
        lora_store.save_merged(sd15.model, sd15.clip, [entry(made(sd15.model))], name="both", rank=2, report=Report("merge"))
        assert (home / "models" / "loras" / "both.safetensors").is_file()

    @pytest.mark.parametrize("name", ["../x", "/x", "NUL"])
    def test_names(self, home, sd15, name):
        with pytest.raises(BadInput, match="cannot be the name"):
            lora_store.save_merged(sd15.model, sd15.clip, [entry(made(sd15.model))], name=name, rank=0, report=Report("merge"))
