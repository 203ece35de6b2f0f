"""Networks under the host's memory manager: opened once per prompt, given back with it, and in full precision."""

from __future__ import annotations

import os

import pytest
import torch

from facechain_impl.types import Origin
from facechain_impl.weights import load
from facechain_impl.weights.stand_ins import networks as stand_ins

from ..weights.conftest import models  # noqa: F401 (a fixture)

NAMES = ("flcm", "rot_bgr")


@pytest.fixture
def opened(models, monkeypatch):  # noqa: F811 (the fixture)
    """Names of the files that were really read, in order; the stand-ins are there."""
    for name in NAMES:
        stand_ins.write_stand_in(name, models / "facechain_stand_ins")
    read = []
    for kind in ("network", "session"):
        original = getattr(load, kind)
        monkeypatch.setattr(load, kind, lambda file, original=original: read.append(file.name) or original(file))
    return read


def prompt(name: str, node: str = "1"):
    from comfy_execution.utils import CurrentNodeContext

    return CurrentNodeContext(name, node)


def open_all():
    from facechain_impl.perception import models as networks

    return networks.open_network("flcm"), networks.open_session("rot_bgr")


def test_all_nodes_of_a_prompt_share_one_copy(opened):
    with prompt("a", "1"):
        first = open_all()
    with prompt("a", "2"):
        second = open_all()
    assert opened == ["flcm", "rot_bgr"]
    assert all(one is other for one, other in zip(first, second))


def test_the_next_prompt_opens_its_own_and_the_old_ones_go(opened):
    from facechain_impl.host import memory

    with prompt("b"):
        old, _ = open_all()
    with prompt("c"):
        new, _ = open_all()
    assert opened == ["flcm", "rot_bgr"] * 2 and new is not old
    assert old not in memory._networks._models.values()


def test_a_file_that_changes_is_opened_again(opened, models):  # noqa: F811 (the fixture)
    with prompt("d"):
        first, _ = open_all()
        os.utime(models / "facechain_stand_ins" / "flcm.safetensors", ns=(1, 1))
        second, _ = open_all()
    assert second is not first and opened == ["flcm", "rot_bgr", "flcm"]


def test_outside_a_prompt_nothing_is_kept(opened):
    open_all()
    open_all()
    assert opened == ["flcm", "rot_bgr"] * 2


def test_the_host_owns_the_network_and_no_precision_is_lost(opened):
    """The patcher class is looked up when it is needed, because main.py rebinds it at start-up."""
    import comfy.model_management
    import comfy.model_patcher

    class Patcher(comfy.model_patcher.ModelPatcher):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.model_patcher, "CoreModelPatcher", Patcher)
        managed, _ = open_all()
    network = managed.load()
    assert isinstance(managed._patcher, Patcher)
    assert managed._patcher in [loaded.model for loaded in comfy.model_management.current_loaded_models]
    assert {value.dtype for value in network.parameters()} == {torch.float32}
    assert managed.origin is Origin.STAND_IN and managed.device == comfy.model_management.get_torch_device()
