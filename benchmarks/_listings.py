"""Project pages as the public index sends them, and a server of such pages.

``python benchmarks/_listings.py PORT`` answers ``/simple/NAME-COUNT-NUMBER/`` with a page of COUNT
files in JSON. It keeps a page of each count, and replaces the name in it, so that an answer takes
little of the processor.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import _rig as rig

PROJECT = re.compile(r"/simple/(?P<name>[a-z]+-(?P<count>\d+)-\d+)/")
TAGS = (
    "cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp312-cp312-manylinux_2_17_x86_64.manylinux2014_x86_64",
    "cp312-cp312-macosx_11_0_arm64",
    "cp313-cp313-win_amd64",
)


def entries(project: str, count: int) -> list[dict[str, Any]]:
    """The project's files as the public index lists them: four wheels and an sdist a version."""
    made: list[dict[str, Any]] = []
    stem = project.replace("-", "_")
    for number in range(count):
        version = f"{number // 500}.{number // 5 % 100}.0"
        wheel = number % 5
        filename = (
            f"{stem}-{version}-{TAGS[wheel]}.whl" if wheel < 4 else f"{stem}-{version}.tar.gz"
        )
        digest = sha256(filename.encode()).hexdigest()
        day = f"{number // 900 % 12 + 1:02}-{number // 30 % 28 + 1:02}"
        metadata = sha256(digest.encode()).hexdigest()
        path = sha256(metadata.encode()).hexdigest()
        folder = f"{path[:2]}/{path[2:4]}/{path[4:]}"
        entry: dict[str, Any] = {
            "core-metadata": {"sha256": metadata} if wheel < 4 else False,
            "data-dist-info-metadata": {"sha256": metadata} if wheel < 4 else False,
            "filename": filename,
            "hashes": {"sha256": digest},
            "provenance": None,
            "requires-python": ">=3.11",
            "size": 1_234_567 + number,
            "upload-time": f"2025-{day}T12:34:56.{number:06}Z",
            "url": f"https://files.example/packages/{folder}/{filename}",
            "yanked": False,
        }
        made.append(entry)
    return made


def json_page(project: str, count: int) -> bytearray:
    """The project's page as the public index sends it."""
    page: dict[str, Any] = {
        "alternate-locations": [],
        "files": entries(project, count),
        "meta": {"_last-serial": 1, "api-version": "1.4"},
        "name": project,
    }
    return bytearray(json.dumps(page).encode())


def html_page(project: str, count: int) -> bytearray:
    """The same in HTML: without sizes and times."""
    links = (
        (
            f'    <a href="{entry["url"]}#sha256={entry["hashes"]["sha256"]}" '
            f'data-requires-python="&gt;=3.11"'
        )
        + (
            f' data-core-metadata="sha256={entry["core-metadata"]["sha256"]}"'
            if entry["core-metadata"]
            else ""
        )
        + f">{entry['filename']}</a><br />\n"
        for entry in entries(project, count)
    )
    head = (
        '<!DOCTYPE html>\n<html>\n  <head><meta name="pypi:repository-version" '
        'content="1.3"></head><body>\n'
    )
    return bytearray(f"{head}{''.join(links)}</body>\n</html>\n".encode())


class ListingServer:
    """The server in a process of its own, on the client's core."""

    def __init__(self, folder: Path) -> None:
        self.port = rig.free_port()
        self.index = f"http://127.0.0.1:{self.port}/simple/"
        self._log = folder / "listings.log"

    @contextmanager
    def running(self) -> Iterator[ListingServer]:
        """Started until it listens, stopped at the end."""
        command = [sys.executable, __file__, str(self.port)]
        with self._log.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            rig.wait_for(self.port, self._log)
            yield self
        finally:
            process.terminate()
            process.wait(10)


@cache
def _template(count: int) -> bytes:
    return bytes(json_page("placeholder-name", count))


def page_of(name: str, count: int) -> bytes:
    """The page of a project, made from that of another one with as many files."""
    page = _template(count).replace(b"placeholder-name", name.encode())
    return page.replace(b"placeholder_name", name.replace("-", "_").encode())


class _Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        found = PROJECT.fullmatch(self.path)
        page = b"" if found is None else page_of(found["name"], int(found["count"]))
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("ETag", f'"{len(page)}"')
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    _Server(("127.0.0.1", int(sys.argv[1])), _Pages).serve_forever()
