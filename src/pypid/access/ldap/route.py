"""The connection to the directory: Twisted makes it, and libldap gets one end of a socket pair.

libldap could connect by itself, but without time limits: its address lookup is unbounded, and its
TLS handshake loops forever with a server that sends nothing (2.5 with GnuTLS, which is Debian's).
Which certificates it trusts depends on its build, on ldap.conf and on the environment. And it
reconnects without StartTLS. Here the rules are those of every other server that pypid connects to,
and ending the connection ends whatever libldap waits for.
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

from pypid.core.configuration.value_kinds import is_readable_on_the_way
from pypid.flow import start
from pypid.http_client.dns import resolving_once
from pypid.http_client.faults import Fault, fault_of
from pypid.http_client.trust import Trust

_PORTS = {"ldap": 389, "ldaps": 636}
_FAREWELL = 1.0
"""Seconds that the directory has to close the connection."""
START_TLS = bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
"""The extended request with the OID of StartTLS (RFC 4511, 4.14), as message 1: it is sent before
libldap has the connection.
"""

_LONGEST_ANSWER = 4096
"""Bytes of an answer."""


class _Side(Protocol):
    """One of two joined connections: it forwards what it receives to the other, no faster than that
    one can send.
    """

    transport: Any

    def __init__(self) -> None:
        self.other: _Side | None = None
        self.closed: Deferred[None] = Deferred()
        self.lost: Failure | None = None

    def join(self, other: _Side) -> None:
        """Forward everything to the other side."""
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
        ):  # a lost transport supports none of these calls
            self.other.transport.unregisterProducer()
            self.other.transport.loseConnection()
        self.closed.callback(None)


class _Far(_Side):
    """The connection to the directory."""

    def __init__(self) -> None:
        super().__init__()
        self._received = b""
        self._answered: Deferred[None] | None = None

    async def start_tls(self, creator: Any) -> None:
        """Begin encryption. Raises `Fault` if the directory refuses."""
        self._answered = Deferred()
        self.transport.write(START_TLS)
        await self._answered
        self.transport.startTLS(creator)

    def dataReceived(self, data: bytes) -> None:
        if self._answered is None or self._answered.called:
            super().dataReceived(data)
            return
        self._received += data
        try:
            if accepts_tls(self._received):
                self._answered.callback(None)
        except ValueError as error:
            self._answered.errback(Fault(str(error), lasting=True))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._answered is not None and not self._answered.called:
            self._answered.errback(reason)


@frozen
class Pipe:
    """A connection to the directory, and `descriptor`: libldap's unencrypted end of it, which
    libldap closes.
    """

    descriptor: int
    _clock: Any
    _far: _Far
    _near: _Side

    def abort(self) -> None:
        """End the connection now; the reader at the other end sees the end."""
        for side in (self._far, self._near):
            if side.lost is None:
                side.transport.abortConnection()

    async def closed(self) -> None:
        """Wait until it is closed, after libldap has closed its end; abort it after `_FAREWELL`
        seconds.
        """
        late = self._clock.callLater(_FAREWELL, self.abort)
        await self._near.closed
        await self._far.closed
        if late.active():
            late.cancel()

    def fault(self) -> Exception | None:
        """Return why the directory's end was lost, or None if it was closed in order."""
        lost = self._far.lost
        if lost is None or not isinstance(lost.value, Exception):
            return None
        return fault_of(lost.value)


class DirectoryRoute:
    """Opens connections to the directory. `url` is that of the configuration."""

    def __init__(
        self, url: str, trust: Trust, step: float, reactor: Any, *, start_tls: bool
    ) -> None:
        address = urlsplit(url)
        host = (address.hostname or "").encode("ascii")
        port = address.port or _PORTS[address.scheme]
        self._reactor = reactor
        self._start_tls = start_tls
        self._creator = trust.creatorForNetloc(host, port)
        self._endpoint: Any = HostnameEndpoint(
            resolving_once(reactor), host.decode("ascii"), port, timeout=step
        )
        if address.scheme == "ldaps":
            self._endpoint = wrapClientTLS(self._creator, self._endpoint)

    async def open(self, within: float) -> Pipe:
        """Return a new connection. Raises `Fault`, and Twisted's `TimeoutError` when it takes
        longer than `within` seconds.
        """
        far: _Far = await start(self._connected()).addTimeout(within, self._reactor)
        try:
            reactor_end, library_end = socket.socketpair()
        except OSError as error:
            far.transport.abortConnection()
            raise Fault(f"{error.strerror} here.", connected=False) from None
        near = _Side()
        try:
            self._reactor.adoptStreamConnection(reactor_end.fileno(), socket.AF_UNIX, _once(near))
        except BaseException:
            library_end.close()
            far.transport.abortConnection()
            raise
        finally:
            reactor_end.close()  # the reactor has adopted a duplicate
        near.join(far)
        far.join(near)
        return Pipe(library_end.detach(), self._reactor, far, near)

    async def _connected(self) -> _Far:
        try:
            far: _Far = await self._endpoint.connect(_Quiet.forProtocol(_Far))
        except Exception as error:
            raise fault_of(error) from None
        if self._start_tls:
            try:
                await far.start_tls(self._creator)
            except BaseException as error:
                far.transport.abortConnection()
                if isinstance(error, Fault) or not isinstance(error, Exception):
                    raise
                raise fault_of(error) from None
        return far


class _Quiet(Factory):
    """A factory that makes one connection and logs neither its start nor its end, since each lookup
    has one.
    """

    noisy = False


def _once(protocol: Protocol) -> Factory:
    return _Quiet.forProtocol(lambda: protocol)


def is_encrypted_first(url: str, certificates_are_named: bool) -> bool:
    """Return whether StartTLS has to succeed before anything is sent: with ``ldap://``, unless it
    stays on this machine.

    Also on this machine, if certificates are configured to check it by.
    """
    return urlsplit(url).scheme == "ldap" and (
        certificates_are_named or is_readable_on_the_way(url)
    )


# --- StartTLS -------------------------------------------------------------------------------------


def accepts_tls(received: bytes) -> bool:
    """Return whether `received` is the complete positive answer to `START_TLS`; False: there is
    more to come.

    Raises `ValueError` with the reason for a refusal, for an invalid answer, and for any bytes
    after it: they would be taken for encrypted content.
    """
    whole = _element(received, 0x30)
    if whole is None:
        return False
    content, rest = whole
    if rest:
        raise ValueError("it sent more than the answer before encryption (StartTLS).")
    number = _element(content, 0x02)
    reply = number and _element(number[1], 0x78)
    code = reply and _element(reply[0], 0x0A)
    if not number or not code:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if number[0] != b"\1" or code[0] != b"\0":
        raise ValueError(
            f"it does not want to encrypt (StartTLS, result {code[0].hex() or '?'}); ldaps:// may "
            "be what it has."
        )
    return True


def _element(data: bytes, tag: int) -> tuple[bytes, bytes] | None:
    """Return the content of the element that `data` begins with, and the bytes after it; None if it
    is incomplete.
    """
    if data[:1] != bytes([tag])[: len(data)]:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start])
    if start > 6 or size > _LONGEST_ANSWER:
        raise ValueError("its answer to StartTLS is no LDAP.")
    if len(data) < start + size:
        return None
    return data[start : start + size], data[start + size :]
