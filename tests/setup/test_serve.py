"""run.py serve on a ComfyUI of the user's, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launcher import server
from launcher.client import Client
from launcher.console import Failure
from launcher.hosts import Host

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.host


@pytest.mark.slow
def test_serve_until_stopped(home, host, tmp_path):
    port = server.free_port()
    words = [sys.executable, "-u", str(ROOT / "run.py"), "serve", "--port", str(port), "--", "--cpu", "--disable-api-nodes"]
    env = {**os.environ, **host, "TMPDIR": str(tmp_path)}
    client = Client(f"http://127.0.0.1:{port}")
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as serving:
        try:
            end = time.monotonic() + 300
            while not client.is_up():
                assert serving.poll() is None
                assert time.monotonic() < end
                time.sleep(0.5)
            assert "FaceChain_LoadPhotos" in client.object_info("FaceChain_LoadPhotos")
            (base,) = tmp_path.glob("facechain-*")
            assert (base / "models").resolve() == home / "base" / "models"
        finally:
            serving.send_signal(signal.SIGINT)
            said = serving.communicate(timeout=300)[0]
    assert f"http://127.0.0.1:{port}" in said
    assert serving.returncode == 130
    assert not client.is_up()
    assert not list(tmp_path.glob("facechain-*"))
    assert (home / "base" / "models").is_dir()


def test_a_server_that_does_not_start_says_why(tmp_path):
    (tmp_path / "main.py").write_text("raise SystemExit('the port is taken')\n")
    broken = server.Server(Host(tmp_path, Path(sys.executable), False), tmp_path, tmp_path / "log")
    with pytest.raises(Failure) as failed, broken:
        pass
    assert "the port is taken" in failed.value.why
    assert not broken.is_running()


def test_models_of_other_folders_are_shown_by_name(tmp_path):
    for name in ("loras", "checkpoints", "configs"):
        (tmp_path / "models" / name).mkdir(parents=True)
    lines = server.write_model_paths(tmp_path, [tmp_path / "models", tmp_path / "nothing"]).read_text().splitlines()
    assert lines == ["models_0:", f'  base_path: "{tmp_path / "models"}"', "  checkpoints: checkpoints", "  loras: loras"]
    assert server.write_model_paths(tmp_path, [tmp_path / "nothing"]).read_text() == "{}\n"
