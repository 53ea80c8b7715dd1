"""The access log: one line for each response, as text or JSON, through twisted.logger.

Possible secrets are left out: no query, no Authorization, no user name or password of a URL, no
Referer.
"""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from attrs import Factory, asdict, field, frozen
from twisted.logger import Logger
from twisted.web.http import OK, Request

from pypid.core.permissions import Identity

# Request ids: in the access log, in the lines that are logged for a request, and in its response.

HEADER = b"X-Request-ID"
PLAIN = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""Syntax of the request ids that a trusted proxy may set: nothing that a log or a shell could take
for more than a name.
"""
CHANCE = 8
"""Random bytes in an id."""

_LAST = tuple(f"{number:03x}" for number in range(1 << 12))
"""Formatted values of the last 12 bits of a number: a lookup takes a tenth of the time that
formatting takes.
"""

OF_REQUEST: ContextVar[str | None] = ContextVar("pypid.request", default=None)
"""The id of the request that is being processed; None outside requests."""


class Ids:
    """Ids of requests, unique within a log.

    An id that is sent to a client is random: numbers would show each client how many requests
    others sent meanwhile. Requests that are answered from memory do not return theirs, and get a
    prefix drawn for this process, and a number. Without `random` all ids are such numbers.
    """

    def __init__(self, prefix: str = "", random: Callable[[int], bytes] | None = None) -> None:
        self.prefix = prefix
        self._random = random
        self._count = 0

    @classmethod
    def drawn(cls, random: Callable[[int], bytes]) -> Ids:
        """Return the ids of a new process, with a random prefix."""
        return cls(_drawn(random)[:6], random)

    def next(self) -> str:
        """Return an id for a request whose response carries it."""
        if self._random is not None:
            return _drawn(self._random)
        self._count += 1
        return f"{self.prefix}{self._count:06x}"

    def take(self, count: int) -> int:
        """Reserve `count` numbers for a caller that writes many lines at once; return the first."""
        first = self._count + 1
        self._count += count
        return first


def _drawn(random: Callable[[int], bytes]) -> str:
    """Return 12 random characters, which hold 60 bits."""
    return b32encode(random(CHANCE)).decode("ascii")[:12].lower()


def blocks(prefix: str, first: int, count: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield so many ids as `Ids` writes them: in blocks of a common beginning and the endings of
    successive ids.
    """
    stop = first + count
    while first < stop:
        low = first & 0xFFF
        following = _LAST[low : low + stop - first]
        yield f"{prefix}{first >> 12:03x}", following
        first += len(following)


def forwarded_id(values: list[str]) -> str | None:
    """Return the id that a proxy sends in its header, if there is exactly one and it is plain."""
    return values[0] if len(values) == 1 and PLAIN.fullmatch(values[0]) is not None else None


LONGEST = 200
"""Maximum length in characters of a field that the client sends."""
PROBES = frozenset({"/health", "/ready"})
"""Paths that load balancers request every other second."""

_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_PYTHON = re.compile(
    r'"implementation": ?\{"name": ?"(?P<name>[^"]*)", ?"version": ?"(?P<version>[^"]*)"'
)
_TO_ESCAPE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))} | {
    0x22: '\\"',
    0x5C: "\\\\",
}


@frozen(kw_only=True)
class AccessLogEntry:
    """One response. `size` is in bytes of the body as sent; `milliseconds` is None if the start of
    the request was not recorded.

    `id` is the request's (`pypid.web.http.access_log`). Text and JSON contain the same, but for
    the details of an installer's `agent`.
    """

    time: str
    client: str | None
    user: str | None
    method: str
    path: str
    protocol: str
    status: int
    size: int
    milliseconds: float | None
    agent: str
    id: str | None = None

    def text(self) -> str:
        """Return the line in the combined log format, never with a Referer, followed by the
        milliseconds and the id.
        """
        took = "-" if self.milliseconds is None else f"{self.milliseconds:.1f}"
        response = _response_text(self.method, self.path, self.protocol, self.status, self.size)
        begin = f"{self.client or '-'} - {_user_text(self.user)} [{self.time}]"
        return f'{begin} {response} "{_agent_text(self.agent)}" {took} {self.id or "-"}'

    def fields(self) -> dict[str, object]:
        """Return the fields for logs in JSON, where each line already has its time."""
        return {name: value for name, value in asdict(self).items() if name != "time"}


@frozen(eq=False)
class LogClient:
    """The fields shared by the log lines of one client: user name and agent, as in
    `AccessLogEntry`.
    """

    user: str | None
    agent: str
    _before: str = field(
        default=Factory(lambda self: f" - {_user_text(self.user)} [", takes_self=True),
        init=False,
        repr=False,
    )
    """The text between the client and the time."""
    _behind: str = field(
        default=Factory(lambda self: f' "{_agent_text(self.agent)}" 0.0', takes_self=True),
        init=False,
        repr=False,
    )
    """The text after the shared fields of the response."""


@frozen(eq=False)
class SharedLogFields:
    """The fields shared by the log lines of one response that is sent many times, as in
    `AccessLogEntry`.
    """

    method: str
    path: str
    protocol: str
    status: int
    size: int
    kind: tuple[str, str, str] = ("", "", "")
    """How the response is counted (`web.http.site.kind_of`)."""
    _text: str = field(
        default=Factory(
            lambda self: (
                "] " + _response_text(self.method, self.path, self.protocol, self.status, self.size)
            ),
            takes_self=True,
        ),
        init=False,
        repr=False,
    )


@frozen(eq=False, slots=False)
class Many:
    """Responses that were sent in negligible time: each with its time, client address, `LogClient`
    and `SharedLogFields`.

    Their ids are `prefix` followed by a number, counted from `first`.
    """

    answers: Sequence[tuple[str, str | None, LogClient, SharedLogFields]]
    prefix: str = ""
    first: int = 1

    def texts(self) -> list[str]:
        """Return their lines, as `AccessLogEntry.text` formats them. All are printable: other
        characters were escaped, or are not in addresses.
        """
        return self.lines("")

    def lines(self, begin: str, end: str = "") -> list[str]:
        """Return their lines, each with `begin` before it and `end` after it."""
        # in one go: this is done for each response of the fast path
        written: list[str] = []
        for block, lasts in blocks(self.prefix, self.first, len(self.answers)):
            answers = self.answers[len(written) : len(written) + len(lasts)]
            written += [
                (
                    f"{begin}{address or '-'}{client._before}{time}{response._text}"
                    f"{client._behind} {block}{last}{end}"
                )
                for (time, address, client, response), last in zip(answers, lasts, strict=True)
            ]
        return written

    def entries(self) -> Iterator[AccessLogEntry]:
        """Return an entry for each response, as `AccessLog` makes them of requests."""
        for number, (time, client, log_client, response) in enumerate(self.answers, self.first):
            yield entry_of(
                time, client, log_client, response, response.size, 0.0, f"{self.prefix}{number:06x}"
            )

    def __str__(self) -> str:
        return "\n".join(self.texts())


class AccessLog:
    """Writes an entry for each finished request: pass it to a `Site` as its `log`.

    The event's text is the line; its field ``access`` is the `AccessLogEntry`, for observers with
    their own format.
    """

    _log = Logger(namespace="access")

    def __init__(
        self,
        now: Callable[[], datetime],
        seconds: Callable[[], float],
        *,
        ids: Ids | None = None,
    ) -> None:
        self.ids = Ids() if ids is None else ids
        """The source of the ids of responses without a `Request`."""
        self._now = now
        self._seconds = seconds
        self._second: datetime | None = None
        self._time = ""
        """The formatted time of the last line."""

    def __call__(self, request: Request) -> None:
        self.write(self.entry(request))

    def write(self, entry: AccessLogEntry) -> None:
        """Write this entry; a successful health check is written at level debug."""
        write = self._log.debug if entry.status == OK and entry.path in PROBES else self._log.info
        write("{line}", line=entry.text(), access=entry)

    def many(self, answers: Sequence[tuple[str, str | None, LogClient, SharedLogFields]]) -> None:
        """Write an entry for each of these responses; the event's field ``answers`` is `Many`."""
        many = Many(answers, self.ids.prefix, self.ids.take(len(answers)))
        self._log.info("{answers}", answers=many)

    def time(self) -> str:
        """Return the current time, formatted as in `AccessLogEntry.time`."""
        moment = self._now()
        if (second := moment.replace(microsecond=0)) != self._second:
            self._second, self._time = second, moment.strftime("%d/%b/%Y:%H:%M:%S %z")
        return self._time

    def entry(self, request: Request) -> AccessLogEntry:
        """Return the log entry of the request, whose response is complete (or was broken off)."""
        identity = getattr(request, "identity", None)  # set by the guard
        begun = getattr(
            request, "begun_at", None
        )  # set by the channel that makes the request, on the same clock
        return AccessLogEntry(
            time=self.time(),
            client=_client(request),
            user=identity.user if isinstance(identity, Identity) else None,
            method=_shortened(request.method),
            path=path_of(request.uri),
            protocol=_shortened(request.clientproto),
            status=request.code,
            size=request.sentLength,
            milliseconds=None if begun is None else round((self._seconds() - begun) * 1000, 1),
            agent=_shortened(request.requestHeaders.getRawHeaders(b"user-agent", [b""])[0]),
            id=getattr(request, "id", None),
        )


def entry_of(
    time: str,
    client: str | None,
    log_client: LogClient,
    response: SharedLogFields,
    size: int,
    milliseconds: float,
    id: str | None = None,
) -> AccessLogEntry:
    """Return the entry of a response that is sent to many clients; here it took this time, and
    `size` bytes were sent.
    """
    return AccessLogEntry(
        time=time,
        client=client,
        user=log_client.user,
        method=response.method,
        path=response.path,
        protocol=response.protocol,
        status=response.status,
        size=size,
        milliseconds=milliseconds,
        agent=log_client.agent,
        id=id,
    )


def _user_text(user: str | None) -> str:
    return "-" if user is None else escaped(user).replace(" ", "\\x20")


def _agent_text(agent: str) -> str:
    """Return the user agent for the text log. pip and uv append JSON of 200 characters, of which
    the Python remains: ``pip/24.0 cpython/3.11.2``.
    """
    program, is_detailed, details = agent.partition(" {")
    if is_detailed and (python := _PYTHON.search(details)) is not None:
        program = f"{program} {python['name'].lower()}/{python['version']}"
    return escaped(program) or "-"


def _response_text(method: str, path: str, protocol: str, status: int, size: int) -> str:
    return f'"{escaped(method)} {escaped(path)} {escaped(protocol)}" {status} {size or "-"} "-"'


def path_of(target: bytes) -> str:
    """Return the path of a request target, without possible secrets: its query, and the user name
    and password of an absolute URL.
    """
    path = (
        _AUTHORITY.sub("", target.decode("latin-1"), count=1)
        if b"://" in target
        else target.decode("latin-1")
    )
    return path.partition("?")[0].partition("#")[0][:LONGEST] or "/"


def escaped(text: str) -> str:
    r"""Return `text` in printable ASCII, without quotes: ``\x0a`` for a line's end, so that clients
    cannot forge lines.
    """
    return text.translate(_TO_ESCAPE).encode("ascii", "backslashreplace").decode("ascii")


def _shortened(value: bytes) -> str:
    return value[:LONGEST].decode("latin-1")


def _client(request: Request) -> str | None:
    heeds_proxies: Any = getattr(request, "client_address", None)
    host = heeds_proxies() if heeds_proxies is not None else getattr(request.client, "host", None)
    return host if isinstance(host, str) else None
