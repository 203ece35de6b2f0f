#!/usr/bin/env python3
"""FaceChain Studio from the command line: `python run.py --help`. Needs nothing but Python."""

import sys

OLDEST, NEWEST = (3, 10), (3, 13)

if __name__ == "__main__":
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        found = ".".join(map(str, sys.version_info[:2]))
        sys.exit(f"This is Python {found}; FaceChain Studio needs 3.10 to 3.13. Start it with one of those: `python3.11 run.py ...`.")
    from launcher.cli import main

    sys.exit(main(sys.argv[1:]))
