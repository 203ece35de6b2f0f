"""`python run.py trainings list | delete [RUN...] [--yes]`: the saved states of stopped trainings."""

from __future__ import annotations

import argparse
import sys
import time

from ...errors import BadInput, FaceChainError
from .state import StateStore, Unfinished, trainings_folder, unfinished


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except FaceChainError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="run.py trainings", description="Trainings that were stopped. The same training goes on from them."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("list", help="list them, the newest first").set_defaults(run=_list)
    delete = commands.add_parser("delete", help="delete what they left; they would start over")
    delete.add_argument("runs", nargs="*", metavar="RUN", help="as `list` shows them, or their beginning; without any, all")
    delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    delete.set_defaults(run=_delete)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _line(one: Unfinished) -> str:
    return f"{one.run[:8]}  {one.text()}, {time.strftime('%Y-%m-%d %H:%M', time.localtime(one.saved))}"


def _list(arguments: argparse.Namespace) -> int:
    found = unfinished()
    for one in found:
        _say(_line(one))
    _say(f"All in {trainings_folder()}." if found else "No training is unfinished.")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    chosen = _chosen(arguments.runs)
    if not chosen:
        _say("No training is unfinished.")
        return 0
    if not arguments.yes:
        for one in chosen:
            _say(_line(one))
        _say("These would start over. Delete what they left? Type yes:")
        if sys.stdin.readline().strip().casefold() != "yes":
            _say("Nothing was deleted.")
            return 1
    for one in chosen:
        StateStore(one.run).discard()
    _say(f"{len(chosen)} deleted.")
    return 0


def _chosen(runs: list[str]) -> list[Unfinished]:
    found = unfinished()
    for run in runs:
        if sum(one.run.startswith(run) for one in found) != 1:
            raise BadInput(f"{run!r} is not the beginning of one unfinished training. `python run.py trainings list` shows them.")
    return [one for one in found if not runs or any(one.run.startswith(run) for run in runs)]
