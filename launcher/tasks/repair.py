"""Forget packages that an interrupted pip left incomplete, so that the next pip installs them again."""

import importlib.metadata
import shutil
import sys
from pathlib import Path


def is_whole(distribution: importlib.metadata.Distribution) -> bool:
    """Whether every file that the package lists exists with its size; pip writes the list last."""
    files = distribution.files
    if not files or distribution.read_text("INSTALLER") is None:
        return False
    for file in files:
        path = Path(str(distribution.locate_file(file)))
        if path.suffix == ".pyc":
            continue
        if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
            return False
    return True


def main() -> None:
    packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
    for leftover in packages.glob("~*"):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for info in packages.glob("*.dist-info"):
        if not is_whole(importlib.metadata.Distribution.at(info)):
            print(f"incomplete: {info.name}")
            shutil.rmtree(info)


if __name__ == "__main__":
    main()
