"""Streaming of request bodies, and the limits on open connections for one connection.

The parser never runs a handler of a request with a body: `dataReceived` lets it finish with all
that came, and then delivers. So no handler ends a request while the parser is working on it, and a
response to a small request, whose body came along with its headers, leaves the connection open.

A connection may be closed to make room for another one, or only be used for requests about the
health of the service (`web.http.connections`).
"""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web import http

from pypid.core.errors import BadRequest
from pypid.flow.transports import read_at_once
from pypid.web.http.channel.framing import FramingChannel
from pypid.web.http.request import Request

READ = 1 << 20
"""Bytes requested from the kernel at once while a body comes (Twisted requests 64 KiB)."""

BROKEN_CHUNKS = (
    "The body is not what Transfer-Encoding: chunked says. Send the request again, or with a "
    "Content-Length."
)


class BodyChannel(FramingChannel):
    """A `FramingChannel` that streams the bodies of requests to their handlers."""

    timeOut: float | None
    _receiving: Request | None = None
    """The request whose body is coming."""
    _due: Request | None = None
    """The request that has something new for its handler."""
    _delivering = False
    _continue_due = False
    """The client waits for 100 Continue before it sends the body."""
    _kept = 0
    """Bytes of further requests that wait for the response to this one."""
    _paused = False
    """Reading is paused, because too much of a body waits unread."""

    def _receive_body(self, request: Request) -> None:
        """Begin to receive the body of a request whose headers are in."""
        request.headersReceived(self._command, self._path, self._version)
        self._receiving = self._due = request
        self._body_begins(excused=False)
        self._read_at_once(READ)
        if self._waitingForTransport:
            self._networkProducer.resumeProducing()  # see pauseProducing
        expect = request.requestHeaders.getRawHeaders(b"Expect")
        if expect and expect[0].lower() == b"100-continue" and self._version == b"HTTP/1.1":
            self._continue_due = True
            self._excuse_body()
            self.setTimeout(None)  # the client waits for the server, not the server for the client

    def _read(self, data: bytes) -> None:
        super().dataReceived(data)
        if self._delivering:
            return
        self._watch_head()
        self._delivering = True
        try:
            while (request := self._due) is not None:
                self._due = None
                request.deliver()
                if request is self._receiving and request.bodyFull:
                    self._pause()
        finally:
            self._delivering = False

    @property
    def _body_stands(self) -> bool:
        return self._paused or self._continue_due

    def rawDataReceived(self, data: bytes) -> None:
        if self._handlingRequest:
            self._keep_for_later(data)
        elif self._transferDecoder is not None:
            self._due = self._receiving
            self._body_bytes += len(data)
            if self._continue_due:
                self._continue_due = False
                self.setTimeout(self._patience)
            try:
                self._transferDecoder.dataReceived(data)
            except http._MalformedChunkedDataError:
                self._break_off()
        # else the rest of a refused request

    def _keep_for_later(self, data: bytes) -> None:
        """Hold the beginning of a pipelined request; Twisted would hold any amount while the
        response is blocked.
        """
        self._count_kept(data)
        self._dataBuffer.append(data)
        if self._kept > self._optimisticEagerReadSize:
            self._networkProducer.pauseProducing()

    def _count_kept(self, data: bytes) -> None:
        """Count the bytes in Twisted's buffer: adding up its pieces for each new one would take
        quadratic time.
        """
        self._kept = len(data) if not self._dataBuffer else self._kept + len(data)

    def _break_off(self) -> None:
        """Stop parsing after broken framing, which hides where the next request begins. The reader
        of the body gets the error.
        """
        self._transferDecoder = None
        self.persistent = False
        self._body_is_in()
        self.setTimeout(None)
        if self._receiving is not None:
            self._receiving.failBody(BadRequest(BROKEN_CHUNKS))

    def _finishRequestBody(self, data: bytes) -> None:
        if self._lingering:
            self._transferDecoder = None
            if (
                self._is_socket and not data
            ):  # else more is on its way, and closing now could destroy the response
                self.transport.loseConnection()
            return
        self._count_kept(data)
        super()._finishRequestBody(data)

    def allContentReceived(self) -> None:
        if self._lingering:
            return
        if self._receiving is not None:
            self._receiving = None
            self._continue_due = False
            self._body_is_in()
            self.setTimeout(self._patience)  # twisted.web restores it when the response is finished
            self._read_at_once(None)
        super().allContentReceived()

    def _read_at_once(self, most: int | None) -> None:
        """Request up to `most` bytes per read from the kernel; None: the transport's default."""
        if self._is_socket:
            read_at_once(self.transport, most)

    # --- requests of the body (`web.http.request_body.BodyFeed`) ---

    def bodyAsked(self) -> None:
        if self._continue_due:
            self._continue_due = False
            if self._receiving is not None and not self._receiving.startedWriting:
                self._send100Continue()
            self.setTimeout(self._patience)

    def bodyDrained(self) -> None:
        if self._paused:
            self._paused = False
            self._networkProducer.resumeProducing()
            if not self._lingering:
                self.setTimeout(self._patience)

    def _pause(self) -> None:
        self._paused = True
        self._excuse_body()
        self._networkProducer.pauseProducing()
        self.setTimeout(None)  # nothing comes, because reading is paused


TOO_MANY = "Too many connections are open. Try again soon."
RETRY_AFTER = 5
"""Seconds after which a client that was refused because of the connection limit may try again."""
RESERVE_TIMEOUT = 5.0
"""Seconds that a reserved connection has for its request."""
HEALTH_PATHS = (b"/health", b"/ready")
"""Paths that a reserved connection may request."""


class LimitedChannel(BodyChannel):
    """A `BodyChannel` that counts against the limits of its site."""

    client: str | None = None
    """The address of the peer; None on a unix socket."""
    proxied = False
    """Whether the peer is a trusted proxy."""
    last_active = 0.0
    """When the last response was complete, or the connection was opened, on the reactor's clock.
    The fast path sets only this: `resetTimeout` for each request would cost a tenth of it.
    """
    _claimed = False
    """Whether it counts for the client that a trusted proxy names, while its request is
    answered.
    """

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or its body is coming."""
        return bool(self._handlingRequest or self._receiving is not None)

    def drain(self) -> None:
        """Close the connection now, or, if a request is in progress, after its response."""
        raise NotImplementedError

    def evict(self) -> None:
        """Close the connection now, to make room for another one.

        A transport closes its socket in a later turn of the reactor. Until then Twisted accepts
        more connections; when no descriptor is left, it closes all that wait to be accepted.
        """
        is_idle = self._is_socket and not self.requests and not self._lingering
        if is_idle:
            self.drain()
        else:
            self.transport.abortConnection()
        socket = getattr(self.transport, "transport", self.transport)  # below TLS
        if isinstance(socket, Connection):
            reason: object = ConnectionAborted()
            if is_idle:
                reason = socket.doWrite()  # type: ignore[no-untyped-call]
            if isinstance(reason, Exception):  # else it still sends a response
                socket.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    def _is_crowded_out(self, request: Request) -> bool:
        """Return whether the limits refuse this request: on a reserved connection, or of a client
        behind a proxy.
        """
        if self.reserved:
            return self._path.partition(b"?")[0] not in HEALTH_PATHS
        if (
            self.proxied
            and self.client is not None
            and (client := request.client_address()) is not None
        ):
            self._claimed = self.site.limits.claim(self, client)
            return not self._claimed
        return False

    def _refuse_for_limits(self) -> None:
        self._refuse(TOO_MANY, b"503 Service Unavailable", b"Retry-After: %d\r\n" % RETRY_AFTER)

    def _release_claim(self) -> None:
        """Stop counting the connection for the client of its request, which is answered."""
        if self._claimed:
            self._claimed = False
            self.site.limits.release(self)
