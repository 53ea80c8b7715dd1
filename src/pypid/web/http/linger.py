"""Lingering close of connections whose client is still sending, so that the response is not lost.

Unread data makes the kernel send a RST when the socket is closed, and a RST destroys what the
client has not read yet (RFC 9112, 9.6). So the channel closes for writing, and goes on reading for
a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from typing import Any as HTTPChannel  # Twisted's is hardly annotated
else:
    from twisted.web.http import HTTPChannel

LINGER = 30.0
"""Seconds that a client gets for the rest of a body that is discarded."""
LINGER_IDLE = 5.0
"""Seconds of silence after which such a client has had enough time to read its response."""


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
