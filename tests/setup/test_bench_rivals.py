"""The trainings that `run.py bench learning` compares: they train the same layers of the same network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("folder_paths", reason="set COMFYUI_PATH to the folder of ComfyUI")

from bench import _pocket, _rivals  # noqa: E402
from facechain_impl.host import lora, models  # noqa: E402
from facechain_impl.host.sampling import Diffusion  # noqa: E402
from facechain_impl.weights import pocket  # noqa: E402

pytestmark = pytest.mark.slow

LAYERS = 60
"""Of the pocket model's UNet: attention, feed-forward and convolutions."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory) -> SimpleNamespace:
    import comfy.sd

    path = pocket.assemble(tmp_path_factory.mktemp("pocket") / pocket.FILE_NAME)
    with torch.inference_mode():
        return SimpleNamespace(base=Diffusion(*comfy.sd.load_checkpoint_guess_config(str(path))[:3]))


def test_diffusers_computes_what_the_host_does(studio):
    text = models.encode_text(studio.base.clip, _pocket.CAPTION)[0][0]
    noisy, step = torch.randn(1, 4, 16, 16), torch.tensor([500])
    theirs = _rivals.diffusers_unet(studio)(noisy, step, text).sample
    ours = studio.base.model.model.diffusion_model.float()(noisy, step.float(), context=text)
    assert theirs.abs().max() > 1 and (theirs - ours).abs().max() < 1e-4


@pytest.mark.parametrize("name", _rivals.CONTENDERS)
def test_all_train_the_same_layers_and_come_back_at_every_mark(studio, name):
    with torch.inference_mode(False):
        found = _rivals.CONTENDERS[name][1](studio, _pocket.PEOPLE["girl"], 1, [1, 2])
    assert list(found) == [1, 2]
    first, second = (lora.match(studio.base.model, None, tensors) for tensors in found.values())
    assert first.unknown == [] and first.patches.keys() == second.patches.keys()
    wanted = _rivals.diffusers_names(studio)
    assert set(first.patches) == {f"diffusion_model.{layer}.weight" for layer in wanted} and len(wanted) == LAYERS
    assert any((found[1][key] != found[2][key]).any() for key in found[1]), "a mark keeps a copy"
    learned = [lora.weight_delta(studio.base.model, None, *one).abs().max() for one in first.patches.items()]
    assert max(learned) > 0, "the first step is a step of the optimiser"


def test_every_photo_once_an_epoch():
    photos = [torch.full((1,), float(number)) for number in range(4)]
    drawn = _rivals.epochs(photos)
    orders = [[next(drawn).item() for _ in photos] for _ in range(5)]
    assert all(sorted(order) == [0, 1, 2, 3] for order in orders) and len({tuple(order) for order in orders}) > 1
