"""Connections of slow clients: deadlines for what a client sends, and a lingering close, so that a
response is not lost while its client is still sending.

A timeout of silence alone is renewed by each byte, so a client that sends a byte a minute would
hold a connection for ever.

Unread data makes the kernel send a RST when the socket is closed, and a RST destroys what the
client has not read yet (RFC 9112, 9.6). So the channel closes for writing, and goes on reading for
a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from pypid.web.http.connections import ConnectionSettings

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
