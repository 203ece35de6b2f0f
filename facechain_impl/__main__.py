"""The pack's own command line: `python -m facechain_impl BASE models|persons|trainings|stand-ins|pocket ...`, with the host on PYTHONPATH.

BASE is the host's base directory. `run.py` starts this in the host's environment; only here are the pack and the host imported."""

from __future__ import annotations

import sys
from pathlib import Path

from .host import standalone


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    base, command, *arguments = argv
    standalone.use(Path(base))
    # They import the host, which looks at its folders then.
    from .identity import cli as persons
    from .identity.training import cli as trainings
    from .weights import cli as models
    from .weights import pocket
    from .weights.stand_ins import cli as stand_ins

    commands = {"models": models, "persons": persons, "trainings": trainings, "stand-ins": stand_ins, "pocket": pocket}
    return commands[command].main(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
