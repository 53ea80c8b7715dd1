"""Whether the fast path may be used with the installed versions of Twisted and pyOpenSSL."""

from __future__ import annotations

import socket
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

from pypid.flow.coroutines import name_obstacle, version_obstacle
from pypid.web.fastpath.os import reactor_hook, socket_write, tls_wire

Requirement = tuple[object, tuple[str, ...]]
"""A class, a module or a sample instance, and the names that it must have."""


def obstacle(reactor: Any) -> str | None:
    """Return why the fast path cannot be used on this reactor; None if it can be used."""
    untested = version_obstacle("Twisted", "pyOpenSSL")
    if untested is not None:
        return untested
    try:
        needed = requirements(reactor)
    except Exception as error:  # a constructor that takes other arguments
        return f"{type(error).__name__}: {error}"
    missing = (name_obstacle(owner, names) for owner, names in needed)
    return next((reason for reason in missing if reason is not None), None)


def requirements(reactor: Any) -> list[Requirement]:
    """Return all private names that the fast path needs.

    Attributes that `__init__` or `makeConnection` set are required of a sample instance, since the
    class lacks them.
    """
    tls = _sample_tls()
    return [
        (_sample_connection(), socket_write.NAMES),
        *([(reactor, reactor_hook.NAMES)] if reactor_hook.is_epoll(reactor) else []),
        (tls, tls_wire.LAYER_NAMES),
        (getattr(tls, "_aggregator", None), tls_wire.AGGREGATOR_NAMES),
        (getattr(tls, "_tlsConnection", None), tls_wire.CONNECTION_NAMES),
        (SSL, tls_wire.MODULE_NAMES),
        (getattr(SSL, "_lib", None), tls_wire.LIBRARY_NAMES),
    ]


def _sample_connection() -> Connection:
    """Return an unconnected TCP transport."""
    with socket.socket() as unconnected:
        return Connection(unconnected, Protocol(), None)


def _sample_tls() -> BufferingTLSTransport:
    """Return a TLS transport that waits for its handshake."""
    factory = TLSMemoryBIOFactory(_Certificateless(), False, Factory.forProtocol(Protocol), Clock())
    transport = BufferingTLSTransport(factory, Protocol())
    transport.makeConnection(_Sink())  # type: ignore[no-untyped-call]
    return transport


@implementer(IOpenSSLServerConnectionCreator)
class _Certificateless:
    """Makes OpenSSL connections that need not get through a handshake."""

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD), None)


class _Sink:
    """A transport that drops what is written."""

    def write(self, data: bytes) -> None:
        pass
