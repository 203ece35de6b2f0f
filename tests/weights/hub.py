"""A folder that plays the hub: OWNER/NAME/FILE below it are served as ModelScope serves repositories."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Hub:
    """requests: (revision, file) of every download. cut: how many bytes of a body are sent before the line breaks, once."""

    def __init__(self, folder: Path):
        self.reset(folder)

    def reset(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.cut: int | None = None
        self.broken = False

    def listing(self, repo: str) -> list[dict]:
        root = self.folder / repo
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        return [
            {"Path": str(path.relative_to(root)), "Name": path.name, "Type": "blob", "Size": path.stat().st_size,
             "Sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "Revision": "master"}
            for path in paths
        ]  # fmt: skip


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            url = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            parts = url.path.strip("/").split("/")  # api v1 models OWNER NAME repo [files]
            repo = "/".join(parts[3:5])
            if hub.broken or parts[:3] != ["api", "v1", "models"] or not (hub.folder / repo).is_dir():
                return self.answer(404, {"Code": 404, "Success": False, "Message": "no such model"})
            if parts[5:] == ["repo", "files"]:
                return self.answer(200, {"Code": 200, "Success": True, "Data": {"Files": hub.listing(repo)}})
            if parts[5:] == ["repo"] and "FilePath" in query:
                hub.requests.append((query.get("Revision", ""), query["FilePath"]))
                return self.send_file(hub.folder / repo / query["FilePath"])
            return self.answer(200, {"Code": 200, "Success": True, "Data": {"Id": 1, "Path": parts[3], "Name": parts[4]}})

        def answer(self, status: int, content: dict) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def send_file(self, path: Path) -> None:
            data = path.read_bytes()
            start = 0
            if wanted := self.headers.get("Range"):
                hub.ranges.append(wanted)
                start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            stop, hub.cut = hub.cut, None
            self.wfile.write(data[start:stop])
            self.close_connection = stop is not None

        def log_message(self, *args):
            pass

    return Handler


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Hub, str]]:
    """The hub and its address."""
    hub = Hub(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
