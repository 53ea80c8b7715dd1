"""HTTP/1.1 connections on top of twisted.web's `HTTPChannel`, whose private names are used here.

`channel_check` proves that Twisted calls what is overridden.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http_headers import Headers

from pypid.core.errors import BadRequest
from pypid.flow.coroutines import read_at_once
from pypid.web.http.access_log import HEADER
from pypid.web.http.connections import (
    HOST,
    ConnectionLimits,
    HostPolicy,
    host_name,
)
from pypid.web.http.request import Request, RequestSite, ResponseRecorder, SentHead, host_at

if TYPE_CHECKING:
    from typing import Any as HTTPChannel  # Twisted's is hardly annotated
else:
    from twisted.web.http import HTTPChannel

LINGER = 30.0
"""Seconds that a client gets for the rest of a body that is discarded."""
LINGER_IDLE = 5.0
"""Seconds of silence after which such a client has had enough time to read its response."""
MIN_BODY_RATE = 500
"""Bytes a second that a client has to send of a body at least."""
WINDOW = 30.0
"""Seconds over which the rate of a body is measured."""

NOT_HTTP = "This is not a request that HTTP/1.1 knows (RFC 9112), or its headers are too long."
ONE_HOST = (
    "A request needs exactly one Host header, with a host and perhaps a port (RFC 9112, 3.2)."
)

ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#]*)", re.IGNORECASE)
"""The beginning of a request target in absolute form, as clients send it to proxies."""


READ = 1 << 20
"""Bytes requested from the kernel at once while a body comes (Twisted requests 64 KiB)."""

BROKEN_CHUNKS = (
    "The body is not what Transfer-Encoding: chunked says. Send the request again, or with a "
    "Content-Length."
)


TOO_MANY = "Too many connections are open. Try again soon."
RETRY_AFTER = 5
"""Seconds after which a client that was refused because of the connection limit may try again."""
RESERVE_TIMEOUT = 5.0
"""Seconds that a reserved connection has for its request."""
HEALTH_PATHS = (b"/health", b"/ready")
"""Paths that a reserved connection may request."""


GOOD_BYE = 1.0
"""Seconds that an idle TLS client gets to answer the close_notify when pypid stops."""

TOO_SLOW = "The head of the request took longer than [server] header_timeout allows. Send it again."


class FastPathLookup(Protocol):
    """The cached responses for one kind of connections."""

    def answer(self, channel: Channel, data: bytes) -> bool:
        """Answer the data if it is exactly one request whose response is cached; else return False
        without effect.
        """

    def recorder_for(self, data: bytes) -> ResponseRecorder | None:
        """Return a recorder if the data is one request whose response may be cached."""


class FastPathSite(Protocol):
    """The fast path of a site (`web.fastpath.fast_path`)."""

    def attach(self, channel: Channel) -> None:
        """Have a new connection use the fast path (`Channel.use_fast_path`)."""

    def start(self, reactor: Any) -> None:
        """Start, with the site."""

    def stop(self) -> None:
        """Stop, with the site."""

    def flush(self) -> None:
        """Write the lines of the access log that wait."""

    def close(self) -> None:
        """Write the lines that wait, and close the files."""


class ChannelSite(RequestSite, Protocol):
    """The site of a connection, as the connection uses it."""

    channels: set[Channel]
    limits: ConnectionLimits
    sends_ids: bool

    @property
    def hosts(self) -> HostPolicy: ...

    @property
    def hsts(self) -> tuple[str, bytes] | None: ...

    @property
    def fast_path(self) -> FastPathSite | None: ...

    def note_refused(self, size: int, status: str) -> None:
        """Count a response that does not come from a route, with a body of `size` bytes."""


class Channel(HTTPChannel):  # type: ignore[misc]
    """One connection: its life, its limits, its responses, and the fast path's interface to it.

    Requests that twisted.web's parser accepts and a proxy may read differently are refused (RFC
    9112).

    The parser never runs a handler of a request with a body: `dataReceived` lets it finish with all
    that came, and then delivers. So no handler ends a request while the parser is working on it,
    and a response to a small request, whose body came along with its headers, leaves the connection
    open.

    The current request is in one of three states; the rest is `http.HTTPChannel`:

    - its body is coming (`_receiving` is set); its handler runs, its response may have begun;
    - its body is in, its response is not finished: twisted.web's own state (`_handlingRequest`);
    - its response is finished, its body is not in: the channel lingers, so that the response is not
      lost.

    To linger is to close for writing, and to go on reading for a while: unread data makes the
    kernel send a RST when the socket is closed, and a RST destroys what the client has not read yet
    (RFC 9112, 9.6).

    A timeout of silence alone is renewed by each byte, so a client that sends a byte a minute would
    hold a connection for ever: heads have a deadline, and bodies a least rate. A connection may be
    closed to make room for another one, or only be used for requests about the health of the
    service (`web.http.connections`).
    """

    _lingering = False
    _patience: float | None = None
    """Seconds until a silent client is disconnected, or None."""
    _total: IDelayedCall | None = None
    _silence: IDelayedCall | None = None
    _head_deadline: IDelayedCall | None = None
    _body_check: IDelayedCall | None = None
    _body_bytes = 0
    """Bytes of the body that came since the last check of its rate."""
    _body_excused = False
    """Whether the server held up the body since then."""
    _path: bytes
    """Twisted's: the target of the request whose head is read."""
    reserved = False
    """Whether the connection exceeds the limits, so that it may only request the health of the
    service.
    """
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
    requests: list[Request]
    site: ChannelSite
    timeOut: float | None
    _answered: Request | None = None
    """The request whose response is finished but still being sent; the next one waits."""
    _draining = False
    """The connection is to be closed after the current response."""
    lookup: FastPathLookup | None = None
    """The cache that answers repeated requests; None: all requests are parsed."""
    idle = False
    """With a `lookup`: no byte of the next request has come, and nothing has to be done before it
    is answered.
    """
    _parsing = False
    _recorder: ResponseRecorder | None = None
    """Records the response to the request that is about to be parsed, if it may be cached."""
    known: tuple[int, Any, bytes | None] | None = None
    """The fast path's: the client of the last request on this connection, if its credentials had to
    be checked. (Never the credentials.)
    """
    _detach: Callable[[], object] | None = None
    """Called when the connection is lost, if the fast path needs that."""
    any_host = False
    """Whether each Host is answered: a trusted proxy, or a client on a unix socket, names it."""
    direct = False
    """Whether data may bypass the transport and go straight to the socket."""
    send: Callable[[Any, bytes], None]
    """How the fast path sends short responses."""

    def connectionMade(self) -> None:
        self.site.channels.add(self)
        self.last_active = self.site.seconds()
        self.client = host_at(self.transport.getPeer())
        self.proxied = self.site.trusted_proxies.trust(self.client)
        self.any_host = self.proxied or self.client is None
        self._patience = self.timeOut
        super().connectionMade()
        self.reserved = not self.site.limits.admit(self, None if self.proxied else self.client)
        if self.reserved:
            self._head_begins(RESERVE_TIMEOUT)
        elif self.site.fast_path is not None:
            self.site.fast_path.attach(self)
            self.idle = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.discard(self)
        self.site.limits.discard(self)
        if self._detach is not None:
            self._detach()
        self._paused = self._continue_due = self.idle = False
        self._head_is_in()
        self._body_is_in()
        self._stop_clocks()
        super().connectionLost(reason)

    def use_fast_path(
        self,
        lookup: FastPathLookup,
        send: Callable[[Any, bytes], None],
        direct: bool,
        detach: Callable[[], object] | None,
    ) -> None:
        """Answer by the fast path what it can answer. The arguments are as the attributes."""
        self.lookup, self.send, self.direct, self._detach = lookup, send, direct, detach

    def drain(self) -> None:
        """Close the connection now, or, if a request is in progress, after its response."""
        self._draining, self.idle = True, False
        if self.requests:
            self.persistent = False
        elif not self._lingering:
            self.loseConnection()
            if not self._is_socket and not self._waitingForTransport:
                # TLS waits for the peer's close_notify, and a client that only keeps the connection
                # for later reads nothing
                self._abortingCall = self.callLater(GOOD_BYE, self.forceAbortClient)

    @property
    def is_blocked(self) -> bool:
        """Whether the transport has more to send than its buffer takes."""
        return bool(self._waitingForTransport)

    # --- input ---

    def dataReceived(self, data: bytes) -> None:
        if self.idle and self.lookup is not None and self.lookup.answer(self, data):
            return
        self.read_on(data)

    def read_on(self, data: bytes) -> None:
        """Parse data that the fast path does not answer, and become idle again if the request is
        answered already.
        """
        if self.idle and self.lookup is not None:
            self.idle = False
            self._recorder = self.lookup.recorder_for(data)
        outermost, self._parsing = not self._parsing, True
        self._read(data)
        if outermost:
            self._parsing, self._recorder = False, None
            self._settle()

    def _is_idle(self) -> bool:
        """Return whether the next byte is the first one of a request that the fast path may
        answer.
        """
        return not (
            self.requests
            or self._handlingRequest
            or self._buffer
            or self._waitingForTransport
            or self._lingering
            or self._draining
            or self._paused
            or self._answered is not None
            or not self.line_mode
            or not self.persistent
            or self.transport is None
            or self.transport.disconnecting
            or self._HTTPChannel__first_line != 1
        )

    def _read(self, data: bytes) -> None:
        if self._silence is not None:
            self._silence.reset(LINGER_IDLE)
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

    def timeoutConnection(self) -> None:
        patience = self.timeOut
        rest = self.last_active + (patience or 0) - self.site.seconds()
        if patience is None or not self.idle or rest <= 0:
            self.idle = False
            super().timeoutConnection()
        else:
            self.setTimeout(rest)
            self.timeOut = patience

    def allHeadersReceived(self) -> None:
        self._head_is_in()
        request = self.requests[-1]
        if not self._host_is_good(request) or not self._take_absolute_form(request):
            self._refuse(ONE_HOST)
            return
        if self._is_crowded_out(request):
            self._refuse_for_limits()
            return
        request.parseCookies()  # type: ignore[no-untyped-call]
        self.persistent = (
            self.checkPersistence(request, self._version)
            and not self._draining
            and not self.reserved
        )
        request.gotLength(self.length)
        if self.length == 0:
            request.record_with(self._recorder)
            self._recorder = None
            return
        self._receive_body(request)

    # --- lingering ---

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

    # --- deadlines of slow clients ---

    def _head_begins(self, seconds: float | None = None) -> None:
        """Start the deadline of a head whose first bytes have come."""
        if self._head_deadline is None:
            patience = self.site.limits.settings.header_timeout if seconds is None else seconds
            self._head_deadline = self.callLater(patience, self._head_is_late)

    def _head_is_in(self) -> None:
        """Stop the deadline of a head that is complete or will never be."""
        if self._head_deadline is not None:
            deadline, self._head_deadline = self._head_deadline, None
            if deadline.active():
                deadline.cancel()

    def _head_is_late(self) -> None:
        self._head_deadline = None
        self.idle = False
        self._refuse(TOO_SLOW, b"408 Request Timeout")
        self._give_up()

    def _body_begins(self, *, excused: bool) -> None:
        """Start the rate checks of a body. `excused`: the client waits for the server before it
        sends the body.
        """
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
        if self._body_bytes < MIN_BODY_RATE * WINDOW and not self._body_excused:
            self.setTimeout(None)
            self.timeoutConnection()
        else:
            self._body_begins(excused=self._body_stands)

    # --- strict framing ---

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

    # --- streamed bodies ---

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

    # --- limits on connections ---

    @property
    def busy(self) -> bool:
        """Whether a request is being answered, or its body is coming."""
        return bool(self._handlingRequest or self._receiving is not None)

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

    # --- output ---

    def pauseProducing(self) -> None:
        self.idle = False
        if self._receiving is None:
            super().pauseProducing()
            return
        # A client that sends everything before it reads would deadlock with a paused server: go on
        # reading.
        self._waitingForTransport = True
        if self._requestProducer is not None:
            self._requestProducer.pauseProducing()

    def resumeProducing(self) -> None:
        # first, since a download that ends while it is resumed is a finished response as well
        answered, self._answered = self._answered, None
        super().resumeProducing()
        if self._lingering:
            self._half_close()
        if answered is not None:
            super().requestDone(answered)
        if self._paused:
            self._networkProducer.pauseProducing()
        self._settle()

    def remember_client(self, known: tuple[int, Any, bytes | None] | None) -> None:
        """Keep the client of the last request, for the fast path."""
        self.known = known

    def occupy(self, response: Any) -> None:
        """Hold further input while the fast path sends a long response, as behind any request.

        `response` has what twisted.web needs of a request.
        """
        self.idle = False
        self._savedTimeOut = self.setTimeout(None)
        self._handlingRequest = True
        self.setRawMode()  # no line is read before `requestDone`
        self.requests.append(response)

    def _settle(self) -> None:
        """Check, after something has ended, whether the fast path may answer again."""
        if self.lookup is not None and not self._parsing:
            self.idle = self._is_idle()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        if self._receiving is not None:
            # It is now unknowable whether all of the body will have come when the response is
            # finished.
            self.persistent = False
        headers.setRawHeaders(b"Server", [b"pypid"])  # instead of Twisted's name and version
        if self.site.hsts is not None and self._is_to_stay_secure(self.site.hsts[0]):
            headers.setRawHeaders(b"Strict-Transport-Security", [self.site.hsts[1]])
        if not self.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        elif (request := self.requests[0]).recorder is not None:
            fields = tuple(
                (name, value) for name, values in headers.getAllRawHeaders() for value in values
            )
            request.record_head(SentHead(b"%s %s %s\r\n" % (version, code, reason), fields))
        if self.site.sends_ids:  # not cached, since the next response has another id
            headers.setRawHeaders(HEADER, [self.requests[0].id.encode("ascii")])
        super().writeHeaders(version, code, reason, headers)

    def _is_to_stay_secure(self, name: str) -> bool:
        """Return whether the client came by https for the host of this name (RFC 6797, 7.2: HSTS is
        never sent over http).
        """
        request = self.requests[0]
        return request.isSecure() and host_name(request.base_host) == name

    def requestDone(self, request: Request) -> None:
        self.last_active = self.site.seconds()
        self._release_claim()
        self._done(request)
        if self.transport is not None:
            self._watch_head()
        self._settle()

    def _done(self, request: Request) -> None:
        if request is not self._receiving:
            if self._waitingForTransport and self.persistent:
                # A client that pipelines and does not read gets no further response: one packet may
                # hold a thousand requests.
                self._answered = request
                self.setTimeout(self._patience)
            else:
                super().requestDone(request)
            return
        del self.requests[0]
        self._body_is_in()
        request.discardBody()
        self._linger()
