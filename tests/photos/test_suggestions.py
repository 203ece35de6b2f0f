"""What Check Training Photos says about Face Align's optional steps."""

from __future__ import annotations

import pytest
import torch

suggestions = pytest.importorskip("facechain_impl.photos.suggestions", reason="set COMFYUI_PATH")
from facechain_impl.photos.study import MainFace, PhotoFacts, Study  # noqa: E402
from facechain_impl.types import Status  # noqa: E402

from .test_study import face, noise  # noqa: E402


def on_white(hair: int = 0) -> torch.Tensor:
    """A head on white, its hair down to the lower border, `hair` pixels wide."""
    picture = torch.ones(128, 128, 3)
    picture[30:90, 40:90] = noise(1)[30:90, 40:90]
    picture[90:, 64 - hair // 2 : 64 + hair // 2] = 0.1
    return picture


def studied(turn: float = 0.0) -> Study:
    return Study([PhotoFacts(MainFace(face(), 200.0, 0.5, turn), 0)])


@pytest.fixture
def states(monkeypatch):
    """The state of every file; missing unless said otherwise."""
    found: dict[str, Status] = {}
    monkeypatch.setattr(
        suggestions.check, "status", lambda entry: suggestions.check.FileStatus(entry, found.get(entry.name, Status.MISSING))
    )
    return found


def test_surroundings_are_seen_at_the_border():
    assert suggestions.shows_surroundings(noise(0))
    assert not suggestions.shows_surroundings(on_white()) and not suggestions.shows_surroundings(on_white(hair=40))


def test_each_step_that_did_not_run_is_suggested_with_its_reason_and_its_files(states):
    states["flcm"] = Status.PRESENT
    white, retouch, confidence = suggestions.suggestions([noise(0), on_white()], studied(turn=0.5), set())
    assert white.startswith("Face Align's white_background would help: 1 of 2 photos with surroundings")
    assert white.endswith("Its file is not here: python run.py models get m2fp.")
    assert retouch.endswith("Its files are not here: python run.py models get skin_unet skin_mask retinaface.")
    assert "1 face here may be unclear" in confidence and confidence.endswith("Its file is here.")


def test_a_step_that_ran_is_not_suggested(states):
    assert suggestions.suggestions([on_white()], studied(), {"m2fp", "skin_unet", "flcm"}) == []
    (confidence,) = suggestions.suggestions([on_white()], studied(), {"m2fp", "retinaface"})
    assert "confidence_filter" in confidence and "may be unclear" not in confidence


def test_nothing_is_said_of_what_cannot_be_known(states):
    assert suggestions.suggestions([on_white()], studied(), None) == []
    assert len(suggestions.suggestions([noise(0)], studied(), None)) == 1


def test_stand_ins_are_called_stand_ins(states):
    states["m2fp"] = Status.STAND_IN
    assert suggestions.suggestions([noise(0)], studied(), None)[0].endswith("Of its file only stand-ins are here.")
