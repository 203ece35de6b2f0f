"""The catalogue against the published key lists, and its own promises."""

from __future__ import annotations

from collections import Counter

import pytest

from facechain_impl.errors import BadInput
from facechain_impl.networks.base import Network
from facechain_impl.weights import catalogue, uses
from facechain_impl.weights.download import siblings

from ..parity.harness import KEYS

# Where the list is not called as the file.
KEY_LISTS = {
    "skin_detection": "skin_det", "skin_inpainting": "skin_inpaint", "transface": "transface_s", "sadtalker_256": "sadtalker/bundle",
    "sadtalker_512": "sadtalker/bundle", "sadtalker_mapping_crop": "sadtalker/mapping70", "sadtalker_mapping_full": "sadtalker/mapping73",
    "sadtalker_fan": "sadtalker/fan", "sadtalker_retinaface": "sadtalker/retinaface", "parsenet": "sadtalker/parsenet",
}  # fmt: skip
OURS = [entry for entry in catalogue.ENTRIES if entry.network or entry.parts]
# Its layout is of several lists.
ADAPTERS = {"fact_adapter_film", "fact_adapter_majic"}


def test_names_and_places_are_unique():
    assert max(Counter(entry.name for entry in catalogue.ENTRIES).values()) == 1
    for entry in catalogue.ENTRIES:
        others = [other for other in catalogue.ENTRIES if (other.folder, other.place) == (entry.folder, entry.place)]
        assert others == siblings(entry), f"{entry.name} lies where another file lies"


@pytest.mark.parametrize("entry", OURS, ids=lambda entry: entry.name)
def test_networks_resolve(entry):
    classes = [entry.part(part.name).network for part in entry.parts] or [entry.network]
    assert all(issubclass(one, Network) for one in classes)
    assert uses.is_run(entry)


def listed(name: str) -> dict:
    lines = (KEYS / f"{name}.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {key.removeprefix("module."): (() if size == "-" else tuple(map(int, size.split("x"))), dtype) for key, size, dtype in rows}


@pytest.mark.parametrize("name", [entry.name for entry in OURS if entry.name not in ADAPTERS])
def test_layouts_equal_the_published_key_lists(name):
    layout = catalogue.get(name).layout()
    assert {key: (shape, str(dtype).removeprefix("torch.")) for key, (shape, dtype) in layout.items()} == listed(KEY_LISTS.get(name, name))


def test_fact_adapter_equals_the_published_key_lists():
    """One list is of the projector, one of the narrowest of 16 sites; `ln` may be absent from the file."""
    layout = catalogue.get("fact_adapter_film").layout()
    site = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.processor."
    for prefix, name in (("local_fac_prj.", "fact_projector"), (site, "fact_processor320")):
        part = {key.removeprefix(prefix): shape for key, (shape, _) in layout.items() if key.startswith(prefix)}
        assert part == {key: shape for key, (shape, _) in listed(name).items()}
    assert len({key.split(".processor.")[0] for key in layout if ".processor." in key}) == 16


def test_every_network_has_a_key_list():
    assert {entry.name for entry in OURS if not (KEYS / f"{KEY_LISTS.get(entry.name, entry.name)}.tsv").is_file()} == ADAPTERS
    assert len(OURS) >= 24


def test_gfpgan_lies_where_the_host_looks_for_it():
    """The host recognises and runs it."""
    entry = catalogue.get("gfpgan")
    assert (entry.folder, str(entry.place), entry.is_converted) == ("upscale_models", "GFPGANv1.4.pth", False)


def test_unknown_names_get_the_nearest():
    with pytest.raises(BadInput, match="Did you mean damofd"):
        catalogue.get("damofdd")


def test_parts_of_a_file():
    part = catalogue.get("sadtalker_256.generator")
    assert part.path == catalogue.get("sadtalker_256").path
    assert all(key.startswith("generator.") for key in part.layout())
    with pytest.raises(BadInput, match="sadtalker_256 has no part 'voice'"):
        catalogue.get("sadtalker_256.voice")


def test_non_commercial_licences_are_flagged():
    """Those that the sources name, whatever a model card says."""
    names = ("m2fp", "rts", "fusion_bfm", "fusion_gpen1024", "fusion_arcface", "transface", "skin_unet", "openpose_body", "sadtalker_256")
    assert all(catalogue.get(name).licence.commercial is False for name in names)
    assert "non-commercial use only" in catalogue.get("m2fp").licence.text()
