"""Models of several families, small, trained through the real host: previews arrive, and the host's own loader uses every key."""

from __future__ import annotations

import asyncio
import io
import json
import struct

import aiohttp
import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from ..small_models import FAMILIES
from .small_model_node import NAME
from .test_train import CAPTION, defaults, person_file, titled

pytestmark = [pytest.mark.host, pytest.mark.slow]

SIDE = 64
PREVIEW_EVENT = 1
"""The host's number for binary messages that hold a picture."""


def training(client, family: str, **changes) -> dict:
    small = {"name": family, "steps": 3, "resolution": SIDE, "variants": 1, "preview_every": 2, "looks": 0}
    small |= {"augmentation": "Centre crop", "learning_rate": 0.02}
    links = {"model": ["load", 0], "clip": ["load", 1], "vae": ["load", 2], "images": ["photos", 0], "captions": ["captions", 0]}
    return titled(
        load=(NAME, {"family": family}),
        photos=("EmptyImage", {"width": 96, "height": 96, "batch_size": 2, "color": 0x996633}),
        text=("PrimitiveString", {"value": CAPTION}),
        captions=("CreateList", {f"inputs.input{index}": ["text", 0] for index in range(2)}),
        train=("FaceChain_TrainFaceLoRA", {**links, **defaults(client, "FaceChain_TrainFaceLoRA"), **small, **changes}),
    )


def portrait(family: str, lora: str, strength: float) -> dict:
    """By the host's nodes alone."""
    return titled(
        load=(NAME, {"family": family}),
        lora=("LoraLoaderModelOnly", {"model": ["load", 0], "lora_name": lora, "strength_model": strength}),
        says=("CLIPTextEncode", {"clip": ["load", 1], "text": CAPTION}),
        empty=("EmptyLatentImage", {"width": SIDE, "height": SIDE, "batch_size": 1}),
        sample=("KSampler", {
            "model": ["lora", 0], "positive": ["says", 0], "negative": ["says", 0], "latent_image": ["empty", 0], "seed": 1, "steps": 2,
            "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
        }),
        decode=("VAEDecode", {"samples": ["sample", 0], "vae": ["load", 2]}),
        save=("SaveImage", {"images": ["decode", 0], "filename_prefix": "small"}),
    )  # fmt: skip


async def watched(client, graph: dict) -> tuple[dict, list[Image.Image]]:
    """The history of a graph, and the pictures that the host sent while it ran."""
    pictures = []
    address = f"{client.url.replace('http', 'ws')}/ws?clientId={client.client_id}"
    async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
        number = client.queue(graph)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                if struct.unpack(">I", message.data[:4])[0] == PREVIEW_EVENT:
                    pictures.append(Image.open(io.BytesIO(message.data[8:])))
            elif (
                (said := json.loads(message.data))["type"] == "executing"
                and said["data"]["node"] is None
                or said["type"] == "execution_error"
            ):
                break
    return client.wait(number), pictures


def drawn(client, graph: dict) -> np.ndarray:
    (image,) = client.run(graph)["outputs"]["save"]["images"]
    return np.asarray(Image.open(io.BytesIO(client.view(image))).convert("RGB"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_the_family_is_trained_and_its_lora_loads_back(client, server, family):
    entry, previews = asyncio.run(watched(client, training(client, family)))
    assert any(row["status"] == "trained" for row in entry["outputs"]["train"]["report"][0]["rows"])
    assert len(previews) == 1 and np.asarray(previews[0].convert("L"), float).std() > 1
    with safe_open(person_file(server, family), "pt") as file:
        assert len(file.keys()) >= 8
    logged = len(server.lines())
    with_lora = drawn(client, portrait(family, f"{family}/{family}.safetensors", 1.0))
    assert not [line for line in server.lines()[logged:] if "not loaded" in line or "ERROR" in line]
    assert (with_lora != drawn(client, portrait(family, f"{family}/{family}.safetensors", 0.0))).any()
