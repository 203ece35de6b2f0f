"""The rules of this very suite: what the usual run leaves out, and in which order tests run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from .. import conftest

ROOT = Path("/checkout")


class Item:
    def __init__(self, path: str, *markers: str):
        self.path, self.markers = ROOT / path, markers

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
    gathered = SimpleNamespace(stash={conftest.LEFT_OUT: Counter()})
    for _ in range(2):
        told = SimpleNamespace(workeroutput={}, stash={conftest.LEFT_OUT: Counter(soak=2)})
        conftest.pytest_sessionfinish(SimpleNamespace(config=told))
        conftest.pytest_testnodedown(SimpleNamespace(config=gathered, workeroutput=told.workeroutput), None)
    assert gathered.stash[conftest.LEFT_OUT] == Counter(soak=2)
