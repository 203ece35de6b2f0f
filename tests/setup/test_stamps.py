"""Finished steps are not done again, unfinished ones are noticed, and only one setup runs at a time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from launcher.console import Failure
from launcher.stamps import Stamps, Step, fingerprint, locked


def step(done: list[str], name: str, mark: str = "1") -> Step:
    return Step(name, name, fingerprint(mark), lambda: done.append(name))


def test_a_finished_step_is_not_done_again(tmp_path):
    done, stamps = [], Stamps(tmp_path)
    stamps.run([step(done, "a"), step(done, "b")])
    assert stamps.run([step(done, "a"), step(done, "b")]) == 0
    assert done == ["a", "b"]


def test_a_changed_step_is_done_again_alone(tmp_path):
    done, stamps = [], Stamps(tmp_path)
    stamps.run([step(done, "a"), step(done, "b")])
    stamps.run([step(done, "a"), step(done, "b", "2")])
    assert done == ["a", "b", "b"]


def test_a_step_that_fails_is_known_and_done_again(tmp_path):
    done, stamps = [], Stamps(tmp_path)

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stamps.run([step(done, "a"), Step("b", "b", fingerprint("1"), fail), step(done, "c")])
    assert (done, stamps.unfinished()) == (["a"], ["b"])
    stamps.run([step(done, "a"), step(done, "b"), step(done, "c")])
    assert (done, stamps.unfinished()) == (["a", "b", "c"], [])


def test_a_changed_step_that_is_cut_off_loses_its_stamp(tmp_path):
    done, stamps = [], Stamps(tmp_path)
    stamps.run([step(done, "a")])

    def fail():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stamps.run([Step("a", "a", fingerprint("2"), fail)])
    assert not stamps.is_done(step(done, "a"))


def test_forgetting_makes_every_step_look_again(tmp_path):
    done, stamps = [], Stamps(tmp_path)
    stamps.run([step(done, "a")])
    stamps.forget()
    stamps.run([step(done, "a")])
    assert done == ["a", "a"]


def test_fingerprints_tell_the_parts_apart(tmp_path):
    file = tmp_path / "file"
    file.write_text("ab")
    assert fingerprint("ab") == fingerprint(file) == fingerprint(b"ab")
    assert fingerprint("a", "b") != fingerprint("ab")


def test_a_second_set_up_is_refused_until_the_first_has_gone(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from launcher.stamps import locked\n"
        "with locked(Path(sys.argv[1])): print(1, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "1\n"
        with pytest.raises(Failure, match="another run.py"), locked(tmp_path):
            pass
        other.kill()
        other.wait()
        with locked(tmp_path):
            pass
