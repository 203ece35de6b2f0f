"""The layouts of narrow talking-head networks, which draw a frame in a fraction of a second."""

from __future__ import annotations

import torch

from ...networks.base import layout_of
from ...networks.published import Entry
from ...types import Layout
from .. import catalogue

POINTS = 3
AUDIO = (8, 16, 32, 64, 128)
SIZES = {
    "sadtalker.keypoints:KeyPoints": {"down_widths": (8, 8, 16, 16, 32), "up_widths": (32, 16, 8, 8, 4), "points": POINTS},
    "sadtalker.generator:Generator": {
        "widths": (8, 8, 16),
        "volume": 2,
        "volume_blocks": 1,
        "compressed": 1,
        "points": POINTS,
        "hourglass": ((4, 8, 16, 16, 16), (16, 16, 8, 4, 4)),
        "decoder": (16, 8, 8),
        "hidden": 8,
    },
    "sadtalker.audio:ExpNet": {"audio_widths": AUDIO},
    "sadtalker.audio:PoseVAE": {"audio_widths": AUDIO, "widths": (8, 16, 32, 64), "discriminator": (16, 32, 64)},
    "recon:FaceReconstruction": {"width": 8},
    "sadtalker.mapping:MappingNet": {"width": 64, "points": POINTS},
    "sadtalker.mapping:MappingNetFull": {"width": 64, "points": POINTS},
    "fan:FAN": {"width": 64},
}
NAMES = ("sadtalker_256", "sadtalker_512", "sadtalker_mapping_crop", "sadtalker_mapping_full", "sadtalker_fan")


def narrow_layout(entry: Entry) -> Layout:
    """Published key -> (shape, dtype) at the narrow sizes, for one of NAMES."""
    if entry.parts:
        return {name: row for part in entry.parts for name, row in narrow_layout(catalogue.get(f"{entry.name}.{part.name}")).items()}
    with torch.device("meta"):
        network = entry.network_class()(**SIZES[entry.network])
    return {entry.prefix + name: row for name, row in layout_of(network.state_dict()).items()}
