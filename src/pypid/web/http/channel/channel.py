"""A connection: its life, its limits, its responses, and the fast path's interface to it.

The current request is in one of three states; the rest is `http.HTTPChannel`:

- its body is coming (`_receiving` is set); its handler runs, its response may have begun;
- its body is in, its response is not finished: twisted.web's own state (`_handlingRequest`);
- its response is finished, its body is not in: the channel lingers, so that the response is not
  lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from pypid.web.http.channel.framing import ONE_HOST
from pypid.web.http.channel.limits import RESERVE_TIMEOUT, LimitedChannel
from pypid.web.http.connections import ConnectionLimits
from pypid.web.http.proxies import HostPolicy, host_name
from pypid.web.http.request import (
    Request,
    RequestSite,
    ResponseRecorder,
    SentHead,
    host_at,
)
from pypid.web.http.request_ids import HEADER

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


@frozen(eq=False)
class FastPathConnection:
    """What a connection needs for the fast path."""

    lookup: FastPathLookup
    send: Callable[[Any, bytes], None]
    """Sends a short response by a transport."""
    direct: bool
    """Whether data may bypass the transport and go straight to the socket."""
    detach: Callable[[], object] | None
    """Called when the connection is lost, if the reactor hook reads for it."""


class FastPathSite(Protocol):
    """The fast path of a site (`web.fastpath.fast_path`)."""

    def attach(self, channel: Channel) -> FastPathConnection:
        """Return what a new connection needs for the fast path."""

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


class Channel(LimitedChannel):
    """One connection."""

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
        self.deadlines = self.site.limits.settings
        self.last_active = self.site.seconds()
        self.client = host_at(self.transport.getPeer())
        self.proxied = self.site.trusted_proxies.trust(self.client)
        self.any_host = self.proxied or self.client is None
        super().connectionMade()
        self.reserved = not self.site.limits.admit(self, None if self.proxied else self.client)
        if self.reserved:
            self._head_begins(RESERVE_TIMEOUT)
        elif self.site.fast_path is not None:
            attached = self.site.fast_path.attach(self)
            self.lookup, self.send, self.direct = attached.lookup, attached.send, attached.direct
            self._detach = attached.detach
            self.idle = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.site.channels.discard(self)
        self.site.limits.discard(self)
        if self._detach is not None:
            self._detach()
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
    def is_blocked(self) -> bool:
        """Whether the transport has more to send than its buffer takes."""
        return bool(self._waitingForTransport)

    # --- input ---

    def dataReceived(self, data: bytes) -> None:
        if self.idle and self.lookup is not None and self.lookup.answer(self, data):
            return
        self.read_on(data)

    def read_on(self, data: bytes) -> None:
        """Parse data that the fast path does not answer."""
        if self.lookup is None:
            self._read(data)
        else:
            self._read_and_record(self.lookup, data)

    def _read_and_record(self, lookup: FastPathLookup, data: bytes) -> None:
        """Parse data that the fast path does not answer, and become idle again if the request is
        answered already.
        """
        if self.idle:
            self.idle = False
            self._recorder = lookup.recorder_for(data)
        outermost, self._parsing = not self._parsing, True
        self._read(data)
        if outermost:
            self._parsing, self._recorder = False, None
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
        rest = self.last_active + (patience or 0) - self.site.seconds()
        if patience is None or not self.idle or rest <= 0:
            self.idle = False
            super().timeoutConnection()
        else:
            self.setTimeout(rest)
            self.timeOut = patience

    def _head_is_late(self) -> None:
        self._head_deadline = None
        self.idle = False
        self._refuse(TOO_SLOW, b"408 Request Timeout")
        self._give_up()

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
