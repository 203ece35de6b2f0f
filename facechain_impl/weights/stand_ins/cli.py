"""`python -m facechain_impl BASE stand-ins FOLDER [NAME...]`: stand-ins for the demo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ... import atomic
from ...errors import FaceChainError
from .. import catalogue, files
from . import networks


def main(argv: list[str]) -> int:
    """Run the command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return _make(arguments)
    except FaceChainError as error:
        sys.stderr.write(f"{error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="facechain_impl stand-ins", description="Random numbers in published formats.")
    parser.add_argument("folder", type=Path, help="target folder; every file appears complete")
    parser.add_argument("names", nargs="*", metavar="NAME", help="published files, as `run.py models list` shows them")
    return parser


def _make(arguments: argparse.Namespace) -> int:
    making = arguments.folder / "making"
    for name in arguments.names:
        target = arguments.folder / files.stand_in_name(catalogue.get(name))
        atomic.move(networks.write_stand_in(name, making), target)
    return 0
