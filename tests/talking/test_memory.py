"""Memory does not grow with the clip."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def peaks(seconds: float, folder: Path) -> tuple[int, int, int, int]:
    """Peak of the process before and after drawing, bytes of the sound, frames."""
    path = os.pathsep.join([str(ROOT), os.environ.get("COMFYUI_PATH", "")])
    command = [sys.executable, str(ROOT / "tests" / "talking" / "long_clip.py"), str(seconds), str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=1200)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return tuple(int(word) for word in ended.stdout.split()[-5:-1])


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.parametrize("seconds", [30, 120])
def test_a_long_clip_needs_hardly_more_than_ten_seconds(tmp_path, seconds):
    _, short, short_sound, frames = peaks(10, tmp_path)
    _, long, long_sound, many = peaks(seconds, tmp_path)
    assert (frames, many) == (250, 25 * seconds)
    assert long - long_sound <= 1.1 * (short - short_sound)
