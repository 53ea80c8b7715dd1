"""What the limits on open connections mean for one connection (`web.http.connections`): it may be
closed for another one, or only be used for requests about the health of the service.
"""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted
from twisted.internet.tcp import Connection
from twisted.python.failure import Failure

from pypid.web.http.channel.bodies import BodyChannel
from pypid.web.http.request import Request

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
