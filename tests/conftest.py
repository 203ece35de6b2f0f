"""What every test can ask for: the host's modules, the shared fixtures, a torch that behaves."""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from launcher import hosts, lifetime, places
from launcher.build import OPTIONAL_PACKAGES
from launcher.client import Client
from launcher.server import Server
from launcher.testing import NEEDS_PHOTOGRAPHS, in_ci, shared_folder

from .host import small_model_node

pytest_plugins = ["tests.parity.counting"]

OPTIONAL = ("matrix", "soak")
LEFT_OUT = pytest.StashKey[Counter]()
HOST_TESTS = pytest.StashKey[set[str]]()
"""The tests marked `host`. A report's keywords hold the names of folders as well, and one is called host."""
TOLD = "facechain_suite"
OVER_THE_HOST = 240
"""Tests marked `host` in the whole suite, at least. Raise it with new ones; a lower number means that less is tested."""
MAY_BE_SKIPPED = (
    NEEDS_PHOTOGRAPHS,
    "peak memory is read from Linux's /proc",
    "Windows ends processes without asking them",
    "Python 3.10 cannot leave the current folder out of what it imports from",
    "this copy of the repository is no git checkout",
)
"""What no setup can provide. Under CI every other reason to skip a test is a failure."""
# Options with which a run is not one of the whole suite.
NARROWED = ("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "maxfail", "collectonly")
HOST = os.environ.get("COMFYUI_PATH")
if HOST and HOST not in sys.path:
    sys.path.insert(0, HOST)
if HOST:
    import comfy.cli_args

    # before any test folder's conftest imports the host: a machine without a GPU needs its --cpu
    comfy.cli_args.args.cpu = True


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The folder of photographs that is not part of the repository."""
    folder = shared_folder() / "photos"
    if not folder.is_dir():
        pytest.skip(NEEDS_PHOTOGRAPHS)
    return folder


@pytest.fixture(scope="session")
def host_path() -> Path:
    """The folder of ComfyUI. Without one the tests that need it are skipped, which is a failure under CI."""
    if not HOST:
        (pytest.fail if in_ci() else pytest.skip)("COMFYUI_PATH names no host; `python run.py test` sets one up")
    return Path(HOST)


@pytest.fixture(scope="session")
def server(host_path: Path) -> Iterator[Server]:
    """The real host with the pack, on a base directory of its own (`server.base`) that goes away with it."""
    with places.temporary_base({}) as base:
        host = hosts.Host(host_path, Path(sys.executable), is_users=False)
        small_model_node.install(base)
        with Server(host, base, base / "server.log", ["--cpu", "--disable-api-nodes"], packages=OPTIONAL_PACKAGES) as running:
            yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    """Talks to the host. What a test left running is stopped before the next one."""
    assert server.is_running(), server.tail()
    yield server.client
    server.client.stop_all()


@pytest.fixture(scope="session")
def checkpoint(server: Server) -> str:
    """The name, for loader nodes, of a stand-in SD 1.5 checkpoint in the host's checkpoints folder."""
    from facechain_impl.weights.stand_ins import checkpoint as stand_in_checkpoint

    return stand_in_checkpoint.write_checkpoint(server.base / "models" / "checkpoints" / stand_in_checkpoint.FILE_NAME).name


@pytest.fixture(scope="session")
def stand_in(server: Server) -> Callable[[str], Path]:
    """`stand_in(name)` puts the stand-in of a published file where the host's pack finds it. Asking twice makes it once."""
    from facechain_impl.weights.stand_ins import networks as stand_ins

    made = {}

    def make(name: str) -> Path:
        if name not in made:
            made[name] = stand_ins.write_stand_in(name, server.base / "models" / "facechain_stand_ins")
        return made[name]

    return make


def pytest_addoption(parser):
    parser.addoption("--all", action="store_true", help="run the tests marked matrix and soak as well")


def pytest_configure(config):
    config.stash[LEFT_OUT], config.stash[HOST_TESTS] = Counter(), set()
    signals = ExitStack()
    signals.enter_context(lifetime.unwinding())
    config.add_cleanup(signals.close)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Alone, a process runs what needs no server first. Several take whole files, whose tests build on one another: those that need
    a server first, then those with slow tests. The browser comes last: its driver keeps an event loop running until the end."""
    parallel = hasattr(config, "workerinput")
    config.stash[HOST_TESTS] = {item.nodeid for item in items if item.get_closest_marker("host")}
    if not config.getoption("all"):
        _leave_out(config, items)
    if parallel:
        browser, host, slow = ({item.path for item in items if item.get_closest_marker(name)} for name in ("browser", "host", "slow"))
        items.sort(key=lambda item: (item.path in browser, item.path not in host, item.path not in slow))
    else:
        items.sort(key=lambda item: [item.get_closest_marker(name) is not None for name in ("browser", "host")])


def _leave_out(config, items: list[pytest.Item]) -> None:
    left = {item: name for item in items for name in OPTIONAL if item.get_closest_marker(name)}
    config.stash[LEFT_OUT].update(left.values())
    items[:] = [item for item in items if item not in left]
    if left:
        config.hook.pytest_deselected(items=list(left))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """A test draws the same random numbers whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    """A process of a parallel run tells the one that started it what it left out and what is what; that one judges the run."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput[TOLD] = {
            "left out": dict(session.config.stash[LEFT_OUT]), "host": sorted(session.config.stash[HOST_TESTS])
        }  # fmt: skip
    elif session.exitstatus == pytest.ExitCode.OK and _problems(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _problems(config) -> list[str]:
    """What is wrong with a run although no test failed."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    stats = reporter.stats if reporter else {}
    refused = [reason for reason in _skips(stats) if not reason.startswith(MAY_BE_SKIPPED)] if in_ci() else []
    found = [f"skipped under CI: {reason}" for reason in refused]
    if _is_whole(config) and (count := len(_over_the_host(config, stats))) < OVER_THE_HOST:
        found.append(f"{count} tests over the real host, there were {OVER_THE_HOST}")
    return found


def _skips(stats: dict) -> Counter:
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in stats.get("skipped", []))


def _over_the_host(config, stats: dict) -> set[str]:
    reports = [report for outcome in ("passed", "failed", "error", "skipped") for report in stats.get(outcome, [])]
    return config.stash[HOST_TESTS] & {report.nodeid for report in reports}


def _is_whole(config) -> bool:
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return whole and config.getoption("all") and not any(config.getoption(name, None) for name in NARROWED)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    if told := getattr(node, "workeroutput", {}).get(TOLD):
        node.config.stash[LEFT_OUT] |= Counter(told["left out"])
        node.config.stash[HOST_TESTS] |= set(told["host"])


def pytest_terminal_summary(terminalreporter, config):
    """How many tests ran, and what did not: every skip is counted and named, so that none goes unseen."""
    stats, left_out = terminalreporter.stats, config.stash[LEFT_OUT]
    reasons = _skips(stats)
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")
    for name, count in left_out.items():
        terminalreporter.write_line(f"{count} left out: marked {name}; `python run.py test --all` runs them")
    ran = sum(len(stats.get(outcome, [])) for outcome in ("passed", "failed", "error", "xfailed", "xpassed"))
    terminalreporter.write_line(f"{ran} tests ran, {reasons.total()} were skipped, {left_out.total()} left out")
    terminalreporter.write_line(f"{len(_over_the_host(config, stats))} of them over the real host")
    for problem in _problems(config):
        terminalreporter.write_line(f"FAILED {problem}", red=True)


@pytest.fixture(autouse=True)
def _inference():
    """The host runs every node under inference mode."""
    with torch.inference_mode():
        yield
