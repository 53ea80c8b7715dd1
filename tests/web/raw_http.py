"""A site at the end of a wire in memory: send it bytes, in pieces of any size, and see what it
does.

The wire keeps what is sent while the site has paused it, as a kernel does, and closes as sockets
close: for writing only (`half_closed`), or altogether (`closed`).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress, IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from pypid.core.errors import BadRequest, PypidError, TooLarge, Unauthenticated
from pypid.flow import start
from pypid.web.http.access_log import AccessLog
from pypid.web.http.channel import Channel
from pypid.web.http.connections import ConnectionSettings, HostPolicy, TrustedProxies
from pypid.web.http.request import Request
from pypid.web.http.site import Site
from tests.support import BEGINNING

Handle = Callable[[Request], Awaitable[bytes | None]]


@implementer(IHalfCloseableDescriptor)
class Socket(StringTransport):
    """The site's end of the wire."""

    half_closed = False
    aborted = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def resumeProducing(self) -> None:
        if not self.disconnecting:
            super().resumeProducing()

    def pauseProducing(self) -> None:
        if not self.disconnecting:
            super().pauseProducing()


class Answering(Resource):
    """Runs an ``async def`` for every request, and makes statuses of what it raises,
    as routes do.
    """

    isLeaf = True

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self._handle = handle
        self.ended: list[object] = []
        """For every request whose handler is done: what it returned, or the exception."""
        self.lost: list[Failure] = []

    def render(self, request: Request) -> int:
        gone: list[bool] = []

        def lost(reason: Failure) -> None:
            gone.append(True)
            self.lost.append(reason)

        request.notifyFinish().addErrback(lost)
        start(self._answer(request, gone))
        return NOT_DONE_YET

    async def _answer(self, request: Request, gone: list[bool]) -> None:
        try:
            answer = await self._handle(request)
            self.ended.append(answer)
        except Exception as error:
            self.ended.append(error)
            statuses = {Unauthenticated: 401, TooLarge: 413, BadRequest: 400}
            request.setResponseCode(statuses.get(type(error), 500))
            answer = str(error).encode() if isinstance(error, PypidError) else repr(error).encode()
        if answer is not None and not gone:
            request.setHeader(b"Content-Length", b"%d" % len(answer))
            request.write(answer)
            request.finish()


class Wire:
    """One connection to a site."""

    def __init__(
        self,
        handle: Handle,
        *,
        timeout: float = 60,
        peer: IAddress | None = None,
        trusted: TrustedProxies | None = None,
        limits: ConnectionSettings | None = None,
    ) -> None:
        self.clock = Clock()
        self.resource = Answering(handle)
        self.log: list[str] = []
        """The access log's lines."""
        self.site = Site(
            self.resource,
            reactor=self.clock,
            timeout=timeout,
            trusted_proxies=trusted or TrustedProxies(),
            limits=limits or ConnectionSettings(),
            access_log=lambda request: self.log.append(access_log.entry(request).text()),
            hosts=HostPolicy(("*",)),
        )
        access_log = AccessLog(lambda: BEGINNING, self.clock.seconds)
        self.site.startFactory()
        self.socket = Socket(peerAddress=peer or IPv4Address("TCP", "192.0.2.7", 4711))
        self.channel: Channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.socket)
        self.unsent = b""
        self.gone = False

    def send(self, data: bytes, by: int | None = None) -> None:
        """Send `data`, `by` bytes at a time; what the site does not want yet stays in `unsent`."""
        self.unsent += data
        self.flow(by)

    def flow(self, by: int | None = None) -> None:
        """Go on sending for as long as the site takes something."""
        while (
            self.unsent
            and not self.gone
            and self.socket.producerState == "producing"
            and not self.socket.disconnecting
        ):
            step = by or len(self.unsent)
            piece, self.unsent = self.unsent[:step], self.unsent[step:]
            self.channel.dataReceived(piece)
        if self.closed and not self.gone:
            self.lose(ConnectionAborted() if self.socket.aborted else ConnectionDone())

    def pass_time(self, seconds: float) -> None:
        """Let the clock of the site run."""
        self.clock.advance(seconds)
        self.flow()

    def lose(self, why: Exception | None = None) -> None:
        """The connection is gone."""
        self.gone = True
        self.channel.connectionLost(Failure(why or ConnectionLost()))

    @property
    def closed(self) -> bool:
        """Whether the site has closed the connection for reading and writing."""
        return bool(self.socket.disconnecting)

    @property
    def received(self) -> bytes:
        """All that the site has sent."""
        return bytes(self.socket.value())

    @property
    def statuses(self) -> list[int]:
        """The statuses of the answers, in order."""
        return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", self.received)]


def request(
    method: str, path: str, *headers: str, body: bytes | None = None, version: str = "HTTP/1.1"
) -> bytes:
    """The bytes of a request with a Host, and a Content-Length if there is a `body`."""
    lines = [f"{method} {path} {version}", "Host: index.example", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def chunked(body: bytes, by: int) -> bytes:
    """`body` as chunks of `by` bytes."""
    chunks = [body[start : start + by] for start in range(0, len(body), by)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
