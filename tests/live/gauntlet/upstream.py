"""An upstream index in a thread, which has one wheel of every project that it is asked for below
``up-``.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.live.projects import Artifact, wheel

PREFIX = "up-"


def upstream_wheel(project: str) -> Artifact:
    """Return the file that the upstream index has of the project."""
    return wheel(project, "1.0")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    heard: list[str]

    def do_GET(self) -> None:
        self.heard.append(self.path)
        _, folder, project, *_ = [*self.path.split("/"), "", ""]
        if not project.startswith(PREFIX):
            return self._answer(404, "text/plain", b"not found")
        artifact = upstream_wheel(project)
        if folder == "files":
            return self._answer(200, "application/octet-stream", artifact.data)
        digest = sha256(artifact.data).hexdigest()
        file = {
            "filename": artifact.filename,
            "url": f"/files/{project}/{artifact.filename}",
            "hashes": {"sha256": digest},
        }
        page = {
            "meta": {"api-version": "1.1"},
            "name": project,
            "files": [{**file, "size": len(artifact.data)}],
            "versions": ["1.0"],
        }
        return self._answer(200, "application/vnd.pypi.simple.v1+json", json.dumps(page).encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        return None


@contextmanager
def serving(heard: list[str] | None = None) -> Iterator[str]:
    """Serve on a free port of 127.0.0.1; the URL of the index. `heard` gets the path of each
    request.
    """
    handler = type("Handler", (_Handler,), {"heard": [] if heard is None else heard})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    finally:
        server.shutdown()
        server.server_close()
