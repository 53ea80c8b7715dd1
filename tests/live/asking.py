"""Asking a pypid that runs, over a connection of its own for each request; and its commands."""

import http.client
import json
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.live.daemon import PASSWORDS
from tests.live.processes import BIN, clean_environ, done


@frozen
class Answered:
    """What came, whatever it is; nothing was followed."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


def ask(
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    document: Any = None,
) -> Answered:
    """One request. Raises `OSError`, `HTTPException`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        body = None if document is None else json.dumps(document).encode()
        connection.request(
            method, path, body, {"Content-Type": "application/json", **(headers or {})}
        )
        answer = connection.getresponse()
        return Answered(answer.status, answer.read(), answer.headers)
    finally:
        connection.close()


def basic(user: str, password: str | None = None) -> dict[str, str]:
    """The header; without a password that of `PASSWORDS`."""
    pair = f"{user}:{PASSWORDS[user] if password is None else password}"
    return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}


def bearer(token: str) -> dict[str, str]:
    """The header."""
    return {"Authorization": f"Bearer {token}"}


def command(config: Path, *words: str) -> str:
    """What `pypid` printed."""
    return done([BIN / "pypid", *words, "-c", config], environ=clean_environ())
