"""`run.py test`: set up, lint, check the types, then the suite."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from . import browser, console, environment, places, type_check
from .console import Failure, say

# One thread per test process: the tests and the servers that they start share the machine.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
# Whole paths: the servers run in another folder, and the host has a module called nodes as well.
COVERED = [f"--cov={places.ROOT / part}" for part in ("facechain_impl", "nodes", "launcher")]
NEEDS_PHOTOGRAPHS = "needs photographs, which are not part of the repository"
COVERAGE = [*COVERED, "--cov-report=term:skip-covered"]


# Two processes, whole files each, those that need a server first. A later -n of the user's counts instead.
PARALLEL = ["-n", str(min(2, os.cpu_count() or 1)), "--dist", "loadfile", "--no-loadscope-reorder"]


def run(pytest_arguments: list[str], *, install: bool, everything: bool = False, coverage: bool = False) -> int:
    """Returns 0 only when lint and types are clean and every test passed. everything: matrices and soak tests as well. coverage: which
    lines were run, which costs a fifth of the time."""
    host = environment.ready(for_tests=True, install=install)
    env = environment.task_env(host, **THREADS, **_browser(), **_clients(install or not host.is_users))
    python = str(host.python)
    lint = [_call([python, "-m", "ruff", *words], env) for words in (["check", "."], ["format", "--check", "."])]
    lint.append(_call(type_check.command(host.python), env))
    chosen = ["--all"] * everything + COVERAGE * coverage
    status = _call([python, "-m", "pytest", *PARALLEL, *chosen, *pytest_arguments], env)
    if any(lint):
        say("ruff or mypy reported problems: see above the tests.")
    return status or max(lint)


def shared_folder() -> Path:
    """The folder with photographs and whole parity fixtures, outside the repository. It need not exist."""
    return Path(os.environ.get("FACECHAIN_SHARED", places.ROOT.parent / "shared"))


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _browser() -> dict[str, str]:
    return _or_skipped("of the editor", browser.ready)


def _clients(install: bool) -> dict[str, str]:
    return _or_skipped("with other clients of ComfyUI", lambda: {"FACECHAIN_CLIENTS": str(environment.clients_ready(install))})


def _or_skipped(tests: str, ready: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The variables that `ready` gives to tests. Where it fails those are skipped and counted; under CI that is a failure."""
    try:
        return ready()
    except Failure as failure:
        if in_ci():
            raise
        say(f"The tests {tests} are skipped. {failure.why}. {failure.remedy}")
        return {}


def _call(command: list[str], env: dict[str, str]) -> int:
    return console.follow(command, env, places.ROOT)
