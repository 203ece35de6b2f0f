"""A ComfyUI server over HTTP: queue a prompt, wait for it, fetch its results. Standard library only."""

from __future__ import annotations

import json
import mimetypes
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.1


class HttpError(RuntimeError):
    """The server answered with an error. `status` is the HTTP status, `body` its JSON or text."""

    def __init__(self, path: str, status: int, body: object):
        super().__init__(f"{path}: HTTP {status}: {json.dumps(body)[:2000]}")
        self.status, self.body = status, body


class PromptFailed(RuntimeError):
    """A queued prompt ended in an error. `node_type`, `node_id`, `exception` and its type name place and error; `entry` is its history."""

    def __init__(self, entry: dict):
        self.entry = entry
        messages = dict(reversed(entry["status"]["messages"]))
        error = messages.get("execution_error", {})
        self.interrupted = "execution_interrupted" in messages
        self.node_id, self.node_type = error.get("node_id"), error.get("node_type")
        self.exception, self.exception_type = error.get("exception_message", "").strip(), error.get("exception_type", "")
        what = "interrupted" if self.interrupted else self.exception
        super().__init__(f"{self.node_type} (node {self.node_id}): {what}" if self.node_type else what or "the prompt failed")


class Client:
    """Talks to the server at `url`."""

    def __init__(self, url: str):
        self.url, self.client_id = url.rstrip("/"), uuid.uuid4().hex

    def request(self, path: str, data: bytes | None = None, content_type: str = "application/json", method: str | None = None) -> bytes:
        headers = {"Content-Type": content_type} if data is not None else {}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            body = error.read().decode(errors="replace")
            raise HttpError(path, error.code, _json_or_text(body)) from error

    def get(self, path: str) -> Any:
        return json.loads(self.request(path))

    def post(self, path: str, body: dict) -> Any:
        answer = self.request(path, json.dumps(body).encode())
        return json.loads(answer) if answer else None

    def is_up(self) -> bool:
        try:
            self.get("/system_stats")
        except (OSError, HttpError, ValueError):
            return False
        return True

    def object_info(self, node: str = "") -> dict:
        return self.get(f"/object_info/{urllib.parse.quote(node)}" if node else "/object_info")

    def queue(self, graph: dict, workflow: dict | None = None) -> str:
        """Queue a graph in API format. `workflow`, its editor form, is written into the pictures that are saved.

        Raises HttpError with the server's `node_errors` when the graph is refused."""
        extra = {"extra_data": {"extra_pnginfo": {"workflow": workflow}}} if workflow else {}
        return self.post("/prompt", {"prompt": graph, "client_id": self.client_id, **extra})["prompt_id"]

    def history(self, prompt_id: str) -> dict | None:
        return self.get(f"/history/{prompt_id}").get(prompt_id)

    def wait(self, prompt_id: str, timeout: float = 600, each: Callable[[], None] | None = None) -> dict:
        """The history of a prompt once it has succeeded. `each` is called between polls. Raises PromptFailed or TimeoutError."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            entry = self.history(prompt_id)
            if entry and entry.get("status"):
                if entry["status"]["status_str"] != "success":
                    raise PromptFailed(entry)
                return entry
            if each:
                each()
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"the prompt did not finish within {timeout:.0f} s")

    def run(self, graph: dict, timeout: float = 600, each: Callable[[], None] | None = None, workflow: dict | None = None) -> dict:
        """Queue a graph and wait for it. Returns its history: `entry["outputs"][node id]` holds what each node showed."""
        return self.wait(self.queue(graph, workflow), timeout, each)

    def running(self) -> list[str]:
        """The ids of the running prompts."""
        return [item[1] for item in self.get("/queue")["queue_running"]]

    def interrupt(self) -> None:
        self.post("/interrupt", {})

    def stop_all(self, timeout: float = 300) -> None:
        """Empty the queue, interrupt the running prompts, and wait until they have ended."""
        self.post("/queue", {"clear": True})
        end = time.monotonic() + timeout
        while self.running():
            if time.monotonic() > end:
                raise TimeoutError(f"a prompt continued for {timeout:.0f} s after its interruption")
            self.interrupt()
            time.sleep(POLL_SECONDS)

    def upload(self, file: Path, name: str | None = None, subfolder: str = "") -> str:
        """Put a picture into the server's input folder, replacing one of that name. Returns the name for loader nodes."""
        boundary = uuid.uuid4().hex
        fields = {"overwrite": "true", "subfolder": subfolder}
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items()
        ]
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name or file.name}"\r\nContent-Type: {kind}\r\n\r\n'
        )
        body = b"".join([*parts, head.encode(), file.read_bytes(), f"\r\n--{boundary}--\r\n".encode()])
        answer = json.loads(self.request("/upload/image", body, f"multipart/form-data; boundary={boundary}"))
        return f"{answer['subfolder']}/{answer['name']}" if answer["subfolder"] else answer["name"]

    def view(self, output: dict) -> bytes:
        """The bytes of one file that a node saved: an item of `outputs[node]["images"]` and the like."""
        return self.request("/view?" + urllib.parse.urlencode({key: output[key] for key in ("filename", "subfolder", "type")}))


def _json_or_text(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body
