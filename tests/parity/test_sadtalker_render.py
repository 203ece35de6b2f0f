"""Key points of the picture, the generator stage by stage, whole clips, and the paste."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facechain_impl.networks.sadtalker.generator import Generator
from facechain_impl.networks.sadtalker.keypoints import KeyPoints
from facechain_impl.networks.sadtalker.mapping import MappingNet, MappingNetFull
from facechain_impl.talking import keypoints, renderer
from facechain_impl.talking.paste import PoissonPaste

from .recipe_sadtalker import maker
from .sadtalker_parts import Held, part, pixels, tensor

FIXTURES = (
    "sadtalker/kp_extractor",
    "sadtalker/generator_128",
    "sadtalker/generator_512",
    "sadtalker/animate_128_full",
    "sadtalker/animate_256",
    "sadtalker/poisson",
)
EXACT, LOOSE = {"max": 1e-4, "mean": 1e-5}, {"max": 2e-2, "mean": 5e-4}
LIMITS = {
    "feature3d": EXACT,
    "compressed": EXACT,
    "sparse_motion": {"max": 1e-5},
    "deformed": EXACT,
    "heatmap": {"max": 1e-5},
    "hourglass": EXACT,
    "mask": EXACT,
    "deformation": {"max": 3e-3, "mean": 1e-5},
    "occlusion_map": EXACT,
    "fourth": {"max": 1e-2, "mean": 1e-4},
    "middle5": LOOSE,
    "up0": LOOSE,
    "up1": LOOSE,
    "presigmoid": {"max": 1e-2, "mean": 2e-4},
    "prediction": {"max": 2e-3, "mean": 3e-5},
}


def compare(case, stages: dict, suffix: str = "") -> None:
    for name, value in stages.items():
        if case.has(f"out_{name}{suffix}"):
            case.compare(f"out_{name}{suffix}", value, **LIMITS[name])


class Watched:
    """A generator whose intermediate results are kept."""

    def __init__(self, generator):
        self.generator, self.kept = generator, {}
        motion, decoder = generator.dense_motion_network, generator.decoder
        for name, layer in {
            "compressed": motion.norm,
            "hourglass": motion.hourglass,
            "mask": motion.mask,
            "fourth": generator.fourth,
            "middle5": decoder.G_middle_5,
            "up0": decoder.up_0,
            "up1": decoder.up_1,
            "presigmoid": decoder.conv_img,
            "motion": motion,
        }.items():
            layer.register_forward_hook(lambda _, __, output, name=name: self.kept.__setitem__(name, output))

    def draw(self, source, points) -> dict[str, torch.Tensor]:
        prediction = self.generator(source, points)
        kept, batch = dict(self.kept), len(points)
        deformation, occlusion = kept.pop("motion")
        return kept | {
            "prediction": prediction,
            "mask": kept["mask"].softmax(1),
            "deformation": deformation,
            "occlusion_map": occlusion,
            "feature3d": source.volume.expand(batch, -1, -1, -1, -1),
            "compressed": kept["compressed"].expand(batch, -1, -1, -1, -1),
        }


@pytest.fixture(scope="module")
def seeds(parity):
    """One generator serves all files of a seed."""
    made: dict[int, Watched] = {}

    def get(case) -> Watched:
        if case.seed not in made:
            made.clear()
            made[case.seed] = Watched(part(case, Generator, "generator.").load())
        return made[case.seed]

    return get


def test_key_points(parity):
    case = parity("sadtalker/kp_extractor")
    network = part(case, KeyPoints, "kp_extractor.").load()
    for name in sorted(name for name in case.names if name.startswith("in_rgb_")):
        size = name.removeprefix("in_rgb_")
        picture = pixels(case.input(name))
        small = network.down(picture)
        case.compare(f"out_down_{size}", small, max=1e-5)
        case.compare(f"out_heatmap_logit_{size}", network.logits(small), max=2e-5)
        case.compare(f"out_kp_{size}", network(picture), max=1e-5)


@pytest.fixture(scope="module")
def small(parity, seeds):
    """(case, watched generator, source, driving points, the stages of each frame drawn alone) at 128 pixels."""
    case = parity("sadtalker/generator_128")
    with torch.inference_mode():
        watched = seeds(case)
        source = watched.generator.encode(pixels(case.input("in_rgb")), tensor(case.input("in_kp_source")))
        driving = tensor(case.input("in_kp_driving"))
        return case, watched, source, driving, [watched.draw(source, points) for points in driving.split(1)]


def test_every_stage_at_128(small):
    case, watched, source, driving, frames = small
    for index, stages in enumerate(frames):
        compare(case, stages, f"_f{index}")
    compare(case, motion_stages(watched, source, driving[:1]))
    prediction = torch.cat([stages["prediction"] for stages in frames])
    compare(case, {"prediction": prediction})
    case.compare("out_uint8", renderer.video_frames(prediction), max=1, share=0.99)
    case.compare("out_uint8", renderer.video_frames(prediction), share=0.99)


def motion_stages(watched, source, points) -> dict[str, torch.Tensor]:
    motion = watched.generator.dense_motion_network
    moves = motion.motions(source, points)
    return {"sparse_motion": moves, "deformed": motion.deformed(source, moves), "heatmap": motion.heat(source, points)[:, :, None]}


def test_folding_changes_nothing(small):
    """Bit for bit; several frames at a time only reorder sums."""
    case, watched, source, driving, frames = small
    plain = part(case, Generator, "generator.", fold=False).load()
    unfolded = plain.encode(pixels(case.input("in_rgb")), tensor(case.input("in_kp_source")))
    expected = torch.cat([plain(unfolded, one) for one in driving.split(1)])
    assert torch.equal(expected, torch.cat([stages["prediction"] for stages in frames]))
    assert torch.allclose(expected, watched.generator(source, driving), rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.matrix
def test_every_stage_at_512(parity, seeds):
    case = parity("sadtalker/generator_512")
    watched = seeds(case)
    source = watched.generator.encode(pixels(case.input("in_rgb")), tensor(case.input("in_kp_source")))
    compare(case, watched.draw(source, tensor(case.input("in_kp_driving"))))


def clip(case, watched, mapping, angles: dict) -> None:
    """The whole renderer: frames are drawn in steps of the stored batch, frame b * steps + t in row b of step t."""
    picture, batch = case.input("in_rgb"), int(case.input("in_batch"))
    faces = renderer.FaceRenderer(part(case, KeyPoints, "kp_extractor."), Held(watched.generator))
    canonical = faces.canonical(picture)
    source_points = keypoints.moved(canonical, mapping(tensor(case.input("in_source_semantics"))[None]))
    driving = keypoints.moved(canonical, mapping(tensor(case.input("in_target_semantics"))), angles)
    case.compare("out_kp_canonical", canonical, max=1e-5)
    case.compare("out_kp_source", source_points, max=1e-4)
    case.compare("out_kp_driving", driving, max=1e-4)
    source = faces.source(picture, source_points)
    steps = len(driving) // batch
    predictions = torch.empty(len(driving), 3, *picture.shape[:2])
    for step in range(steps):
        rows = torch.arange(batch) * steps + step
        stages = watched.draw(source, driving[rows])
        predictions[rows] = stages.pop("prediction")
        compare(case, stages, f"_step{step}")
    compare(case, {"prediction": predictions})
    frames = renderer.video_frames(predictions)
    case.compare("out_uint8", frames, max=1, share=0.99)
    size = renderer.finished_size(tuple(case.input("in_crop_info_wh").tolist()), picture.shape[1])
    case.compare("out_resized_uint8", renderer.resized(frames, size), max=1, share=0.99)
    case.uses("out_saturated_fraction")
    streamed = np.concatenate(list(faces.frames(source, driving, 1)))
    assert np.mean(streamed != frames) < 0.01


def test_clip_of_a_whole_picture(parity, seeds):
    case = parity("sadtalker/animate_128_full")
    angles = dict(zip(("yaw", "pitch"), tensor(case.input("in_yaw_pitch"))))
    clip(case, seeds(case), case.network(MappingNetFull, "mapping73", maker("mapping")), angles)


@pytest.mark.slow
@pytest.mark.matrix
def test_clip_of_a_crop(parity, seeds):
    case = parity("sadtalker/animate_256")
    clip(case, seeds(case), case.network(MappingNet, "mapping70", maker("mapping")), {})


def test_paste(parity):
    case = parity("sadtalker/poisson")
    case.uses("seed")
    for index in range(sum(name.startswith("in_plate") for name in case.names)):
        plate, frames = case.input(f"in_plate{index}"), case.input(f"in_frames{index}")
        left, top, right, bottom = box = tuple(case.input(f"in_box{index}").tolist())
        found = PoissonPaste(plate, box)(frames)
        case.compare(f"out_resized{index}", renderer.resized(frames, (right - left, bottom - top)), max=1)
        expected = case.input(f"out_frames{index}")
        outside = np.ones(plate.shape[:2], bool)
        outside[top:bottom, left:right] = False
        assert np.array_equal(found[:, outside], expected[:, outside])
        assert np.array_equal(found[:, outside], np.broadcast_to(plate[outside], found[:, outside].shape))
        case.compare(f"out_frames{index}", found, max=1)
        inside = (found != expected)[:, top:bottom, left:right]
        assert inside.mean() <= 0.003
