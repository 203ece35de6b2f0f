"""`python run.py persons list | rename NAME NEW | delete NAME [--yes]`."""

from __future__ import annotations

import argparse
import sys

from ..errors import FaceChainError
from . import listing, persons


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except FaceChainError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py persons", description="The people whose LoRA is stored on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("list", help="list all persons").set_defaults(run=_list)
    rename = commands.add_parser("rename", help="rename a person")
    rename.add_argument("name")
    rename.add_argument("new_name")
    rename.set_defaults(run=_rename)
    delete = commands.add_parser("delete", help="delete a person, including LoRA, photo and embedding")
    delete.add_argument("name")
    delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    delete.set_defaults(run=_delete)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _list(arguments: argparse.Namespace) -> int:
    found = listing.summaries()
    for one in found:
        _say(f"{one['name']}  {one['trigger'] or '-'}  {one['base_model']}  {one['bytes'] / 2**20:.1f} MB")
    if not found:
        _say("No person is stored.")
    return 0


def _rename(arguments: argparse.Namespace) -> int:
    persons.rename(arguments.name, arguments.new_name)
    _say(f"{arguments.name} is now called {arguments.new_name}.")
    return 0


def _delete(arguments: argparse.Namespace) -> int:
    persons.card(arguments.name)
    if not arguments.yes:
        _say(f"This deletes everything about {arguments.name} in {persons.folder_of(arguments.name)}. Type the name to confirm:")
        if sys.stdin.readline().strip() != arguments.name:
            _say("Nothing was deleted.")
            return 1
    persons.delete(arguments.name)
    _say(f"{arguments.name} is deleted.")
    return 0
