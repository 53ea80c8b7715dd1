"""Strict framing of requests, and deadlines for slow clients.

Requests that twisted.web's parser accepts and a proxy may read differently are refused (RFC 9112).

A timeout of silence alone is renewed by each byte, so a client that sends a byte a minute would
hold a connection for ever. Unread data makes the kernel send a RST when the socket is closed, and a
RST destroys what the client has not read yet (RFC 9112, 9.6). So the channel closes for writing,
and goes on reading for a while.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from pypid.web.http.connections import ConnectionSettings
from pypid.web.http.proxies import HOST
from pypid.web.http.request import Request

if TYPE_CHECKING:
    from typing import Any as HTTPChannel  # Twisted's is hardly annotated
else:
    from twisted.web.http import HTTPChannel

LINGER = 30.0
"""Seconds that a client gets for the rest of a body that is discarded."""
LINGER_IDLE = 5.0
"""Seconds of silence after which such a client has had enough time to read its response."""
WINDOW = 30.0
"""Seconds over which the rate of a body is measured."""


class LingeringChannel(HTTPChannel):  # type: ignore[misc]
    """An `HTTPChannel` that can linger; subclasses discard what comes while `_lingering`."""

    _lingering = False
    _patience: float | None = None
    """Seconds until a silent client is disconnected, or None."""
    _total: IDelayedCall | None = None
    _silence: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._patience = self.timeOut
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_clocks()
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._silence is not None:
            self._silence.reset(LINGER_IDLE)
        super().dataReceived(data)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._lingering:
            self._half_close()

    def _linger(self) -> None:
        """Close for writing when the response has been sent, and fully when the client had time to
        read it.
        """
        self._lingering = True
        self.persistent = False
        self.setTimeout(None)
        self.setRawMode()
        if self._waitingForTransport:
            self._total = self.callLater(
                self._patience or LINGER, self._give_up
            )  # to take in the response
        else:
            self._half_close()

    def _half_close(self) -> None:
        self._stop_clocks()
        self._networkProducer.unregisterProducer()
        if self._is_socket:
            self.transport.loseWriteConnection()
        else:
            # TLS sends close_notify and then reads on until the peer has sent it too
            self.transport.loseConnection()
        self._total = self.callLater(LINGER, self._give_up)
        self._silence = self.callLater(LINGER_IDLE, self._give_up)

    def _give_up(self) -> None:
        self._stop_clocks()
        if not self._is_socket:
            self.transport.abortConnection()
            return
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        self.transport.loseConnection()

    @property
    def _is_socket(self) -> bool:
        """Whether the transport is a plain socket, which can be closed for writing only. (TLS
        transports provide the interface of their socket.)
        """
        return IHalfCloseableDescriptor.providedBy(self.transport) and not ISSLTransport.providedBy(
            self.transport
        )

    def _stop_clocks(self) -> None:
        for clock in (self._total, self._silence):
            if clock is not None and clock.active():
                clock.cancel()
        self._total = self._silence = None


class TimedChannel(LingeringChannel):
    """A `LingeringChannel` that closes connections of clients that send too slowly."""

    deadlines: ConnectionSettings
    _head_deadline: IDelayedCall | None = None
    _body_check: IDelayedCall | None = None
    _body_bytes = 0
    """Bytes of the body that came since the last check of its rate."""
    _body_excused = False
    """Whether the server held up the body since then."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._head_is_in()
        self._body_is_in()
        super().connectionLost(reason)

    # --- the head ---

    def _head_begins(self, seconds: float | None = None) -> None:
        """Start the deadline of a head whose first bytes have come."""
        if self._head_deadline is None:
            patience = self.deadlines.header_timeout if seconds is None else seconds
            self._head_deadline = self.callLater(patience, self._head_is_late)

    def _head_is_in(self) -> None:
        """Stop the deadline of a head that is complete or will never be."""
        if self._head_deadline is not None:
            deadline, self._head_deadline = self._head_deadline, None
            if deadline.active():
                deadline.cancel()

    def _head_is_late(self) -> None:
        """Close the connection."""
        self._head_deadline = None
        self.timeoutConnection()

    # --- the body ---

    def _body_begins(self, *, excused: bool) -> None:
        """Start the rate checks of a body. `excused`: the client waits for the server before it
        sends the body.
        """
        if self.deadlines.min_body_rate:
            self._body_bytes, self._body_excused = 0, excused
            self._body_check = self.callLater(WINDOW, self._check_body)

    def _excuse_body(self) -> None:
        """Skip the next rate check, since reading is paused."""
        self._body_excused = True

    def _body_is_in(self) -> None:
        """Stop the rate checks of a body that is complete or read no further."""
        if self._body_check is not None:
            check, self._body_check = self._body_check, None
            if check.active():
                check.cancel()

    def _check_body(self) -> None:
        self._body_check = None
        if self._body_bytes < self.deadlines.min_body_rate * WINDOW and not self._body_excused:
            self.setTimeout(None)
            self.timeoutConnection()
        else:
            self._body_begins(excused=self._body_stands)

    @property
    def _body_stands(self) -> bool:
        """Whether the server holds up the body: reading is paused, or the client waits for 100
        Continue.
        """
        raise NotImplementedError


NOT_HTTP = "This is not a request that HTTP/1.1 knows (RFC 9112), or its headers are too long."
ONE_HOST = (
    "A request needs exactly one Host header, with a host and perhaps a port (RFC 9112, 3.2)."
)

ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#]*)", re.IGNORECASE)
"""The beginning of a request target in absolute form, as clients send it to proxies."""


class RefusalCounter(Protocol):
    """The site of a connection, as far as refusals of requests are concerned."""

    def note_refused(self, size: int, status: str) -> None:
        """Count a response that does not come from a route, with a body of `size` bytes."""


class FramingChannel(TimedChannel):
    """A `TimedChannel` that refuses requests with ambiguous framing.

    Some of its checks are overridden private hooks of Twisted's: `start_check` proves that Twisted
    calls them.
    """

    _path: bytes
    """Twisted's: the target of the request whose head is read."""
    reserved = False
    """Whether the connection exceeds the limits, so that it may only request the health of the
    service.
    """

    def _watch_head(self) -> None:
        """Set the deadline for the head of a request that has begun."""
        if (
            self.line_mode
            and not self._lingering
            and (self._buffer or self._HTTPChannel__first_line != 1)
        ):
            self._head_begins()
        elif not self.reserved:
            self._head_is_in()

    def _take_absolute_form(self, request: Request) -> bool:
        """Replace a target like ``http://host/path`` by its path, and the Host by its host (RFC
        9112, 3.2.2).

        False: the host is invalid.
        """
        match = ABSOLUTE.match(self._path)
        if match is None:
            return True
        host = match["host"]
        request.requestHeaders.setRawHeaders(b"Host", [host])
        path = self._path[match.end() :]
        self._path = path if path.startswith(b"/") else b"/" + path
        return bool(host) and HOST.fullmatch(host.decode("latin-1")) is not None

    def _host_is_good(self, request: Request) -> bool:
        hosts = request.requestHeaders.getRawHeaders(b"Host") or []
        if not hosts:
            return bool(self._version == b"HTTP/1.0")
        return len(hosts) == 1 and HOST.fullmatch(hosts[0].decode("latin-1")) is not None

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:
        # int() raises for digits without end, which Twisted does not catch
        is_too_long = header.lower() == b"content-length" and len(data) > 18
        # RFC 9112, 7: "identity" is no longer a transfer coding; a proxy may take such a body for a
        # request
        is_identity = header.lower() == b"transfer-encoding" and data.lower() == b"identity"
        if is_too_long or is_identity:
            self._refuse(NOT_HTTP)
            return False
        return bool(super()._maybeChooseTransferDecoder(header, data))

    def lineReceived(self, line: bytes) -> None:
        # RFC 9112, 5.2: a folded header field, which proxies may read as two, is refused
        if line[:1] in (b" ", b"\t") and self._HTTPChannel__first_line == 0:
            self._refuse(NOT_HTTP)
            return
        super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse(NOT_HTTP)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(NOT_HTTP)

    def _refuse(self, reason: str, status: bytes = b"400 Bad Request", fields: bytes = b"") -> None:
        """Answer invalid requests, and requests that are refused before routing. A connection that
        is being closed sends nothing any more: TLS reads on until the peer has closed it, too.
        """
        if self._lingering or self.transport.disconnecting:
            return
        text = reason.encode("ascii") + b"\n"
        self._transferDecoder = None
        self.transport.write(
            b"HTTP/1.1 %s\r\nServer: pypid\r\nContent-Type: text/plain; charset=utf-8\r\n"
            b"Connection: close\r\n%sContent-Length: %d\r\n\r\n%s"
            % (status, fields, len(text), text)
        )
        self.site.note_refused(len(text), status[:3].decode("ascii"))
        self._linger()
