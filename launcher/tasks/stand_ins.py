"""Make stand-ins in a folder: stand_ins.py FOLDER [--checkpoint] NAME..."""

import argparse
import os
from pathlib import Path

import comfy.cli_args

comfy.cli_args.args.cpu = True

from facechain_impl.weights import catalogue  # noqa: E402
from facechain_impl.weights.files import stand_in_name  # noqa: E402
from facechain_impl.weights.stand_ins import checkpoint as stand_in_checkpoint  # noqa: E402
from facechain_impl.weights.stand_ins import networks as stand_ins  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--checkpoint", action="store_true")
    arguments = parser.parse_args()
    making = arguments.folder / "making"
    for name in arguments.names:
        os.replace(stand_ins.write_stand_in(name, making), arguments.folder / stand_in_name(catalogue.get(name)))
    if arguments.checkpoint:
        name = stand_in_checkpoint.FILE_NAME
        os.replace(stand_in_checkpoint.write_checkpoint(making / name), arguments.folder / name)


if __name__ == "__main__":
    main()
