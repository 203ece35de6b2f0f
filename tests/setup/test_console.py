"""Long commands: their log, their failure, their end when the user stops."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from launcher import console
from launcher.console import Failure


def test_output_goes_to_the_log(tmp_path):
    console.call([sys.executable, "-c", "print('hello'); print('there')"], "greeting", "none", tmp_path / "logs" / "a.log")
    assert (tmp_path / "logs" / "a.log").read_text() == "hello\nthere\n"


def test_a_failure_names_step_reason_and_remedy(tmp_path):
    code = "import sys; print('the disk is full'); sys.exit(3)"
    with pytest.raises(Failure) as failed:
        console.call([sys.executable, "-c", code], "unpacking", "Free some space.", tmp_path / "a.log")
    text = failed.value.text()
    assert "Stopped at: unpacking" in text
    assert "status 3" in text
    assert "the disk is full" in text
    assert "Free some space." in text
    assert str(tmp_path / "a.log") in text


def test_a_missing_program_is_a_failure_too(tmp_path):
    with pytest.raises(Failure, match="could not be started"):
        console.call([tmp_path / "nothing"], "starting", "Install it.", tmp_path / "a.log")


def test_stopping_ends_the_command(tmp_path, monkeypatch):
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"

    def stop(seconds):
        if pid.is_file() and pid.read_text():
            raise KeyboardInterrupt
        threading.Event().wait(0.05)

    monkeypatch.setattr(console.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        console.call([sys.executable, "-c", code], "sleeping", "none", tmp_path / "a.log")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_long_steps_say_something_now_and_then(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(console, "HEARTBEAT_SECONDS", 0.2)
    code = "import time\nfor i in range(5): print('part', i, flush=True); time.sleep(0.2)"
    console.call([sys.executable, "-c", code], "copying", "none", tmp_path / "a.log")
    assert "copying" in capsys.readouterr().out


def test_children_get_an_environment_without_other_installations(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    env = console.clean_env(EXTRA="1")
    assert "PYTHONPATH" not in env
    assert "PIP_TARGET" not in env
    assert env["EXTRA"] == "1"


@pytest.mark.parametrize(("seconds", "text"), [(5.9, "5 s"), (65, "1 min 05 s"), (3600, "60 min 00 s")])
def test_times_are_written_for_people(seconds, text):
    assert console.elapsed(seconds) == text
