"""A real devpi-server, for tests that import its export. Skipped by name where it cannot be
installed.
"""

from __future__ import annotations

import json
import sqlite3
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from tests.live.clients import client
from tests.live.processes import Running, clean_environ, done, free_port, running
from tests.live.projects import Artifact

ROOT_PASSWORD: Final = "root-secret-of-devpi"
JSON_PAGE: Final = "application/vnd.pypi.simple.v1+json"
BOUNDARY: Final = "0123456789abcdef"


def environ() -> dict[str, str]:
    """The environment of devpi's programs: no other host is reached."""
    return clean_environ(all_proxy="http://127.0.0.1:9", no_proxy="127.0.0.1")


def make_server(folder: Path) -> Path:
    """A new server folder below `folder`, with the user root and the index root/pypi; its path."""
    server = folder / "server"
    init = client("devpi").with_name("devpi-init")
    done(
        [init, "--serverdir", server, "--root-passwd", ROOT_PASSWORD, "--role", "standalone"],
        cwd=folder,
        environ=environ(),
    )
    return server


def export(server: Path, target: Path) -> str:
    """Export a stopped server's data with ``devpi-export``; what it printed."""
    command = client("devpi").with_name("devpi-export")
    # a server that was ended during a write leaves a journal, which devpi-export cannot roll back
    with closing(sqlite3.connect(server / ".sqlite")) as database:
        database.execute("SELECT count(*) FROM sqlite_master").fetchall()
    return done([command, "--serverdir", server, target], cwd=server, environ=environ())


@define
class Devpi:
    """A devpi-server that runs."""

    port: int
    running: Running
    _logins: dict[str, str] = field(factory=dict, init=False, repr=False)

    def url(self, path: str = "/") -> str:
        """The URL of `path`."""
        return f"http://127.0.0.1:{self.port}{path}"

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        user: str | None = None,
        accept: str = "application/json",
        content_type: str = "application/json",
    ) -> bytes:
        """The body of a good answer. Raises `AssertionError` with that of another."""
        headers = {"Accept": accept, "Content-Type": content_type, "User-Agent": "test"}
        if user is not None:
            token = b64encode(f"{user}:{self._logins[user]}".encode()).decode()
            headers["X-Devpi-Auth"] = token
        request = urllib.request.Request(self.url(path), body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace")
            raise AssertionError(f"{method} {path} -> {error.code}: {text}") from None

    def put(self, path: str, document: Any, *, user: str | None = None) -> None:
        """Create what the document describes."""
        self.call("PUT", path, json.dumps(document).encode(), user=user)

    def login(self, user: str, password: str) -> None:
        """Log in; later calls with `user` use the session."""
        body = json.dumps({"user": user, "password": password}).encode()
        answer = json.loads(self.call("POST", "/+login", body))
        self._logins[user] = answer["result"]["password"]

    def make_user(self, user: str, password: str) -> None:
        """Create a user, and log in."""
        self.put(f"/{user}", {"password": password}, user="root")
        self.login(user, password)

    def make_index(self, user: str, index: str, **settings: Any) -> None:
        """Create an index of the user."""
        self.put(f"/{user}/{index}", settings, user=user)

    def submit(
        self, index: str, user: str, fields: Mapping[str, str], filename: str, data: bytes
    ) -> None:
        """Send the upload form of a file or of a documentation archive to ``USER/INDEX``."""
        parts = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head = (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; '
            f'filename="{filename}"\r\n\r\n'
        )
        body = (parts + head).encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
        kind = f"multipart/form-data; boundary={BOUNDARY}"
        self.call("POST", f"/{index}/", body, user=user, content_type=kind)

    def publish(self, index: str, user: str, name: str, version: str, artifact: Artifact) -> None:
        """Upload a distribution to ``USER/INDEX``."""
        fields = {":action": "file_upload", "name": name, "version": version}
        self.submit(index, user, fields, artifact.filename, artifact.data)

    def names(self, index: str) -> set[str]:
        """The project names on the list of ``USER/INDEX``."""
        page = json.loads(self.call("GET", f"/{index}/+simple/", accept=JSON_PAGE))
        return {project["name"] for project in page["projects"]}

    def files(self, index: str, project: str) -> dict[str, str]:
        """The files on a project page of ``USER/INDEX``, with their SHA-256."""
        page = json.loads(self.call("GET", f"/{index}/+simple/{project}/", accept=JSON_PAGE))
        return {file["filename"]: file["hashes"]["sha256"] for file in page["files"]}


@contextmanager
def devpi(folder: Path, server: Path) -> Iterator[Devpi]:
    """The devpi-server of a server folder, with the session of root."""
    port = free_port()
    command = [client("devpi"), "--serverdir", server, "--host", "127.0.0.1", "--port", str(port)]
    with running(command, folder / "devpi.log", cwd=folder, environ=environ()) as process:
        found = Devpi(port, process)
        process.until_answers(found.url("/+api"), within=60)
        found.login("root", ROOT_PASSWORD)
        yield found
