"""Parity with upstream's numbers: `pytest tests/parity [--fixtures DIR] [--photos DIR]`.

DIR is laid out like ../shared/parity, which is the default where it is there; without it the committed arrays are used. Each
test module names the files it covers, `FIXTURES = ("flcm",)`, and asks for `case`, or for `parity` and opens them by name.

A plugin of the whole suite, which tests/conftest.py names: the process that starts several others never reads the conftest here.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from launcher.testing import shared_folder

from .harness import HERE, Book

BOOK = pytest.StashKey[Book]()
TOLD = "facechain_parity"


def pytest_addoption(parser):
    parser.addoption("--photos", metavar="DIR", help="parity: the photographs that the fixtures name (default: ../shared/photos)")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """pytest has a --fixtures of its own, which lists fixtures; followed by a folder of parity fixtures it means that folder."""
    folder = fixture_folder(config)
    if folder is not None:
        config.option.showfixtures = False
        config.args.remove(folder)


def pytest_configure(config):
    given, default = fixture_folder(config), shared_folder() / "parity"
    folder = Path(given) if given else default if default.is_dir() else HERE / "data"
    photos = config.getoption("photos", default=None)
    config.stash[BOOK] = Book(folder, Path(photos) if photos else shared_folder() / "photos", committed=folder.resolve() == HERE / "data")


def fixture_folder(config) -> str | None:
    """The folder after --fixtures, or None where the word has pytest's meaning. Raises UsageError when it is no folder."""
    words = [str(word) for word in config.invocation_params.args]
    if "--fixtures" not in words[:-1]:
        return None
    folder = words[words.index("--fixtures") + 1]
    if folder.startswith("-") or "::" in folder or any(Path(folder).rglob("test_*.py")):
        return None
    if not Path(folder).is_dir() or not Book(Path(folder), Path(), committed=False).files:
        raise pytest.UsageError(f"--fixtures {folder} holds no fixtures: expected a folder laid out like ../shared/parity.")
    return folder


def pytest_collection_finish(session):
    book = session.config.stash[BOOK]
    book.expected = Counter(item.path for item in session.items if item.path.parent == HERE)
    book.partial |= {Path(word.split("::")[0]).resolve() for word in session.config.args if "::" in word}


def pytest_deselected(items):
    for item in items:
        item.config.stash[BOOK].partial.add(item.path)


def pytest_runtest_teardown(item):
    finished = item.config.stash[BOOK].finished
    finished[item.path] = finished.get(item.path, 0) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    """A process of a parallel run has ended."""
    if told := getattr(node, "workeroutput", {}).get(TOLD):
        node.config.stash[BOOK].add(told)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[TOLD] = session.config.stash[BOOK].told()
    elif exitstatus == pytest.ExitCode.OK and not session.config.option.collectonly and session.config.stash[BOOK].problems():
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    book = config.stash[BOOK]
    problems = book.problems()
    if book.cases or problems:
        terminalreporter.section(f"parity with {book.folder}")
    for line in book.lines():
        terminalreporter.write_line(line)
    for problem in problems:
        terminalreporter.write_line(f"FAILED {problem}", red=True)
