"""run.py serve on a ComfyUI of the user's, until Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from facechain_impl.weights.stand_ins import networks as stand_ins
from launcher import cli, console, environment, server
from launcher.client import Client
from launcher.console import Failure
from launcher.hosts import Host

from ..weights import hub

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.host


@contextmanager
def serving(env: dict[str, str], temporary: Path) -> Iterator[tuple[Client, Path]]:
    """The editor on the ComfyUI that `env` names, and its base directory in `temporary`. Ctrl-C ends it."""
    port = server.free_port()
    words = [sys.executable, "-u", str(ROOT / "run.py"), "serve", "--port", str(port), "--", "--cpu", "--disable-api-nodes"]
    env = {**os.environ, **env, "TMPDIR": str(temporary)}
    client = Client(f"http://127.0.0.1:{port}")
    printed = temporary / "printed.txt"
    with printed.open("w") as output, subprocess.Popen(words, env=env, stdout=output, cwd=temporary) as run:
        try:
            end = time.monotonic() + 300
            while client.url not in printed.read_text():
                assert run.poll() is None
                assert time.monotonic() < end
                time.sleep(0.5)
            (base,) = temporary.glob("facechain-*")
            yield client, base
        finally:
            run.send_signal(signal.SIGINT)
            run.wait(timeout=300)
    assert run.returncode == 130
    assert not client.is_up()


@pytest.mark.slow
def test_serve_until_stopped(own_host, tmp_path):
    comfyui = Path(own_host["COMFYUI_PATH"])
    with serving(own_host, tmp_path) as (client, base):
        assert "FaceChain_LoadPhotos" in client.object_info("FaceChain_LoadPhotos")
        for name in ("models", "input", "output", "user"):
            assert (base / name).resolve() == comfyui / name
        assert not (comfyui / "custom_nodes").exists()
    assert not list(tmp_path.glob("facechain-*"))
    assert (comfyui / "models").is_dir()


@pytest.mark.slow
@pytest.mark.matrix
def test_every_command_works_on_what_is_served(run_py, own_host, tmp_path):
    """Persons in the ComfyUI's own folders, published files where its extra_model_paths.yaml says."""
    comfyui = Path(own_host["COMFYUI_PATH"])
    (comfyui / "extra_model_paths.yaml").write_text(f"disk:\n  facechain: {tmp_path / 'disk'}\n")
    mia = comfyui / "models" / "facechain" / "persons" / "Mia"
    mia.mkdir(parents=True)
    save_file({"a": torch.ones(2, 2)}, mia / "Mia.safetensors")
    (mia / "person.json").write_text('{"name": "Mia", "trigger": "a woman", "embedding": null, "report": {}}')
    published = tmp_path / "hub" / "Cherrytest" / "rot_bgr"
    published.mkdir(parents=True)
    stand_ins.OTHER_FILES["rot_bgr"](published / "rot_bgr.onnx", 1)

    with serving(own_host, tmp_path) as (client, _), hub.serving(tmp_path / "hub") as (_, address):
        load = {"class_type": "FaceChain_LoadPerson", "inputs": {"person": "Mia"}}
        copy = {"name": "Lea", "trigger": "", "if_person_exists": "Stop", "person": ["load", 0]}
        client.run({"load": load, "save": {"class_type": "FaceChain_SavePerson", "inputs": copy}})
        listed = run_py("persons", "list", **own_host).stdout.splitlines()[1:]
        assert [line.split()[0] for line in listed] == ["Lea", "Mia"]
        assert run_py("persons", "rename", "Lea", "Zoe", **own_host).returncode == 0
        assert [person["name"] for person in client.get("/facechain/persons")["persons"]] == ["Mia", "Zoe"]

        where = {"MODELSCOPE_ENDPOINT": address, "MODELSCOPE_CACHE": tmp_path / "cache", "HOME": tmp_path}
        done = run_py("models", "get", "rot_bgr", **own_host, **where)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list((tmp_path / "disk").rglob("rot_bgr.onnx"))
        checked = client.run({"check": {"class_type": "FaceChain_ModelCheck", "inputs": {}}})
        (row,) = [row for row in checked["outputs"]["check"]["report"][0]["rows"] if row["name"] == "rot_bgr"]
        assert row["status"] == "stand-in"  # found, and known to hold random numbers


@pytest.mark.parametrize("is_users", [True, False])
def test_commands_and_server_have_one_store(home, tmp_path, monkeypatch, is_users):
    host = Host(tmp_path / "ComfyUI", Path(sys.executable), is_users)
    monkeypatch.setattr(environment, "ready", lambda **_: host)
    given = []
    monkeypatch.setattr(server, "device_arguments", lambda host: [])
    monkeypatch.setattr(server, "_serve", lambda host, base, port, options: given.append((base / "models").resolve()) or 0)
    monkeypatch.setattr(console, "follow", lambda command, env: given.append(Path(command[3]) / "models") or 0)
    for command in (["serve"], ["persons", "list"], ["models", "check"]):
        assert cli.main(command) == 0
    assert given == [(tmp_path / "ComfyUI" if is_users else home / "base") / "models"] * 3


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
