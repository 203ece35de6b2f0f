"""From coefficients to key points: render windows, camera curves, mapping networks, rotations."""

from __future__ import annotations

import numpy as np
import torch

from facechain_impl.networks.sadtalker.mapping import HeadMotion, MappingNet, MappingNetFull
from facechain_impl.talking import keypoints, motion, renderer

from . import upstream_mistakes
from .recipe_sadtalker import maker
from .sadtalker_parts import tensor

FIXTURES = ("sadtalker/render_data", "sadtalker/mapping70", "sadtalker/mapping73", "sadtalker/kp_transform")


def targets(rows: torch.Tensor, batch: int) -> torch.Tensor:
    """All windows of a clip as upstream batches them: [batch, T / batch, C, 27], the last one repeated."""
    windows = keypoints.windows(rows, 0, len(rows))
    windows = torch.cat([windows, windows[-1:].expand(-len(rows) % batch, -1, -1)])
    return windows.unflatten(0, (batch, -1))


def batched(curve: torch.Tensor, batch: int) -> torch.Tensor:
    return torch.cat([curve, curve[-1:].expand(-len(curve) % batch)]).view(batch, -1)


def clip(driving: torch.Tensor, source: torch.Tensor, full: bool, still: bool = False, scale: float = 1.0) -> torch.Tensor:
    pose = source[64:70].expand(len(driving), -1) if still else driving[:, 64:]
    rows = torch.cat([driving[:, :64] * scale, pose], 1)
    return torch.cat([rows, source[70:].expand(len(rows), -1)], 1) if full else rows


def test_render_windows(parity):
    case = parity("sadtalker/render_data")
    case.uses("seed")
    source, driving, batch = tensor(case.input("in_source_coeff73"))[0], tensor(case.input("in_driving70")), int(case.input("in_batch"))
    kinds = {"crop": {}, "crop_scale": {"scale": 1.3}, "crop_still": {"still": True}, "full": {}}
    kinds["full_still_scale"] = {"still": True, "scale": 0.7}
    for kind, options in kinds.items():
        full = kind.startswith("full")
        if kind == "crop_scale":
            options = {"scale": used_scale(case, driving)}
        case.compare(f"out_target_{kind}", targets(clip(driving, source, full, **options), batch), max=1e-6)
        row = source[None, : 73 if full else 70]
        case.compare(f"out_source_{kind}", keypoints.windows(row, 0, 1)[0])


def used_scale(case, driving: torch.Tensor) -> float:
    """The file does not say with which expression scale its case was made."""
    if not case.has("out_target_crop_scale"):
        return 1.0
    return round(float(case.arrays["out_target_crop_scale"][0, 0, 0, 13] / driving[0, 0]), 3)


def test_picture(parity):
    case = parity("sadtalker/render_data")
    case.compare("out_image", renderer.picture(case.input("in_rgb"))[0], max=1e-6)


def test_camera_curves(parity):
    case = parity("sadtalker/render_data")
    for index in range(sum(name.startswith("in_camera") for name in case.names) // 2):
        frames, batch = case.input(f"in_camera{index}_frames_batch").tolist()
        degrees = tuple(case.input(f"in_camera{index}").tolist())
        case.compare(f"out_camera{index}", batched(upstream_mistakes.angle_curve(degrees, frames), batch), max=1e-4)
    frames, batch = len(case.input("in_driving70")), int(case.input("in_batch"))
    for axis, degrees in {"yaw": (-20.0, 30.0, 10.0), "pitch": (5.0,), "roll": (0.0, 10.0)}.items():
        if case.has(f"out_{axis}"):
            curve = upstream_mistakes.angle_curve(degrees, frames)
            case.compare(f"out_{axis}", batched(curve, batch), max=1e-4)


def mapping(case, network: type, keys: str):
    found = case.network(network, keys, maker("mapping"))(tensor(case.input("in_semantics")))
    heads = {"yaw": found.yaw, "pitch": found.pitch, "roll": found.roll, "t": found.shift, "exp": found.expression}
    for name, value in heads.items():
        case.compare(f"out_{name}", value, max=1e-4)
    for axis in motion.AXES:
        case.compare(f"out_degree_{axis}", keypoints.degrees(getattr(found, axis)), max=2e-3)


def test_mapping_of_crops(parity):
    mapping(parity("sadtalker/mapping70"), MappingNet, "mapping70")


def test_mapping_of_whole_pictures(parity):
    mapping(parity("sadtalker/mapping73"), MappingNetFull, "mapping73")


def test_key_points(parity):
    case = parity("sadtalker/kp_transform")
    case.uses("seed")
    head = HeadMotion(*(tensor(case.input(f"in_{name}")) for name in ("yaw", "pitch", "roll", "t", "exp")))
    canonical, override = tensor(case.input("in_kp")), tensor(case.input("in_override_yaw_pitch_roll"))
    angles = [keypoints.degrees(getattr(head, axis)) for axis in motion.AXES]
    case.compare("out_degrees", torch.stack(angles), max=1e-4)
    case.compare("out_rotation", keypoints.rotation(*angles), max=1e-5)
    case.compare("out_kp", keypoints.moved(canonical, head), max=1e-5)
    case.compare("out_kp_yaw_override", keypoints.moved(canonical, head, {"yaw": override[0]}), max=1e-5)
    everything = dict(zip(motion.AXES, override))
    case.compare("out_kp_all_override", keypoints.moved(canonical, head, everything), max=1e-5)


def test_default_camera_reaches_every_angle():
    curve = motion.angle_curve((-20.0, 30.0, 10.0), 71)
    steps = np.abs(np.diff(curve.numpy()))
    assert curve[0] == -20 and curve[-1] == 10 and curve.max() == 30
    assert np.allclose(steps, steps[0], atol=1e-4)
