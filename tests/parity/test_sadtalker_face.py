"""The picture: detector, landmarks, crop, alignment to the template, coefficients, face parts."""

from __future__ import annotations

import numpy as np
import pytest

from facechain_impl.networks.fan import FAN
from facechain_impl.networks.parsenet import ParseNet
from facechain_impl.networks.recon import FaceReconstruction
from facechain_impl.perception import landmarks98
from facechain_impl.perception.landmarks import five_points_by_corners, wflw_to_68
from facechain_impl.talking import align3d
from facechain_impl.talking.crop import Mode

from . import upstream_mistakes
from .recipe_sadtalker import maker
from .sadtalker_parts import part, pixels

FIXTURES = (
    "sadtalker/recon",
    "sadtalker/align",
    "sadtalker/crop",
    "sadtalker/fan",
    "sadtalker/parsenet",
)


def numbered(case, prefix: str) -> range:
    """0, 1, 2... for the arrays `prefix`0, `prefix`1..."""
    return range(sum(name.startswith(prefix) and name[len(prefix) :].isdigit() for name in case.names))


def test_reconstruction(parity):
    case = parity("sadtalker/recon")
    network = part(case, FaceReconstruction, "face_3drecon.").load()
    case.compare("out_coeff", network(pixels(case.input("in_rgb"))), max=2e-5)


def test_alignment(parity):
    case = parity("sadtalker/align")
    case.compare("in_template", align3d.MEAN_FACE)
    picture = case.input("in_rgb")
    size = picture.shape[1::-1]
    for index in numbered(case, "in_landmarks"):
        landmarks = align3d.flipped(case.input(f"in_landmarks{index}"), size[1])
        points = five_points_by_corners(landmarks)
        alignment = align3d.align(points, size)
        case.compare(f"out_five{index}", points, max=1e-3)
        case.compare(f"out_pos_t_s{index}", np.array([*alignment.centre, align3d.RESCALE / alignment.scale]), max=1e-3)
        case.compare(f"out_trans_params{index}", alignment.parameters, max=1e-3)
        case.compare(f"out_crop{index}", alignment.crop(picture))
        case.compare(f"out_landmarks{index}", alignment.points(landmarks), max=1e-3)


def test_coefficients(parity):
    case = parity("sadtalker/align")
    reader = align3d.FaceCoefficients(part(case, FaceReconstruction, "face_3drecon."))
    picture = case.input("in_rgb")
    for label, landmarks in (("found", case.input("in_landmarks1")), ("not_found", None)):
        case.compare(f"out_coeff73_{label}", reader.read(picture, landmarks)[None], max=2e-5 if landmarks is None else 1e-3)
        size = picture.shape[1::-1]
        points = align3d.mean_face_points(size) if landmarks is None else five_points_by_corners(align3d.flipped(landmarks, size[1]))
        found = reader.network_output(align3d.align(points, size).crop(picture))
        case.compare(f"out_full257_{label}", found[None], max=2e-5)


def test_crop_geometry(parity):
    case = parity("sadtalker/crop")
    case.uses("seed")
    modes = [Mode(str(name)) for name in case.input("modes")]
    for index, size in enumerate(case.input("in_size_wh").tolist()):
        landmarks = case.input(f"in_landmarks{index}")
        cuts = {mode: upstream_mistakes.cut(landmarks, tuple(size), mode) for mode in modes}
        case.compare(f"out_rsize{index}", np.array(cuts[Mode.CROP].size))
        case.compare(f"out_crop{index}", np.array(cuts[Mode.CROP].outer))
        case.compare(f"out_quad{index}", np.array(cuts[Mode.CROP].inner), max=1e-3)
        case.compare(f"out_innerwh_framehw_ok{index}", np.array([stage(cuts[mode]) for mode in modes]))
        pastes = [placing(cuts[mode]) for mode in (Mode.FULL, Mode.EXTFULL)]
        case.compare(f"out_pastesize_center_full_extfull{index}", np.array(pastes))


def stage(plan) -> list[int]:
    width, height = plan.aspect
    return [width, height, *plan.framed(np.zeros((*plan.picture[::-1], 3), np.uint8)).shape[:2], 1]


def placing(plan) -> list[int]:
    left, top, right, bottom = plan.box
    return [right - left, bottom - top, *plan.centre]


def test_crop_pixels(parity):
    case = parity("sadtalker/crop")
    index = next((name[6:] for name in case.names if name.startswith("in_rgb")), "")
    picture, landmarks = case.input(f"in_rgb{index}"), case.input(f"in_landmarks{index}")
    for mode in Mode:
        plan = upstream_mistakes.cut(landmarks, picture.shape[1::-1], mode)
        case.compare(f"out_pixels_{mode.value}", plan.square(picture, 256), max=1)


@pytest.fixture(scope="module")
def fan(parity):
    case = parity("sadtalker/fan")
    case.uses("seed")
    return landmarks98.Landmarks98(part(case, FAN, "", "fan", int(case.input("in_weight_seed"))))


def test_landmark_maps(parity, fan):
    case = parity("sadtalker/fan")
    picture = landmarks98.network_input(case.input("in_rgb"))
    case.compare("out_input", picture, max=1e-6)
    for index, maps in enumerate(fan.managed.load()(picture)):
        expected = case.arrays.get(f"out_heatmap{index}__stats")
        case.compare(f"out_heatmap{index}", maps, max=1e-5 * float(expected[2]) if expected is not None else 1e-3)


def test_landmarks(parity, fan):
    case = parity("sadtalker/fan")
    picture = case.input("in_rgb")
    with upstream_mistakes.corners_for_all():
        points = landmarks98.points_of(fan.maps(picture))[0] * np.array(picture.shape[1::-1]) / 64
    case.compare("out_points98", points)
    case.compare("out_points68", wflw_to_68(points), max=1e-4)
    case.compare("out_any68", wflw_to_68(case.input("in_any98")), max=1e-4)


def test_peaks(parity):
    case = parity("sadtalker/fan")
    maps = case.input("in_hm_inside")
    case.uses("in_peaks_inside")
    case.compare("out_points_inside", landmarks98.points_of(maps))
    bottom, top = maps.copy(), maps.copy()
    bottom[0, 5], top[0, 7] = 0, 0
    bottom[0, 5, 63, 30] = top[0, 7, 0, 30] = 1
    with upstream_mistakes.corners_for_all():
        case.compare("out_points_one_at_bottom", landmarks98.points_of(bottom))
        case.compare("out_points_one_at_top", landmarks98.points_of(top))
    inside = np.delete(landmarks98.points_of(maps), 5, 1)
    assert np.array_equal(np.delete(landmarks98.points_of(bottom), 5, 1), inside)  # one peak at the edge moves no other point


def test_peak_in_the_last_cell():
    maps = np.zeros((1, 2, 64, 64), np.float32)
    maps[0, 0, 63, 63] = maps[0, 1, 0, 0] = 1
    assert np.array_equal(landmarks98.points_of(maps)[0], [[63.75, 63.75], [0.25, 0.25]])


def test_face_parts(parity):
    case = parity("sadtalker/parsenet")
    case.uses("out_label_histogram", "out_margin_min_median")
    network = case.network(ParseNet, "parsenet", maker("parsenet"))
    logits, redrawn = network(pixels(case.input("in_rgb")) * 2 - 1)
    case.compare("out_logit", logits, rel=2e-5)
    case.compare("out_image", redrawn, rel=2e-5)
    case.compare("out_label", logits.argmax(1)[0], share=0.9995)
