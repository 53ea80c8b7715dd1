"""Talking to a running pypid from the command line: through the socket in its state folder.

Plain blocking sockets: a command that asks a daemon needs no reactor, and to import Twisted's HTTP
client took four times as long as the whole command does now. Whoever has a reactor asks in a thread
(see `alone`).
"""

from __future__ import annotations

import getpass
import os
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from errno import EACCES, EPERM
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, socket
from typing import Any

import msgspec
from attrs import define, field, frozen

from pypid.core.errors import PypidError
from pypid.daemon.state import owner_of

AWAKE_WITHIN = 10.0
"""Seconds in which a daemon that is well answers the simplest question."""
ANSWER_WITHIN = 24 * 3600.0
"""Seconds; a rebuild of a large storage takes long, and the operator can press Ctrl-C."""


class ControlRefused(PypidError):
    """The daemon said no, or nothing; `message` tells what to do."""

    def __init__(self, message: str) -> None:
        self.message = message

    def text(self) -> str:
        return self.message


LINES = "application/x-ndjson"
PAUSE = 1.0
"""Seconds between two questions of a row."""

Tell = Callable[[Mapping[str, Any]], None]
"""Hears what happens until the answer is there."""


@frozen
class ControlRequest:
    """One request to the JSON API. With `tell` the answer comes in lines: `tell` hears them, and
    the last is the answer.

    `then` makes the next question out of the answer, which is asked `PAUSE` seconds later; None:
    that was all. `of_running`: it is about a process, so none is started for it.
    """

    method: str
    url: str
    document: Mapping[str, Any] | None = None
    tell: Tell | None = field(default=None, eq=False, repr=False)
    then: Callable[[Any], ControlRequest | None] | None = field(default=None, eq=False, repr=False)
    of_running: bool = False


@define
class _Lines:
    """An answer that comes line by line: JSON objects whose ``event`` says what they are."""

    tell: Tell
    last: bytes = b""
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            said = msgspec.json.decode(line)
            if said.pop("event") in ("result", "error"):
                self.last = msgspec.json.encode(said)
            else:
                self.tell(said)


class _Connection(HTTPConnection):
    """HTTP over the socket at `path`."""

    def __init__(self, path: Path, within: float) -> None:
        super().__init__("localhost", timeout=within)
        self.path = path

    def connect(self) -> None:
        """As of `HTTPConnection`; raises `OSError`."""
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fsencode(self.path))


@define(eq=False)
class Control:
    """The JSON API of the daemon that listens on `path`. All of it blocks; `leave` is for another
    thread.
    """

    path: Path
    awake_within: float = AWAKE_WITHIN
    _connection: _Connection | None = field(default=None, init=False)
    _left: bool = field(default=False, init=False)

    def answer(self, question: ControlRequest) -> Any:
        """The answer, decoded. Raises `ControlRefused` with the daemon's text, or for a daemon that
        does not answer.
        """
        try:
            self._send(ControlRequest("GET", "/health"), self.awake_within)
        except (OSError, HTTPException):
            raise ControlRefused(
                f"The running pypid (its control socket is {self.path}) does not answer within "
                f"{self.awake_within:g} s. "
                "Look into its log; if it hangs, start it again. Nothing was done."
            ) from None
        try:
            code, body = self._send(question, ANSWER_WITHIN)
        except (OSError, HTTPException):
            raise _ended() from None
        if code >= 400:
            raise ControlRefused(_message(body))
        if question.tell is not None:
            return _last(body)
        return msgspec.json.decode(body) if body else None

    def answers(self, question: ControlRequest) -> Any:
        """The last answer of a row of questions. Raises as `answer`."""
        while True:
            answer = self.answer(question)
            following = None if question.then is None else question.then(answer)
            if following is None:
                return answer
            time.sleep(PAUSE)
            question = following

    def leave(self) -> None:
        """Have nothing more answered: who waits for an answer is told that pypid ended."""
        self._left = True
        sock = None if self._connection is None else self._connection.sock
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(SHUT_RDWR)

    def _send(self, question: ControlRequest, within: float) -> tuple[int, bytes]:
        streamed = question.tell is not None
        headers = {
            "Accept": LINES if streamed else "application/json",
            "Authorization": "Basic " + b64encode(f"operator/{account()}:-".encode()).decode(),
            "Content-Type": "application/json",
        }
        body = None if question.document is None else msgspec.json.encode(question.document)
        with closing(_Connection(self.path, within)) as connection:
            self._connection = connection
            connection.connect()
            if self._left:
                raise ConnectionAbortedError
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it has answered before it had all
                connection.request(question.method, question.url, body, headers)
            return _read(connection.getresponse(), question.tell)


def _read(response: HTTPResponse, tell: Tell | None) -> tuple[int, bytes]:
    """The status, and the body; of one that comes in lines the last."""
    if tell is None or response.status != 200:
        return response.status, response.read()
    lines = _Lines(tell)
    while data := response.read1(65_536):
        lines.feed(data)
    return response.status, lines.last


def listens(path: Path, within: float = AWAKE_WITHIN) -> bool:
    """Whether a daemon listens there; blocks for a moment. Raises `ControlRefused` where we may not
    know, or it is overwhelmed.
    """
    with socket(AF_UNIX) as probe:
        probe.settimeout(within)
        try:
            probe.connect(os.fsencode(path))
        except TimeoutError:
            raise ControlRefused(
                f"The running pypid ({path}) does not take connections: it hangs. Start it again."
            ) from None
        except OSError as error:
            if error.errno not in (EACCES, EPERM):
                return False
            owner = owner_of(path) or owner_of(path.parent)
            whose = (
                "the user that runs pypid"
                if owner is None
                else f"the user that runs pypid, {owner},"
            )
            again = "that user" if owner is None else owner
            raise ControlRefused(
                f"Only {whose} and root may manage it through {path}: run this command as {again}."
            ) from None
        return True


def account() -> str:
    """The name of the account that runs this: what is written down for what it does."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return f"uid-{os.getuid()}"


def _last(line: bytes) -> Any:
    """The answer that came as the last of several lines."""
    if not line:
        raise _ended()
    answer = msgspec.json.decode(line)
    if answer.get("error"):
        raise ControlRefused(_message(line))
    return answer


def _ended() -> ControlRefused:
    advice = "Whether anything was done is not known: look at the project, and try again."
    return ControlRefused(f"pypid ended before it answered. {advice}")


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return body.decode(errors="replace").strip()
