"""Messages between the user and a running node, beside the progress bar: a line of text, a picture, and `Finish now`."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from comfy_execution.utils import get_executing_context
from PIL import Image
from server import PromptServer

from ..geometry.pixels import to_bytes

PICTURE_EVENT = "facechain.picture"
"""Of the host's websocket: {"node_id", "picture"}, the picture as in `shown`."""
_QUALITY = 90
_finish_requested: dict[str, bool] = {}
_shown: dict[str, str] = {}


def node_id() -> str | None:
    """Id of the node that is running, None outside of a prompt."""
    context = get_executing_context()
    return context.node_id if context else None


def say(text: str) -> None:
    """Show a line of text on the running node."""
    current = node_id()
    if current is not None:
        PromptServer.instance.send_progress_text(text, current)


def show(picture: torch.Tensor) -> None:
    """Show a picture [H, W, 3] in 0..1 on the running node, in the place of the last one. Kept while the node is finishable, for pages
    that are opened meanwhile."""
    current = node_id()
    if current is None:
        return
    stream = io.BytesIO()
    Image.fromarray(to_bytes(picture)).save(stream, "JPEG", quality=_QUALITY)
    url = "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
    if current in _finish_requested:
        _shown[current] = url
    PromptServer.instance.send_sync(PICTURE_EVENT, {"node_id": current, "picture": url}, PromptServer.instance.client_id)


def shown(node: str) -> str | None:
    """The picture that is shown on a running node, as an address of a JPEG with its content; None where there is none."""
    return _shown.get(node)


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
        _shown.pop(current, None)


def request_finish(node: str) -> bool:
    """Ask a node to finish early. False when it is not running or cannot."""
    if node not in _finish_requested:
        return False
    _finish_requested[node] = True
    return True


def finish_requested() -> bool:
    return _finish_requested.get(node_id() or "", False)
