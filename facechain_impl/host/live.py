"""Messages between the user and a running node, beside the progress bar: a line of text, and `Finish now`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from comfy_execution.utils import get_executing_context
from server import PromptServer

_finish_requested: dict[str, bool] = {}


def node_id() -> str | None:
    """Id of the node that is running, None outside of a prompt."""
    context = get_executing_context()
    return context.node_id if context else None


def say(text: str) -> None:
    """Show a line of text on the running node."""
    current = node_id()
    if current is not None:
        PromptServer.instance.send_progress_text(text, current)


@contextmanager
def finishable() -> Iterator[None]:
    """While this lasts, the running node can be asked to finish early."""
    current = node_id()
    if current is None:
        yield
        return
    _finish_requested[current] = False
    try:
        yield
    finally:
        del _finish_requested[current]


def request_finish(node: str) -> bool:
    """Ask a node to finish early. False when it is not running or cannot."""
    if node not in _finish_requested:
        return False
    _finish_requested[node] = True
    return True


def finish_requested() -> bool:
    return _finish_requested.get(node_id() or "", False)
