"""The type check of `run.py test`: mypy, configured in pyproject.toml. Alone: `python -m launcher.type_check` in its environment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from . import places
from .stamps import write_atomic

UPWARDS = re.compile(r"^(\s*from )\.\.(?=facechain_impl\b)", re.MULTILINE)


def command(python: Path) -> list[str]:
    """mypy over the packages that pyproject.toml names. Its cache is in the environment's home."""
    folder = places.home() / "type-check"
    shadows = [str(word) for node, copy in _copies(folder / "nodes").items() for word in ("--shadow-file", node, copy)]
    return [str(python), "-m", "mypy", "--cache-dir", str(folder / "cache"), *shadows]


def _copies(folder: Path) -> dict[Path, Path]:
    """Each file of nodes/ -> a copy that imports the implementation by its absolute name.

    The host loads the pack under a name of its choice, so the nodes import upwards, from a package of unknown name."""
    copies = {}
    for node in sorted((places.ROOT / "nodes").glob("*.py")):
        copies[node.relative_to(places.ROOT)] = copy = folder / node.name
        text = UPWARDS.sub(r"\1", node.read_text(encoding="utf-8"))
        if not copy.is_file() or copy.read_text(encoding="utf-8") != text:
            write_atomic(copy, text)
    return copies


if __name__ == "__main__":
    sys.exit(subprocess.run(command(Path(sys.executable)), cwd=places.ROOT).returncode)
