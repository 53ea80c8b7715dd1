"""The access log: one line for each answer, as text or JSON, through twisted.logger.

What may be secret is not there: no query, no Authorization, no user name or password of a URL, no
Referer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from json import dumps
from typing import Any

from attrs import asdict, field, frozen
from twisted.logger import Logger
from twisted.web.http import OK, Request

from pypid.core.permissions import Identity
from pypid.web.http.request_ids import Ids, blocks

LONGEST = 200
"""Characters of a field that the client makes."""
PROBES = frozenset({"/health", "/ready"})
"""What load balancers ask every other second."""

_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_TO_ESCAPE = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0x100))} | {
    0x22: '\\"',
    0x5C: "\\\\",
}


@frozen(kw_only=True)
class AccessLogEntry:
    """One answer. `size` is in bytes of the body as sent; `milliseconds` is None where nobody noted
    the beginning.

    `id` is the request's (`pypid.web.http.request_ids`). Text and JSON say the same.
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
        """As the combined log format has it and never a Referer; at the end the milliseconds, and
        the id.
        """
        took = "-" if self.milliseconds is None else f"{self.milliseconds:.1f}"
        said = _said_text(self.method, self.path, self.protocol, self.status, self.size)
        begin = f"{self.client or '-'} - {_user_text(self.user)} [{self.time}]"
        return f'{begin} {said} "{escaped(self.agent) or "-"}" {took} {self.id or "-"}'

    def fields(self) -> dict[str, object]:
        """For logs in JSON, where each line has its time already."""
        return {name: value for name, value in asdict(self).items() if name != "time"}

    def json(self) -> str:
        """As one line of ASCII."""
        return dumps(asdict(self), separators=(",", ":"))


@frozen(eq=False)
class LogClient:
    """What many lines have in common that one client causes. The user name and the agent as
    `AccessLogEntry` has them.
    """

    user: str | None
    agent: str
    _before: str = field(init=False, repr=False)
    """What stands between the client and the time."""
    _behind: str = field(init=False, repr=False)
    """What stands behind what was said."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "_before", f" - {_user_text(self.user)} [")
        object.__setattr__(self, "_behind", f' "{escaped(self.agent) or "-"}" 0.0')


@frozen(eq=False)
class SharedLogFields:
    """What the lines of one answer that is given many times have in common, as `AccessLogEntry` has
    it.
    """

    method: str
    path: str
    protocol: str
    status: int
    size: int
    kind: tuple[str, str, str] = ("", "", "")
    """As what it is counted (`web.http.response_counts.kind_of`)."""
    _text: str = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(
            self,
            "_text",
            f"] {_said_text(self.method, self.path, self.protocol, self.status, self.size)}",
        )


@frozen(eq=False, slots=False)
class Many:
    """Answers that were given at once and so took no time worth telling: when, to which client, who
    asked, what was said.

    Their ids are what begins with `prefix`, counted on from `first`.
    """

    answers: Sequence[tuple[str, str | None, LogClient, SharedLogFields]]
    prefix: str = ""
    first: int = 1

    def texts(self) -> list[str]:
        """Their lines, as `AccessLogEntry.text`: of what is printable, since all that is not was
        escaped or is an address.
        """
        return self.lines("")

    def lines(self, begin: str, end: str = "") -> list[str]:
        """The same, each behind this beginning and with this end."""
        # in one go: this is done for each answer that the front door gives
        written: list[str] = []
        for block, lasts in blocks(self.prefix, self.first, len(self.answers)):
            answers = self.answers[len(written) : len(written) + len(lasts)]
            written += [
                (
                    f"{begin}{client or '-'}{asker._before}{time}{said._text}{asker._behind} "
                    f"{block}{last}{end}"
                )
                for (time, client, asker, said), last in zip(answers, lasts, strict=True)
            ]
        return written

    def entries(self) -> Iterator[AccessLogEntry]:
        """As `AccessLog` makes them of requests."""
        for number, (time, client, asker, said) in enumerate(self.answers, self.first):
            yield entry_of(time, client, asker, said, said.size, 0.0, f"{self.prefix}{number:06x}")

    def __str__(self) -> str:
        return "\n".join(self.texts())


class AccessLog:
    """Writes an entry for each request that is finished: give it to a `Site` as its `log`.

    The event's text is the line; its field ``access`` is the `AccessLogEntry`, for observers that
    write events as they like.
    """

    _log = Logger(namespace="access")

    def __init__(
        self,
        now: Callable[[], datetime],
        seconds: Callable[[], float],
        *,
        json: bool = False,
        ids: Ids | None = None,
    ) -> None:
        self.ids = Ids() if ids is None else ids
        """Where the ids of answers come from that no `Request` was made for."""
        self._now = now
        self._seconds = seconds
        self._json = json
        self._second: datetime | None = None
        self._time = ""
        """As the last line had it."""

    def __call__(self, request: Request) -> None:
        self.write(self.entry(request))

    def write(self, entry: AccessLogEntry) -> None:
        """Write this entry; one that only tells a monitor that all is well at the level debug."""
        write = self._log.debug if entry.status == OK and entry.path in PROBES else self._log.info
        write("{line}", line=entry.json() if self._json else entry.text(), access=entry)

    def many(self, answers: Sequence[tuple[str, str | None, LogClient, SharedLogFields]]) -> None:
        """Write an entry for each of these answers; the event's field ``answers`` is `Many`."""
        many = Many(answers, self.ids.prefix, self.ids.take(len(answers)))
        if self._json:
            for entry in many.entries():
                self._log.info("{line}", line=entry.json(), access=entry)
        else:
            self._log.info("{answers}", answers=many)

    def time(self) -> str:
        """The time of day, as `AccessLogEntry.time` has it."""
        moment = self._now()
        if (second := moment.replace(microsecond=0)) != self._second:
            self._second, self._time = second, self._written(moment)
        return self._time

    def _written(self, moment: datetime) -> str:
        return (
            moment.isoformat(timespec="seconds")
            if self._json
            else moment.strftime("%d/%b/%Y:%H:%M:%S %z")
        )

    def entry(self, request: Request) -> AccessLogEntry:
        """What is logged of the request, whose answer is complete (or broken off)."""
        identity = getattr(request, "identity", None)  # set by the guard
        begun = getattr(
            request, "begun_at", None
        )  # set by whoever makes the request, on the same clock
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
    asker: LogClient,
    said: SharedLogFields,
    size: int,
    milliseconds: float,
    id: str | None = None,
) -> AccessLogEntry:
    """An answer that was given to one of many in this time, or `size` bytes of it."""
    return AccessLogEntry(
        time=time,
        client=client,
        user=asker.user,
        method=said.method,
        path=said.path,
        protocol=said.protocol,
        status=said.status,
        size=size,
        milliseconds=milliseconds,
        agent=asker.agent,
        id=id,
    )


def _user_text(user: str | None) -> str:
    return "-" if user is None else escaped(user).replace(" ", "\\x20")


def _said_text(method: str, path: str, protocol: str, status: int, size: int) -> str:
    return f'"{escaped(method)} {escaped(path)} {escaped(protocol)}" {status} {size or "-"} "-"'


def path_of(target: bytes) -> str:
    """The path of a request's target, without what may be secret: its query, and the user name and
    password of a whole URL.
    """
    path = (
        _AUTHORITY.sub("", target.decode("latin-1"), count=1)
        if b"://" in target
        else target.decode("latin-1")
    )
    return path.partition("?")[0].partition("#")[0][:LONGEST] or "/"


def escaped(text: str) -> str:
    r"""`text` in printable ASCII, without quotes: ``\x0a`` for a line's end, so that nobody forges
    lines.
    """
    return text.translate(_TO_ESCAPE).encode("ascii", "backslashreplace").decode("ascii")


def _shortened(value: bytes) -> str:
    return value[:LONGEST].decode("latin-1")


def _client(request: Request) -> str | None:
    heeds_proxies: Any = getattr(request, "client_address", None)
    host = heeds_proxies() if heeds_proxies is not None else getattr(request.client, "host", None)
    return host if isinstance(host, str) else None
