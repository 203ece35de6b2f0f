"""Plans: their edges, their seed, and what the user can turn."""

from __future__ import annotations

import pytest
import torch

from facechain_impl.errors import BadInput
from facechain_impl.talking import keypoints, motion
from facechain_impl.talking.audio import Speech
from facechain_impl.talking.motion import Motion, MotionPlan, Planner

from .conftest import tone

SOURCE = torch.linspace(-0.2, 0.3, 70)


@pytest.fixture(scope="module")
def planner(narrow):
    return Planner(narrow("sadtalker_256.expression"), narrow("sadtalker_256.pose"))


def speech(frames: int) -> Speech:
    return Speech(tone(frames / 25), 16000)


@pytest.mark.parametrize("frames", [1, 2, 3, 20, 21, 32, 33, 34, 65])
def test_every_length_has_a_plan(planner, frames):
    plan = planner.plan(speech(frames), SOURCE, Motion(seed=3))
    assert plan.coefficients.shape == (frames, 70) and plan.coefficients.isfinite().all()
    assert plan.coefficients.dtype == torch.float32


@pytest.mark.parametrize("frames", [1, 2, 20, 21, 22, 33, 1000])
def test_blinks(frames):
    curve = motion.blink_curve(frames, 5)
    blinks = int((curve == 1).sum())
    assert len(curve) == frames and set(curve.tolist()) <= {0.0, 0.5, float(torch.tensor(0.9)), 1.0}
    assert blinks == 0 if frames <= 20 else blinks >= (frames >= 21)
    if frames == 1000:
        assert 12 < blinks < 40


def test_blink_rate_and_strength():
    often, usual, never = (int((motion.blink_curve(2000, 1, rate) > 0).sum()) for rate in (2.0, 1.0, 0.0))
    assert often > 1.4 * usual > 0 == never
    assert motion.blink_curve(500, 1, 1.0, 0.5).max() == 0.5


def test_the_seed_decides(planner):
    first, again, other = (planner.plan(speech(40), SOURCE, Motion(seed=seed)).coefficients for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 64:], other[:, 64:])


def test_still_and_amplitude(planner):
    still = planner.plan(speech(40), SOURCE, Motion(still=True)).pose
    none, half, full = (planner.plan(speech(40), SOURCE, Motion(pose_amplitude=share)).pose for share in (0.0, 0.5, 1.0))
    assert torch.equal(still, SOURCE[64:].expand(40, -1)) and torch.allclose(none, still, atol=1e-6)
    assert torch.allclose(half - still, (full - still) / 2, atol=1e-4) and (full - still).abs().max() > 1e-3


def test_styles(planner):
    zero, last = (planner.plan(speech(34), SOURCE, Motion(style=style)).pose for style in (0, 45))
    assert not torch.allclose(zero, last, atol=1e-3)
    with pytest.raises(BadInput, match="46"):
        Motion(style=46)


def test_expression_scale(planner):
    one, two = (planner.plan(speech(25), SOURCE, Motion(expression_scale=scale)).expression for scale in (1.0, 2.0))
    assert torch.allclose(two, one * 2)


def test_reference(planner):
    rows = torch.randn(10, 70, generator=torch.Generator().manual_seed(1))
    plain = planner.plan(speech(25), SOURCE, Motion())
    posed = planner.plan(speech(25), SOURCE, Motion(reference=rows, reference_pose=True))
    moves = motion.looped(rows[:, 64:], 25)
    assert torch.allclose(posed.pose, plain.pose + moves - moves[:1], atol=1e-5) and torch.equal(posed.expression, plain.expression)
    blinking = planner.plan(speech(25), SOURCE, Motion(reference=rows, reference_blink=True))
    assert torch.equal(blinking.pose, plain.pose) and not torch.allclose(blinking.expression, plain.expression)


@pytest.mark.parametrize("degrees", [(10.0,), (10.0, 10.0), (0.0, 20.0, 20.0, -20.0), (5.0, -5.0)])
@pytest.mark.parametrize("frames", [1, 2, 50])
def test_angles(degrees, frames):
    curve = motion.angle_curve(degrees, frames)
    assert len(curve) == frames and curve.isfinite().all() and curve[0] == degrees[0]
    assert frames == 1 or curve[-1] == degrees[-1]


def test_windows_repeat_the_ends():
    rows = torch.arange(30.0)[:, None]
    assert keypoints.windows(rows, 0, 1)[0, 0].tolist() == [0] * 14 + list(range(1, 14))
    assert keypoints.windows(rows, 29, 30)[0, 0].tolist() == list(range(16, 30)) + [29] * 13


def test_a_plan_of_another_renderer_is_refused(narrow):
    points = keypoints.PointPlanner(narrow("sadtalker_mapping_crop"))
    with pytest.raises(BadInput, match=r"other\.space"):
        points.driving(MotionPlan(torch.zeros(3, 70), space="other.space"), torch.zeros(73), torch.zeros(1, 3, 3))


def test_editing():
    plan = MotionPlan(torch.randn(5, 70, generator=torch.Generator().manual_seed(2)))
    edited = plan.edited(0.5, 2.0, {"yaw": (0.0, 8.0), "roll": ()})
    assert torch.equal(edited.expression, plan.expression * 0.5) and torch.equal(edited.pose[0], plan.pose[0])
    assert torch.allclose(edited.pose[3] - edited.pose[0], 2 * (plan.pose[3] - plan.pose[0]))
    assert list(edited.angles) == ["yaw"] and edited.angles["yaw"].tolist() == [0, 2, 4, 6, 8]
