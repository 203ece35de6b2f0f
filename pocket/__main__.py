"""`python -m pocket FOLDER PICTURES --out FILE`: make the pocket model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import comfy.cli_args

from facechain_impl.host import standalone


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="pocket", description="Make the pocket model. It can be stopped at any time and goes on later.")
    parser.add_argument("folder", type=Path, help="keeps the way so far")
    parser.add_argument("pictures", type=Path, help="the paintings that pocket/pictures.tsv lists")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    options = parser.parse_args(argv)
    standalone.use(options.folder)
    comfy.cli_args.args.use_pytorch_cross_attention = True
    from . import making, pictures

    try:
        making.make(options.folder, options.pictures, options.out)
    except pictures.WrongPictures as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
