"""From sound to coefficients: mel windows, expression, head pose and blinking."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from facechain_impl.networks.sadtalker.audio import ExpNet, PoseVAE
from facechain_impl.talking import motion
from facechain_impl.talking.audio import FPS, HOP, SAMPLES, Speech, window_start

from .sadtalker_parts import part, tensor

FIXTURES = ("sadtalker/mel", "sadtalker/audio2exp", "sadtalker/audio2pose", "sadtalker/blink")
RATE = 16000


@pytest.fixture(scope="module")
def mel(parity):
    case = parity("sadtalker/mel")
    case.uses("seed")
    return case


@pytest.fixture(scope="module")
def wav(mel):
    return mel.input("in_wav")


def speech(samples) -> Speech:
    return Speech(tensor(samples)[None], RATE)


def test_mel(mel, wav):
    heard = speech(wav)
    mel.compare("out_mel", heard.mel(0, 1 + heard.frames * SAMPLES // HOP), max=2e-6)
    mel.compare("out_windows", heard.windows(0, heard.frames)[:, 0], max=2e-6)
    mel.compare("out_window_start", np.array([window_start(frame) for frame in range(heard.frames)]))


def test_windows_do_not_depend_on_where_they_are_cut(wav):
    heard = speech(wav)
    pieces = [heard.windows(start, min(start + 7, heard.frames)) for start in range(0, heard.frames, 7)]
    assert torch.equal(torch.cat(pieces), heard.windows(0, heard.frames))


def test_short_clip(mel, wav):
    offset, length = mel.input("in_short_offset_length")
    heard = speech(wav[offset : offset + length])
    mel.compare("out_short_T", np.array(heard.frames))
    mel.compare("out_short_windows", heard.windows(0, heard.frames)[:, 0], max=2e-6)


def test_frame_counts(mel):
    """A clip shorter than one frame has none upstream and one here."""
    found = []
    for length in mel.input("in_lengths").tolist():
        frames = speech(np.zeros(length, np.float32)).frames
        found.append([frames * SAMPLES, frames] if length >= SAMPLES else [0, 0])
    mel.compare("out_cut_length_and_T", np.array(found))
    silence = speech(np.zeros(round(float(mel.input("in_idle_seconds")) * RATE), np.float32))
    mel.compare("out_idle_T", np.array(silence.frames))
    assert silence.frames == int(float(mel.input("in_idle_seconds")) * FPS)


def test_expression(parity):
    case = parity("sadtalker/audio2exp")
    network = part(case, ExpNet, "audio2exp.").load()
    windows = tensor(case.input("in_windows"))[:, None]
    case.compare("out_embedding", network.embed(windows), max=1e-4)
    reference = tensor(case.input("in_ref_exp")).expand(len(windows), -1)
    case.compare("out_exp", network(windows, reference, tensor(case.input("in_ratio"))[:, None]), max=2e-5)


@pytest.fixture(scope="module")
def planner(parity):
    case = parity("sadtalker/audio2pose")
    return motion.Planner(part(case, ExpNet, "audio2exp."), part(case, PoseVAE, "audio2pose."))


def test_first_chunk(parity, planner):
    case = parity("sadtalker/audio2pose")
    style = int(case.input("in_cases_T_style")[0, 1])
    sound, pose = tensor(case.input("in_chunk0_embedding"))[None], tensor(case.input("in_ref_coeff"))[None, 64:70]
    found = planner.pose.load()(sound, pose, tensor(case.input("in_z0"))[:1], torch.tensor([style]))
    case.compare("out_chunk0_delta", found[0], max=2e-4)


def test_pose_and_expression(parity, planner, wav):
    case = parity("sadtalker/audio2pose")
    case.uses("note_windows")
    source = tensor(case.input("in_ref_coeff"))
    for index, (frames, style) in enumerate(case.input("in_cases_T_style").tolist()):
        heard = speech(wav)
        heard.frames = frames
        changes = planner.pose_changes(whole_clip_windows(heard, wav), source[64:], tensor(case.input(f"in_z{index}")), style)
        pose = source[64:] + changes
        expression = planner.expressions(whole_clip_windows(heard, wav), source[None, :64], torch.zeros(frames))
        case.compare(f"out_delta{index}", changes, max=2e-4)
        case.compare(f"out_pose{index}", pose, max=2e-4)
        case.compare(f"out_smoothed{index}", motion.smoothed(pose), max=2e-4)
        case.compare(f"out_exp{index}", expression, max=2e-5)
        if index == 0:
            driven = motion.looped(tensor(case.input("in_refpose_coeff"))[:, 64:70], frames)
            found = torch.cat([expression, motion.smoothed(pose) + driven - driven[:1]], 1)
            case.compare("out_coeff0_with_refpose", found, max=2e-4)


def whole_clip_windows(heard: Speech, wav) -> Speech:
    """The fixture cuts the windows of the whole recording, which at the end of a shorter clip differ from the clip's own."""
    whole = speech(wav)
    heard.windows = whole.windows
    return heard


def test_reference_blink(parity):
    case = parity("sadtalker/audio2pose")
    rows = tensor(case.input("in_refblink_coeff"))
    count = case.arrays["out_refblink_ratio"].shape[0] if case.has("out_refblink_ratio") else 12
    case.compare("out_refblink_ref_exp", motion.looped(rows[:, :64], count))
    case.compare("out_refblink_ratio", torch.zeros(count))


def test_blinks(parity):
    case = parity("sadtalker/blink")
    case.uses("seed")
    for index, (seed, frames) in enumerate(case.input("in_seed_T").tolist()):
        curve = motion.blink_curve(frames, seed)
        case.compare(f"out_ratio{index}", curve)
        gaps = drawn_gaps(seed, frames)
        case.compare(f"out_gaps{index}", np.array(gaps, np.int64))
        choice = motion.gap_range(frames)
        case.compare(f"out_choice_range{index}", np.array([choice.start, choice.stop] if gaps else [0, 0]))


def drawn_gaps(seed: int, frames: int) -> list[int]:
    """The gaps that the blinks of this seed lie behind, and the last one, which did not fit."""
    dice, gaps, at = random.Random(seed), [], 0
    while frames > 20:
        gaps.append(dice.choice(motion.gap_range(frames)))
        at += gaps[-1] + len(motion.BLINK)
        if at >= frames:
            break
    return gaps
