"""Persons who are trained on the pocket model by a server, and their portraits."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from bench._pocket import CAPTION, FACE_SHARE, PROMPT, SAMPLING, SIZE
from launcher.client import Client
from launcher.demo.settings import POCKET
from launcher.places import ROOT

from .test_train import defaults, titled

SEED = 1


def training(client: Client, model: str, name: str, photo: str, steps: int) -> dict:
    """One person from one picture of assets/: its face cut out, and a LoRA trained on it."""
    widgets = {
        **defaults(client, "FaceChain_TrainFaceLoRA"),
        "name": name,
        "steps": steps,
        "resolution": SIZE,
        **POCKET.training,
        "mirror": False,
    }
    links = {"model": ["load", 0], "clip": ["load", 1], "vae": ["load", 2], "images": ["crop", 0], "captions": ["caption", 0]}
    return titled(
        load=("CheckpointLoaderSimple", {"ckpt_name": model}),
        photo=("LoadImage", {"image": client.upload(ROOT / "assets" / photo)}),
        find=("FaceChain_FindFaces", {"images": ["photo", 0], "detector": "Built-in", "no_face": "Stop"}),
        crop=("FaceChain_CropFaces", {
            "images": ["photo", 0], "faces": ["find", 0], "size": 2 * SIZE, "face_share": FACE_SHARE, "upright": False
        }),
        caption=("PrimitiveString", {"value": CAPTION}),
        train=("FaceChain_TrainFaceLoRA", {**links, **widgets}),
        cut=("SaveImage", {"images": ["crop", 0], "filename_prefix": name}),
    )  # fmt: skip


def portraits(model: str, count: int, person: str = "", strength: float = 1.0) -> dict:
    """Portraits with a stored person's LoRA, or of the model itself where nobody is named."""
    source = "merge" if person else "load"
    merged = {
        "model": ["load", 0], "clip": ["load", 1], "face_lora": "None", "style_lora": "None", "preset": "Custom", "face_weight": strength,
        "style_weight": 0.0, "save_as": "", "merged_rank": 0, "person": ["who", 0],
    }  # fmt: skip
    sampling = {
        "seed": SEED, "steps": SAMPLING["steps"], "cfg": SAMPLING["cfg"], "sampler_name": SAMPLING["sampler"],
        "scheduler": SAMPLING["scheduler"], "denoise": 1.0,
    }  # fmt: skip
    links = {"model": [source, 0], "positive": ["says", 0], "negative": ["not", 0], "latent_image": ["empty", 0]}
    return titled(
        load=("CheckpointLoaderSimple", {"ckpt_name": model}),
        **({"who": ("FaceChain_LoadPerson", {"person": person}), "merge": ("FaceChain_LoRAMerge", merged)} if person else {}),
        says=("CLIPTextEncode", {"clip": [source, 1], "text": PROMPT}),
        **{"not": ("CLIPTextEncode", {"clip": [source, 1], "text": ""})},
        empty=("EmptyLatentImage", {"width": SIZE, "height": SIZE, "batch_size": count}),
        sample=("KSampler", {**links, **sampling}),
        decode=("VAEDecode", {"samples": ["sample", 0], "vae": ["load", 2]}),
        save=("SaveImage", {"images": ["decode", 0], "filename_prefix": f"{person or 'base'}-{strength:g}"}),
    )  # fmt: skip


def pictures(client: Client, entry: dict, node: str) -> list[torch.Tensor]:
    """What a node saved, [H, W, 3] in 0..1."""
    return [opened(client.view(image)) for image in entry["outputs"][node]["images"]]


def opened(data: bytes) -> torch.Tensor:
    with Image.open(io.BytesIO(data)) as picture:
        return torch.from_numpy(np.asarray(picture.convert("RGB"), np.float32) / 255)
