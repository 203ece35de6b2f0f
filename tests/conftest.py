"""What every test can ask for: the host's modules, the shared fixtures, a torch that behaves."""

from __future__ import annotations

import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from launcher import hosts, places
from launcher.client import Client
from launcher.server import Server
from launcher.testing import NEEDS_PHOTOGRAPHS, in_ci, shared_folder

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
    with tempfile.TemporaryDirectory(prefix="facechain-tests-") as folder:
        base = Path(folder)
        places.add_pack(base)
        host = hosts.Host(host_path, Path(sys.executable), is_users=False)
        with Server(host, base, base / "server.log", ["--cpu", "--disable-api-nodes"]) as running:
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


def pytest_collection_modifyitems(items):
    """What needs no server comes first, the browser last: its driver keeps an event loop running until the end."""
    items.sort(key=lambda item: (item.get_closest_marker("browser") is not None, item.get_closest_marker("host") is not None))


def pytest_terminal_summary(terminalreporter):
    """Every skip is counted and named, so that none goes unseen."""
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"{count} skipped: {reason}")


@pytest.fixture(autouse=True)
def _inference():
    """The host runs every node under inference mode."""
    with torch.inference_mode():
        yield
