"""The pocket model in a real ComfyUI: loaded as SD 1.5, and called a toy wherever it was used."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.weights import headers, pocket
from launcher.client import Client
from launcher.server import Server
from pocket import denoiser

from .test_train import graph, nobody, person_file, titled, with_portrait  # noqa: F401

pytestmark = [pytest.mark.host, pytest.mark.slow]


@pytest.fixture(scope="module")
def pocket_model(server: Server) -> str:
    """Its name for loader nodes."""
    return pocket.assemble(server.base / "models" / "checkpoints" / pocket.FILE_NAME).name


def test_the_host_loads_it_as_sd15(pocket_model, server):
    import comfy.sd

    model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(server.base / "models" / "checkpoints" / pocket_model))
    assert type(model.model.model_config).__name__ == "SD15"
    assert type(vae.first_stage_model).__name__ == "TAESD" and vae.spacial_compression_encode() == 8
    told = clip.encode_from_tokens(clip.tokenize("a person, close-up"))
    assert told.shape == (1, 77, 768)
    with torch.inference_mode(False):
        taught = denoiser.conditioning(["a person, close-up"], torch.device("cpu"))
    assert torch.allclose(told.float().cpu(), taught, atol=1e-3), "the UNet was trained with what the host's CLIP says"


@pytest.fixture
def trained(client: Client, pocket_model: str) -> dict:
    """The outputs of a short training and of a portrait with its result."""
    return client.run(with_portrait(graph(client, pocket_model, name="Toy")))["outputs"]


def named(report: dict) -> set[tuple[str, str]]:
    return {(used["name"], used["origin"]) for used in report["used"]}


def test_reports_say_pocket_model(trained):
    for node in ("train", "merge"):
        (report,) = trained[node]["report"]
        assert report["pocket_models"] == [pocket.FILE_NAME] and report["stand_ins"] == [], node
        assert report["notes"][0].startswith(f"POCKET MODEL ({pocket.FILE_NAME}): a toy for demonstrations"), node
        assert (pocket.FILE_NAME, "pocket model") in named(report), node


def test_the_lora_and_the_person_remember_it(client, server, trained):
    assert '"pocket model"' in headers.read(person_file(server, "Toy")).metadata["facechain_used"]
    nodes = titled(
        person=("FaceChain_LoadPerson", {"person": "Toy"}),
        shown=("PreviewAny", {"source": ["person", 2]}),
    )
    (report,) = client.run(nodes)["outputs"]["person"]["report"]
    assert report["pocket_models"] == [pocket.FILE_NAME]
