"""Runs a script as `python SCRIPT ARGUMENTS` does, and ends with the process that started it, however that ends.

That process holds the other end of standard input, which the system closes even for a process that is killed."""

from __future__ import annotations

import os
import runpy
import sys
import threading


def end_with(owner: int) -> None:
    """Waits for the end of the pipe `owner`. What the pack stores is written so that it may stop at any moment."""
    os.read(owner, 1)
    os._exit(1)


if __name__ == "__main__":
    owner = os.dup(0)
    # The script, and what it starts, find nothing to read.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    threading.Thread(target=end_with, args=(owner,), daemon=True).start()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
