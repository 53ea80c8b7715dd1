"""HTTP/1.1 on top of twisted.web: handlers run when the headers are in, and bodies stream with
back-pressure.

The current request is in one of three states; the rest is `http.HTTPChannel`:

- its body is coming (`_receiving` is set); its handler runs, its response may have begun;
- its body is in, its response is not finished: twisted.web's own state (`_handlingRequest`);
- its response is finished, its body is not in: the channel lingers, so that the response is not
  lost.

The parser never runs a handler of a request with a body: `dataReceived` lets it finish with all
that came, and then delivers. So no handler ends a request while the parser is working on it, and a
response to a small request, whose body came along with its headers, leaves the connection open.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from pypid.core.errors import BadRequest
from pypid.metrics.counts import Counts
from pypid.web.fastpath.dependencies import RequestKey, SentHead
from pypid.web.fastpath.reactor_hook import ReactorHook, shortened
from pypid.web.fastpath.socket_write import Send, goes_direct, way_of
from pypid.web.http.connections import ConnectionLimits, ConnectionSettings
from pypid.web.http.deadlines import TimedChannel
from pypid.web.http.hosts import HostPolicy, host_name, hsts_of
from pypid.web.http.proxies import HOST, TrustedProxies
from pypid.web.http.request import Request, host_at
from pypid.web.http.request_ids import HEADER, Ids
from pypid.web.http.response_counts import count_answer, count_received, count_refused

if TYPE_CHECKING:
    from pypid.web.fastpath.cached_channel import CachedChannel, Known
    from pypid.web.fastpath.fast_path import FastPath
    from pypid.web.fastpath.open_files import Passing

READ = 1 << 20
"""Bytes requested from the kernel at once while a body comes (Twisted requests 64 KiB)."""

GOOD_BYE = 1.0
"""Seconds that an idle TLS client gets to answer the close_notify when pypid stops."""

BROKEN_CHUNKS = (
    "The body is not what Transfer-Encoding: chunked says. Send the request again, or with a "
    "Content-Length."
)
NOT_HTTP = "This is not a request that HTTP/1.1 knows (RFC 9112), or its headers are too long."
TOO_SLOW = "The head of the request took longer than [server] header_timeout allows. Send it again."
TOO_MANY = "Too many connections are open. Try again soon."
RETRY_AFTER = 5
"""Seconds after which a client that was refused because of the connection limit may try again."""
RESERVE_TIMEOUT = 5.0
"""Seconds that a reserved connection has for its request."""
HEALTH_PATHS = (b"/health", b"/ready")
"""Paths that a reserved connection may request."""
ONE_HOST = (
    "A request needs exactly one Host header, with a host and perhaps a port (RFC 9112, 3.2)."
)

ABSOLUTE = re.compile(rb"https?://(?P<host>[^/?#]*)", re.IGNORECASE)
"""The beginning of a request target in absolute form, as clients send it to proxies."""

_TWISTED = (
    "_dataBuffer", "_handlingRequest", "_networkProducer", "_optimisticEagerReadSize", "_requestProducer", "_savedTimeOut",
    "_transferDecoder", "_waitingForTransport", "_finishRequestBody", "_maybeChooseTransferDecoder",
    "_respondToBadRequestAndDisconnect", "_send100Continue", "_command", "_path", "_version", "_buffer",
    "_HTTPChannel__first_line",
)  # fmt: skip
"""The private names of `http.HTTPChannel` that this module depends on; a test asserts that they
exist.
"""


class Channel(TimedChannel):
    """One connection."""

    requests: list[Request]
    site: Site
    timeOut: float | None
    _path: bytes
    """Twisted's: the target of the request whose head is read."""

    _receiving: Request | None = None
    """The request whose body is coming."""
    _due: Request | None = None
    """The request that has something new for its handler."""
    _answered: Request | None = None
    """The request whose response is finished but still being sent; the next one waits."""
    _delivering = False
    _continue_due = False
    """The client waits for 100 Continue before it sends the body."""
    _kept = 0
    """Bytes of further requests that wait for the response to this one."""
    _draining = False
    """The connection is to be closed after the current response."""
    _paused = False
    """Reading is paused, because too much of a body waits unread."""
    doorway: CachedChannel | None = None
    """The cache that answers repeated requests; None: all requests are parsed."""
    idle = False
    """With a `doorway`: no byte of the next request has come, and nothing has to be done before it
    is answered.
    """
    _parsing = False
    _question: RequestKey | None = None
    """The cache key of the request that is about to be parsed, if its response may be cached."""
    known: Known | None = None
    """The client of the last request on this connection, if its credentials had to be checked.
    (Never the credentials.)
    """
    _leave: Callable[[], object] | None = None
    """Called when the connection is lost, if it is registered with the `ReactorHook`."""
    client: str | None = None
    """The address of the peer; None on a unix socket."""
    strict_host = False
    """Whether unknown hosts are refused here."""
    proxied = False
    """Whether the peer is a trusted proxy."""
    direct = False
    """Whether data may bypass the transport and go straight to the socket."""
    send: Send
    """How the fast path sends short responses."""
    out = 0
    """How many bytes of a long body the fast path has sent at once."""
    heard = 0.0
    """When the last response was complete, or the connection was opened, on the reactor's clock.
    The fast path sets only this: `resetTimeout` for each request would cost a tenth of it.
    """
    reserved = False
    """Whether the connection exceeds the limits, so that it may only request the health of the
    service.
    """
    _claimed = False
    """Whether it counts for the client that a trusted proxy names, while its request is
    answered.
    """

    def connectionMade(self) -> None:
        self.site.channels.add(self)
        self.deadlines = self.site.limits.settings
        self.heard = self.site.seconds()
        self.client = host_at(self.transport.getPeer())
        self.proxied = self.site.trusted_proxies.trust(self.client)
        self.strict_host = self.site.hosts.is_strict(self.transport.getHost())
        super().connectionMade()
        self.reserved = not self.site.limits.admit(self, None if self.proxied else self.client)
        if self.reserved:
            self._head_begins(RESERVE_TIMEOUT)
        elif self.site.front_door is not None:
            secure = ISSLTransport.providedBy(self.transport)
            self.doorway = self.site.front_door.doorway(secure, self.proxied, self.strict_host)
            self.direct = goes_direct(self.transport)
            self.send = way_of(self.transport)
            self.idle = True
            if self.direct and self.site.turn is not None:
                self._leave = self.site.turn.seat(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.discard(self)
        self.site.limits.discard(self)
        if self._leave is not None:
            self._leave()
        self._paused = self._continue_due = self.idle = False
        super().connectionLost(reason)

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
    def busy(self) -> bool:
        """Whether a request is being answered, or its body is coming."""
        return bool(self._handlingRequest or self._receiving is not None)

    def evict(self) -> None:
        """Close the connection now, to make room for another one."""
        if self.requests or self._lingering or not self._is_socket:
            self.forceAbortClient()
        else:
            self.drain()

    # --- input ---

    def dataReceived(self, data: bytes) -> None:
        if self.idle and self.doorway is not None and self.doorway.answer(self, data):
            return
        self.read_on(data)

    def read_on(self, data: bytes) -> None:
        """Parse data that the fast path does not answer."""
        if self.doorway is None:
            self._read(data)
        else:
            self._read_beside(self.doorway, data)

    def _read_beside(self, doorway: CachedChannel, data: bytes) -> None:
        """Parse data that the fast path does not answer, and become idle again if the request is
        answered already.
        """
        if self.idle:
            self.idle = False
            self._question = doorway.question(self, data)
        outermost, self._parsing = not self._parsing, True
        self._read(data)
        if outermost:
            self._parsing, self._question = False, None
            self.idle = self._is_idle()

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

    def timeoutConnection(self) -> None:
        patience = self.timeOut
        rest = self.heard + (patience or 0) - self.site.seconds()
        if patience is None or not self.idle or rest <= 0:
            self.idle = False
            super().timeoutConnection()
        else:
            self.setTimeout(rest)
            self.timeOut = patience

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

    def _head_is_late(self) -> None:
        self._head_deadline = None
        self.idle = False
        self._refuse(TOO_SLOW, b"408 Request Timeout")
        self._give_up()

    @property
    def _body_stands(self) -> bool:
        return self._paused or self._continue_due

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

    def allHeadersReceived(self) -> None:
        self._head_is_in()
        request = self.requests[-1]
        if not self._host_is_good(request) or not self._take_absolute_form(request):
            self._refuse(ONE_HOST)
            return
        if self._is_crowded_out(request):
            self._refuse(TOO_MANY, b"503 Service Unavailable", b"Retry-After: %d\r\n" % RETRY_AFTER)
            return
        request.parseCookies()  # type: ignore[no-untyped-call]
        self.persistent = (
            self.checkPersistence(request, self._version)
            and not self._draining
            and not self.reserved
        )
        request.gotLength(self.length)
        if self.length == 0:
            request.question, self._question = self._question, None
            return
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
        transport = self.transport
        if not self._is_socket:
            return
        if most is not None:
            transport.bufferSize = most
        elif "bufferSize" in vars(transport):
            del transport.bufferSize

    # --- requests of the body (`pypid.web.http.request_body.Tap`) ---

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
        if answered is not None:
            super().requestDone(answered)
        if self._paused:
            self._networkProducer.pauseProducing()
        self._settle()

    def occupy(self, passing: Passing) -> None:
        """Hold further input while the fast path sends a long response, as behind any request."""
        self.idle = False
        self._savedTimeOut = self.setTimeout(None)
        self._handlingRequest = True
        self.setRawMode()  # no line is read before `requestDone`
        self.requests.append(passing)  # type: ignore[arg-type]  # has what twisted.web needs

    def _settle(self) -> None:
        """Check, after something has ended, whether the fast path may answer again."""
        if self.doorway is not None and not self._parsing:
            self.idle = self._is_idle()

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        if self._receiving is not None:
            # It is now unknowable whether all of the body will have come when the response is
            # finished.
            self.persistent = False
        if self.site.hsts is not None and self._is_to_stay_secure(self.site.hsts[0]):
            headers.setRawHeaders(b"Strict-Transport-Security", [self.site.hsts[1]])
        if not self.persistent:
            headers.setRawHeaders(b"Connection", [b"close"])
        elif (request := self.requests[0]).question is not None:
            fields = tuple(
                (name, value) for name, values in headers.getAllRawHeaders() for value in values
            )
            request.head = SentHead(b"%s %s %s\r\n" % (version, code, reason), fields)
        if self.site.tells_ids:  # not cached, since the next response has another id
            headers.setRawHeaders(HEADER, [self.requests[0].id.encode("ascii")])
        super().writeHeaders(version, code, reason, headers)

    def _is_to_stay_secure(self, name: str) -> bool:
        """Return whether the client came by https for the host of this name (RFC 6797, 7.2: HSTS is
        never sent over http).
        """
        request = self.requests[0]
        return request.isSecure() and host_name(request.base_host) == name

    def requestDone(self, request: Request) -> None:
        self.heard = self.site.seconds()
        if self._claimed:
            self._claimed = False
            self.site.limits.release(self)
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

    # --- refusals ---

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse(NOT_HTTP)

    def _refuse(self, reason: str, status: bytes = b"400 Bad Request", fields: bytes = b"") -> None:
        """Answer invalid requests, and requests that are refused before routing."""
        if self._lingering:
            return
        text = reason.encode("ascii") + b"\n"
        self._transferDecoder = None
        self.transport.write(
            b"HTTP/1.1 %s\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n%s"
            b"Content-Length: %d\r\n\r\n%s" % (status, fields, len(text), text)
        )
        self.site.note_refused(len(text), status[:3].decode("ascii"))
        self._linger()


class Site(server.Site):
    """A web site that speaks HTTP/1.1 through `Channel`.

    `timeout`: seconds until a silent client is disconnected. `trusted_proxies`: the proxies whose
    forwarding headers are trusted. `public_url`: the URL that browsers use, if known. `limits`:
    what one client may hold, and how slowly it may send. `hosts`: which values of Host are
    accepted. `cors`: origins whose scripts may read; see `web.http.cors`. `hsts`: how long browsers
    use only https for the host of an https `public_url`. `access_log`: called with each request
    that was answered, also in part. `front_door`: the fast path, which answers repeated requests
    and writes to the access log itself. `ids`: the request ids, as in the access log; if given,
    each response of a route carries its id.
    """

    protocol = Channel  # without Twisted's wrapping protocol, which is for HTTP/2 only
    requestFactory = Request
    noisy = False

    def __init__(
        self,
        resource: IResource,
        *,
        reactor: IReactorTime,
        timeout: float = 60,
        trusted_proxies: TrustedProxies = TrustedProxies(),  # noqa: B008  # frozen
        access_log: Callable[[Request], object] | None = None,
        front_door: FastPath | None = None,
        ids: Ids | None = None,
        public_url: str | None = None,
        limits: ConnectionSettings = ConnectionSettings(),  # noqa: B008  # frozen
        hosts: HostPolicy | None = None,
        cors: tuple[str, ...] = (),
        hsts: timedelta = timedelta(),
        counts: Counts | None = None,
    ) -> None:
        super().__init__(resource, reactor=reactor, timeout=timeout)  # type: ignore[no-untyped-call]
        self.trusted_proxies = trusted_proxies
        self.public_url = public_url
        self.hosts = HostPolicy() if hosts is None else hosts
        self.cors = cors
        self.hsts = hsts_of(public_url, hsts)
        """The name of the host that is to be reached only by https, and the header that says so."""
        self.limits = ConnectionLimits(limits)
        self.seconds = reactor.seconds
        self._access_log = access_log
        self.counts = counts
        """Counts its responses, except those of the fast path."""
        self.ids = Ids() if ids is None else ids
        """The source of request ids."""
        self.tells_ids = ids is not None
        self.front_door = front_door
        self.turn: ReactorHook | None = None
        """The hook that shortens the reactor's turn for the fast path, while the site runs."""
        self.channels: set[Channel] = set()
        """The open connections."""

    def startFactory(self) -> None:
        super().startFactory()
        self.turn = None if self.front_door is None else shortened(self.reactor)

    def stopFactory(self) -> None:
        if self.turn is not None:
            self.turn.release()
            self.turn = None
        super().stopFactory()

    def _updateLogDateTime(self) -> None:
        """Do nothing: Twisted formats the reactor's clock as a date here, each second, for a log
        format that is not used.
        """

    def log(self, request: Request) -> None:  # type: ignore[override]  # always this Request
        """Log and count a response that is complete or was broken off."""
        if self.front_door is not None:
            self.front_door.flush()  # keeps the lines in the order of the responses
        if self.counts is not None:
            count_answer(self.counts, request, self.seconds())
        if self._access_log is not None:
            self._access_log(request)

    def note_received(self, size: int) -> None:
        """Count the bytes of a piece of a request's body."""
        if self.counts is not None:
            count_received(self.counts, size)

    def note_refused(self, size: int, status: str) -> None:
        """Count a response that does not come from a route; `size` is the number of bytes of its
        body.
        """
        if self.counts is not None:
            count_refused(self.counts, size, status)

    @property
    def busy(self) -> bool:
        """Whether a connection is open; after `drain`: one whose request is not answered yet."""
        return bool(self.channels)

    def drain(self) -> None:
        """Close idle connections; those with a request in progress are closed after its
        response.
        """
        for channel in tuple(self.channels):
            channel.drain()
        if self.front_door is not None:
            self.front_door.close()

    def abort(self) -> None:
        """Abort all remaining connections."""
        for channel in tuple(self.channels):
            channel.forceAbortClient()

    def acceptableProtocols(self) -> list[bytes]:
        """Return the ALPN protocols for TLS clients: never HTTP/2, even if the library for it is
        installed.
        """
        return [b"http/1.1"]
