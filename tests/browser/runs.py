"""Runs that were queued in the editor."""

from __future__ import annotations

import time

from launcher.client import Client

SECONDS = 900


def wait_for_run(client: Client, before: set[str]) -> dict:
    """The history of the first run that is not in `before`. Raises PromptFailed."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if new := [key for key in client.get("/history") if key not in before]:
            return client.wait(new[0])
        time.sleep(0.3)
    raise TimeoutError("nothing that was queued in the editor has ended")
