"""The client of a running pypid for the command line, through the control socket in the state
folder.

Plain blocking sockets: such a command needs no reactor, and importing Twisted's HTTP client took
four times as long as the whole command does now. A caller that has a reactor uses it in a thread
(see `wiring.single_command`).
"""

from __future__ import annotations

import getpass
import os
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from errno import EACCES, EPERM
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from socket import AF_UNIX, SHUT_RDWR, socket
from typing import Any, BinaryIO

import msgspec
from attrs import define, field, frozen

from pypid.core.errors import PypidError
from pypid.daemon.state import owner_of

AWAKE_WITHIN = 10.0
"""Seconds within which a healthy daemon answers the simplest request."""
ANSWER_WITHIN = 24 * 3600.0
"""Seconds; a rebuild of a large storage takes long, and the operator can press Ctrl-C."""


@define(slots=False, repr=False)
class ControlRefused(PypidError, template="{message}"):
    """A refusal by the daemon, or no answer; `message` says what to do. `status` is the HTTP status
    of a refusal, 0 without an answer.
    """

    message: str
    status: int = 0


LINES = "application/x-ndjson"
PAUSE = 1.0
"""Seconds between two requests of a series."""

_PIECE = 1 << 20

Tell = Callable[[Mapping[str, Any]], None]
"""A callback that receives events until the answer comes."""


@frozen
class FileForm:
    """A form with a file, sent as multipart/form-data. `size` is the number of bytes that `file`
    has.
    """

    fields: Mapping[str, str]
    filename: str
    file: BinaryIO = field(eq=False, repr=False)
    size: int
    _boundary: str = field(factory=lambda: os.urandom(16).hex(), eq=False, init=False, repr=False)
    """Random: no value can contain it."""

    @property
    def content_type(self) -> str:
        """The media type of the body."""
        return f"multipart/form-data; boundary={self._boundary}"

    @property
    def length(self) -> int:
        """The number of bytes of the body."""
        return len(self._head) + self.size + len(self._end)

    @property
    def _head(self) -> bytes:
        texts = [f'name="{name}"\r\n\r\n{value}\r\n' for name, value in self.fields.items()]
        texts.append(f'name="content"; filename="{self.filename}"\r\n\r\n')
        start = f"--{self._boundary}\r\nContent-Disposition: form-data; "
        return "".join(start + text for text in texts).encode()

    @property
    def _end(self) -> bytes:
        return f"\r\n--{self._boundary}--\r\n".encode()

    def body(self) -> Iterator[bytes]:
        """Yield the body. Raises `OSError` if the file has become shorter."""
        yield self._head
        rest = self.size
        while rest:
            piece = self.file.read(min(_PIECE, rest))
            if not piece:
                raise OSError(f"{self.filename} became shorter while it was read")
            rest -= len(piece)
            yield piece
        yield self._end


@frozen
class ControlRequest:
    """One request to the JSON API, with a `document` or a `form`. With `tell` the answer comes in
    lines: `tell` gets them, and the last is the answer.

    `then` makes the next request out of the answer, sent `pause` seconds later; None ends the
    series. `of_running`: the request is about a process, so none is started for it.
    `takes_refusal`: a refusal (`ControlRefused` with a status) is the answer instead of an error.
    """

    method: str
    url: str
    document: Mapping[str, Any] | None = None
    tell: Tell | None = field(default=None, eq=False, repr=False)
    then: Callable[[Any], ControlRequest | None] | None = field(default=None, eq=False, repr=False)
    of_running: bool = False
    form: FileForm | None = None
    pause: float = PAUSE
    takes_refusal: bool = False


@define
class _Lines:
    """An answer that comes line by line: JSON objects whose ``event`` names their kind."""

    tell: Tell
    last: bytes = b""
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Process received bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            document = msgspec.json.decode(line)
            if document.pop("event") in ("result", "error"):
                self.last = msgspec.json.encode(document)
            else:
                self.tell(document)


class _Connection(HTTPConnection):
    """HTTP over the socket at `path`."""

    def __init__(self, path: Path, within: float) -> None:
        super().__init__("localhost", timeout=within)
        self.path = path

    def connect(self) -> None:
        """Connect to the Unix socket. Raises `OSError`."""
        self.sock = socket(AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fsencode(self.path))


@define(eq=False)
class Control:
    """The client for the JSON API of the daemon that listens on `path`. All of it blocks; call
    `leave` from another thread.
    """

    path: Path
    awake_within: float = AWAKE_WITHIN
    _connection: _Connection | None = field(default=None, init=False)
    _left: bool = field(default=False, init=False)

    def answer(self, question: ControlRequest) -> Any:
        """Return the decoded answer. Raises `ControlRefused` with the daemon's text, or for a
        daemon that does not answer.
        """
        try:
            self._send(ControlRequest("GET", "/health"), self.awake_within)
        except (OSError, HTTPException):
            raise ControlRefused(
                f"The running pypid (its control socket is {self.path}) does not answer within "
                f"{self.awake_within:g} s. Look into its log; if it hangs, start it again. Nothing "
                "was done."
            ) from None
        return self._answer(question)

    def _answer(self, question: ControlRequest) -> Any:
        try:
            code, body = self._send(question, ANSWER_WITHIN)
        except (OSError, HTTPException):
            raise _ended() from None
        if code >= 400:
            refusal = ControlRefused(_message(body), code)
            if question.takes_refusal:
                return refusal
            raise refusal
        if question.tell is not None:
            return _last(body)
        return msgspec.json.decode(body) if body else None

    def answers(self, question: ControlRequest) -> Any:
        """Return the last answer of a series of requests. Raises as `answer`."""
        answer = self.answer(question)
        while question.then is not None:
            following = question.then(answer)
            if following is None:
                break
            time.sleep(following.pause)
            question = following
            answer = self._answer(question) if question.pause == 0 else self.answer(question)
        return answer

    def leave(self) -> None:
        """Abort: a caller that waits for an answer gets the error that pypid ended."""
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
        body: bytes | Iterator[bytes] | None = None
        if question.form is not None:
            headers["Content-Type"] = question.form.content_type
            headers["Content-Length"] = str(question.form.length)
            body = question.form.body()
        elif question.document is not None:
            body = msgspec.json.encode(question.document)
        with closing(_Connection(self.path, within)) as connection:
            self._connection = connection
            connection.connect()
            if self._left:
                raise ConnectionAbortedError
            with suppress(
                BrokenPipeError, ConnectionResetError
            ):  # the daemon answered before it had read all
                connection.request(question.method, question.url, body, headers)
            return _read(connection.getresponse(), question.tell)


def _read(response: HTTPResponse, tell: Tell | None) -> tuple[int, bytes]:
    """Return the status and the body; for a body that comes in lines, the last line."""
    if tell is None or response.status != 200:
        return response.status, response.read()
    lines = _Lines(tell)
    while data := response.read1(65_536):
        lines.feed(data)
    return response.status, lines.last


def listens(path: Path, within: float = AWAKE_WITHIN) -> bool:
    """Return whether a daemon listens on `path`; blocks briefly. Raises `ControlRefused` if access
    is denied, or the daemon hangs.
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
    """Return the name of the system account that runs this process, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return f"uid-{os.getuid()}"


def _last(line: bytes) -> Any:
    """Return the answer from the last of several lines."""
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
