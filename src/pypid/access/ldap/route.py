"""The way to the directory: a connection of Twisted's, of which libldap gets the end of a pair of
sockets.

libldap could connect by itself, but not all of it would end: looking for an address is not bounded,
and in a TLS handshake with somebody who says nothing it turns in circles for ever (2.5 with GnuTLS,
which is Debian's). Whom it trusts depends on what it was built with, on ldap.conf and on the
environment. And what it opens anew by itself, it opens without StartTLS. Here all is as with every
other server that pypid asks; and whatever libldap waits for ends when the connection is ended
(decision 0017).
"""

# Twisted's endpoints and transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from pypid.access.ldap.starttls import REQUEST, answer
from pypid.core.configuration.value_kinds import is_readable_on_the_way
from pypid.flow import start
from pypid.http_client.dns import resolving_once
from pypid.http_client.faults import Fault, understood
from pypid.http_client.trust import Trust

_PORTS = {"ldap": 389, "ldaps": 636}
_FAREWELL = 1.0
"""Seconds that the directory has to take leave."""


class _Side(Protocol):
    """One of two connections; what comes here goes out there, and no faster than it can."""

    transport: Any

    def __init__(self) -> None:
        self.other: _Side | None = None
        self.closed: Deferred[None] = Deferred()
        self.lost: Failure | None = None

    def join(self, other: _Side) -> None:
        """Send everything on to the other side."""
        self.other = other
        if other.lost is None:
            other.transport.registerProducer(self.transport, True)
        else:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None and self.other.lost is None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason
        if (
            self.other is not None and self.other.lost is None
        ):  # a transport that is lost can do nothing of this
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()
        self.closed.callback(None)


class _Far(_Side):
    """The connection to the directory."""

    def __init__(self) -> None:
        super().__init__()
        self._heard = b""
        self._answered: Deferred[None] | None = None

    async def start_tls(self, creator: Any) -> None:
        """Begin encryption. Raises `Fault` where the directory does not want to."""
        self._answered = Deferred()
        self.transport.write(REQUEST)
        await self._answered
        self.transport.startTLS(creator)

    def dataReceived(self, data: bytes) -> None:
        if self._answered is None or self._answered.called:
            super().dataReceived(data)
            return
        self._heard += data
        try:
            if answer(self._heard):
                self._answered.callback(None)
        except ValueError as error:
            self._answered.errback(Fault(str(error), lasting=True))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._answered is not None and not self._answered.called:
            self._answered.errback(reason)


@frozen
class Pipe:
    """A connection, and `descriptor`: libldap's end of it, in clear, which libldap closes."""

    descriptor: int
    _clock: Any
    _far: _Far
    _near: _Side

    def abort(self) -> None:
        """End it now: whoever waits at the other end hears so."""
        for side in (self._far, self._near):
            if side.lost is None:
                side.transport.abortConnection()

    async def closed(self) -> None:
        """Wait until it is closed, libldap having closed its end; not for long."""
        late = self._clock.callLater(_FAREWELL, self.abort)
        await self._near.closed
        await self._far.closed
        if late.active():
            late.cancel()

    def fault(self) -> Exception | None:
        """Why the directory's end was lost, if it was not closed in order."""
        lost = self._far.lost
        if lost is None or not isinstance(lost.value, Exception):
            return None
        return understood(lost.value)


class DirectoryRoute:
    """How the directory is reached. `url` is that of the configuration."""

    def __init__(
        self, url: str, trust: Trust, step: float, reactor: Any, *, start_tls: bool
    ) -> None:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("ascii")
        port = parts.port or _PORTS[parts.scheme]
        self._reactor = reactor
        self._start_tls = start_tls
        self._creator = trust.creatorForNetloc(host, port)
        self._endpoint: Any = HostnameEndpoint(
            resolving_once(reactor), host.decode("ascii"), port, timeout=step
        )
        if parts.scheme == "ldaps":
            self._endpoint = wrapClientTLS(self._creator, self._endpoint)

    async def open(self, within: float) -> Pipe:
        """A new connection. Raises `Fault`, and Twisted's `TimeoutError` when it took longer than
        `within` seconds.
        """
        far: _Far = await start(self._connected()).addTimeout(within, self._reactor)
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            far.transport.abortConnection()
            raise Fault(f"{error.strerror} here.", heard=False) from None
        near = _Side()
        try:
            self._reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, _once(near))
        except BaseException:
            theirs.close()
            far.transport.abortConnection()
            raise
        finally:
            ours.close()  # adopted is a duplicate
        near.join(far)
        far.join(near)
        return Pipe(theirs.detach(), self._reactor, far, near)

    async def _connected(self) -> _Far:
        try:
            far: _Far = await self._endpoint.connect(_Quiet.forProtocol(_Far))
        except Exception as error:
            raise understood(error) from None
        if self._start_tls:
            try:
                await far.start_tls(self._creator)
            except BaseException as error:
                far.transport.abortConnection()
                if isinstance(error, Fault) or not isinstance(error, Exception):
                    raise
                raise understood(error) from None
        return far


class _Quiet(Factory):
    """Makes one connection, and logs neither its start nor its end: each look-up has one."""

    noisy = False


def _once(protocol: Protocol) -> Factory:
    return _Quiet.forProtocol(lambda: protocol)


def is_encrypted_first(url: str, certificates_are_named: bool) -> bool:
    """Whether StartTLS has to succeed before anything is said: with ``ldap://``, unless it stays on
    this machine.

    There, too, if certificates are named to check it by.
    """
    return urlsplit(url).scheme == "ldap" and (
        certificates_are_named or is_readable_on_the_way(url)
    )
