"""A small index that stands some way off: each answer begins after a delay, and each request is
written down.

``python benchmarks/_upstream.py FOLDER PORT SECONDS`` serves the wheels in the folder; `Upstream`
runs it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import _rig as rig


class Upstream:
    """It, in a process of its own. `folder` has the wheels; `delay` is in seconds."""

    def __init__(self, folder: Path, log: Path, delay: float) -> None:
        self.port = rig.free_port()
        self.index = f"http://127.0.0.1:{self.port}/simple/"
        self._log = log
        self._command = [sys.executable, __file__, str(folder), str(self.port), str(delay)]

    @contextmanager
    def running(self) -> Iterator[Upstream]:
        """Started until it listens, stopped at the end."""
        with self._log.open("w") as log:
            process = subprocess.Popen(self._command, stdout=log)
        try:
            rig.wait_for(self.port, self._log)
            yield self
        finally:
            process.terminate()
            process.wait(10)

    def asked(self, path: str) -> int:
        """How often pypid has asked for the path."""
        return self._log.read_text().splitlines().count(f"pypid {path}")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def _serve(folder: Path, port: int, delay: float) -> None:
    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            print(self.headers.get("User-Agent", "").partition("/")[0], self.path, flush=True)
            time.sleep(delay)
            _, kind, name, *_ = self.path.split("/")
            if kind == "simple":
                self._page(
                    [
                        path
                        for path in sorted(folder.glob("*.whl"))
                        if path.name.startswith(f"{name}-")
                    ]
                )
            else:
                self._file(folder / name)

        def _page(self, wheels: list[Path]) -> None:
            links = [
                f'<a href="/files/{path.name}#sha256={_digest(path)}">{path.name}</a>'
                for path in wheels
            ]
            page = f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
            self._head("text/html", len(page))
            self.wfile.write(page)

        def _file(self, path: Path) -> None:
            with path.open("rb") as file:
                self._head("application/octet-stream", path.stat().st_size)
                self.connection.sendfile(file)

        def _head(self, content_type: str, length: int) -> None:
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    _Server(("127.0.0.1", port), Answers).serve_forever()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
