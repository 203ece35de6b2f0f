"""The rules of this very suite: what the usual run leaves out, and in which order tests run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest

from launcher import places
from launcher.testing import NEEDS_PHOTOGRAPHS

from .. import conftest

ROOT = Path("/checkout")


class Item:
    def __init__(self, path: str, *markers: str):
        self.nodeid, self.path, self.markers = path, ROOT / path, markers

    def get_closest_marker(self, name: str) -> str | None:
        return name if name in self.markers else None


def collected(items: list[Item], everything: bool = False, **config) -> tuple[list[Item], Counter]:
    """What is left of `items`, in its order, and how many were left out by which marker."""
    stash, deselected = {}, []
    hook = SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items))
    settings = SimpleNamespace(
        stash=stash, hook=hook, rootpath=ROOT, getoption=lambda name: everything, add_cleanup=lambda clean: clean(), **config
    )
    conftest.pytest_configure(settings)
    left = list(items)
    conftest.pytest_collection_modifyitems(settings, left)
    assert set(items) == {*left, *deselected}
    return left, stash[conftest.LEFT_OUT]


def test_matrices_and_soak_tests_run_only_when_asked_for():
    plain, soak, matrix = Item("a.py"), Item("a.py", "soak", "slow"), Item("b.py", "matrix", "host")
    assert collected([plain, soak, matrix]) == ([plain], Counter(soak=1, matrix=1))
    assert collected([plain, soak, matrix], everything=True) == ([plain, soak, matrix], Counter())


def test_alone_a_process_begins_with_what_needs_no_server():
    browser, host, plain, slow = Item("d.py", "host", "browser"), Item("c.py", "host"), Item("b.py"), Item("a.py", "slow")
    assert collected([browser, host, plain, slow])[0] == [plain, slow, host, browser]


def test_several_processes_begin_with_what_takes_long_and_keep_the_order_within_a_file():
    browser, host, plain = Item("d.py", "host", "browser"), Item("c.py", "host"), Item("b.py")
    slow, beside, alone = Item("a.py", "slow"), Item("a.py"), Item("c.py")
    left, _ = collected([plain, browser, beside, slow, alone, host], workerinput={})
    assert left == [alone, host, beside, slow, plain, browser]


def test_processes_tell_what_they_left_out():
    gathered = SimpleNamespace(stash={conftest.LEFT_OUT: Counter(), conftest.HOST_TESTS: set()})
    for _ in range(2):
        told = SimpleNamespace(workeroutput={}, stash={conftest.LEFT_OUT: Counter(soak=2), conftest.HOST_TESTS: {"a"}})
        conftest.pytest_sessionfinish(SimpleNamespace(config=told))
        conftest.pytest_testnodedown(SimpleNamespace(config=gathered, workeroutput=told.workeroutput), None)
    assert gathered.stash == {conftest.LEFT_OUT: Counter(soak=2), conftest.HOST_TESTS: {"a"}}


def report(name: str, reason: str = "") -> SimpleNamespace:
    return SimpleNamespace(nodeid=name, longrepr=("file", 1, f"Skipped: {reason}"))


def problems(stats: dict, host: Iterable[str] = (), **options) -> list[str]:
    """What is said of a run of the whole suite with these reports and options."""
    manager = SimpleNamespace(get_plugin=lambda name: SimpleNamespace(stats=stats))
    given = {"all": True, **options}
    return conftest._problems(
        SimpleNamespace(
            pluginmanager=manager,
            stash={conftest.HOST_TESTS: set(host)},
            args_source=pytest.Config.ArgsSource.TESTPATHS,
            getoption=lambda name, default=None: given.get(name, default),
        )
    )


def test_under_ci_a_test_is_skipped_for_a_listed_reason_only(monkeypatch):
    reasons = (NEEDS_PHOTOGRAPHS, "set COMFYUI_PATH", "could not import 'spandrel'", "set COMFYUI_PATH")
    stats = {"skipped": [report(str(number), reason=reason) for number, reason in enumerate(reasons)]}
    monkeypatch.setenv("CI", "1")
    assert problems(stats, all=False) == ["skipped under CI: set COMFYUI_PATH", "skipped under CI: could not import 'spandrel'"]
    monkeypatch.delenv("CI")
    assert problems(stats, all=False) == []


def test_every_listed_reason_is_one_that_a_test_gives():
    sources = [path.read_text(encoding="utf-8") for path in (places.ROOT / "tests").rglob("test_*.py") if path != Path(__file__)]
    assert [reason for reason in conftest.MAY_BE_SKIPPED[1:] if not any(reason in source for source in sources)] == []


def test_fewer_tests_over_the_real_host_are_a_problem(monkeypatch):
    monkeypatch.setattr(conftest, "OVER_THE_HOST", 2)
    ran = {"passed": [report("a"), report("a"), report("b")]}
    assert problems(ran, "ac") == ["1 tests over the real host, there were 2"]
    assert problems({**ran, "skipped": [report("c", NEEDS_PHOTOGRAPHS)]}, "ac") == []
    for narrowed in ({"all": False}, {"keyword": "word"}, {"markexpr": "not slow"}, {"ignore": ["tests/host"]}):
        assert problems(ran, "ac", **narrowed) == []


@pytest.mark.slow
@pytest.mark.parametrize("processes", [pytest.param("1", marks=pytest.mark.matrix), "2"])
def test_a_run_under_ci_without_a_host_fails(processes):
    """Whether it is one process or several: both whole files that are skipped and single tests."""
    without = {name: value for name, value in os.environ.items() if name not in ("COMFYUI_PATH", "PYTHONPATH")}
    files = ["tests/test_picture_names.py", "tests/photos/test_choose.py"]
    words = ["-q", "-p", "no:cacheprovider", *(["-n", processes] if processes != "1" else []), *files]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=places.ROOT, env=without | {"CI": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stdout
    assert "FAILED skipped under CI: set COMFYUI_PATH" in done.stdout and " passed" in done.stdout
