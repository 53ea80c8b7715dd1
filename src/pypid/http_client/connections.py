"""HTTP connections that are reused, and ended if the head of a response is endless."""

# Twisted's web client is not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IAddress, IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from pypid.flow.transports import read_at_once
from pypid.http_client.dns import resolving_once
from pypid.http_client.public_only import PublicOnly
from pypid.http_client.trust import Trust

if TYPE_CHECKING:
    from twisted.web.client import URI, HTTPConnectionPool

LONGEST_HEAD = 1 << 18
"""Bytes of headers, and of all the 1xx answers before them: Twisted bounds a line, but not their
number.
"""
PER_READ = 1 << 18
"""Bytes that are read from a connection at a time: each read passes through ten calls, however
little it brings.
"""


@frozen
class HttpConnections:
    """The connections to a service: `agent` sends requests; `close` ends the idle connections after
    the last request.
    """

    agent: IAgent
    _pool: HTTPConnectionPool | _LazyAgent

    def close(self) -> Deferred[Any]:
        """Close the idle connections; fires when they are closed."""
        closed: Deferred[Any] = self._pool.closeCachedConnections()
        return closed


@implementer(IAgent)
@define(eq=False)
class _LazyAgent:
    """An agent and its pool, created at the first request: a start, and a page of a local project,
    need no HTTP client.
    """

    make: Callable[[], tuple[IAgent, HTTPConnectionPool]]
    made: tuple[IAgent, HTTPConnectionPool] | None = None

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        if self.made is None:
            self.made = self.make()
        return self.made[0].request(method, uri, headers, bodyProducer)

    def closeCachedConnections(self) -> Deferred[Any]:
        closed: Deferred[Any] = (
            succeed(None) if self.made is None else self.made[1].closeCachedConnections()
        )
        return closed


IsTrustedHost = Callable[[str, int], bool]
"""Whether a host and port may have an address that is not public."""


def connections(
    reactor: Any,
    trust: Trust,
    timeout: float,
    *,
    idle: int,
    idle_time: int,
    retry: bool = False,
    is_trusted_host: IsTrustedHost | None = None,
) -> HttpConnections:
    """Return connections over the network of `reactor`, each of which is made within `timeout`
    seconds.

    At most `idle` of them wait to be used again, each for at most `idle_time` seconds. `retry`: a
    safe request over a connection that turns out to be closed is sent once more over another; else
    retries are left to the caller. `is_trusted_host`: the hosts that are reached at any address,
    all others at public ones only (`NotPublic`); None where every URL comes from the configuration.
    """

    def make() -> tuple[IAgent, HTTPConnectionPool]:
        from twisted.web.client import Agent, HTTPConnectionPool

        class Pool(HTTPConnectionPool):
            maxPersistentPerHost = idle
            cachedConnectionTimeout = idle_time
            retryAutomatically = retry

        pool = Pool(reactor)
        return Agent.usingEndpointFactory(
            reactor, _Endpoints(resolving_once(reactor), trust, timeout, is_trusted_host), pool
        ), pool

    lazy = _LazyAgent(make)
    return HttpConnections(lazy, lazy)


@implementer(IAgentEndpointFactory)
@frozen
class _Endpoints:
    reactor: Any
    trust: Trust
    timeout: float
    is_trusted_host: IsTrustedHost | None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii")
        is_checked = self.is_trusted_host is not None and not self.is_trusted_host(host, uri.port)
        reactor = PublicOnly(self.reactor) if is_checked else self.reactor
        endpoint: Any = HostnameEndpoint(reactor, host, uri.port, timeout=self.timeout)
        if uri.scheme == b"https":
            endpoint = wrapClientTLS(self.trust.creatorForNetloc(uri.host, uri.port), endpoint)
        bounded: IStreamClientEndpoint = _Bounded(endpoint)
        return bounded


@implementer(IStreamClientEndpoint)
@frozen
class _Bounded:
    """An endpoint whose connections reject a response head that is too long."""

    endpoint: Any

    def connect(self, protocolFactory: Any) -> Deferred[IProtocol]:
        connected: Deferred[Any] = self.endpoint.connect(_BoundedFactory(protocolFactory))
        return connected.addCallback(lambda bounded: bounded.protocol)


class _BoundedFactory(Factory):
    """A factory that puts a `_BoundedHead` before each protocol of the pool's."""

    noisy = False

    def __init__(self, wrapped: Any) -> None:
        self._wrapped = wrapped

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return _BoundedHead(self._wrapped.buildProtocol(addr))


class _BoundedHead(Protocol):
    """Passes what is received on to Twisted's `protocol`, and counts the bytes that come while the
    head of a response is incomplete.
    """

    transport: Any

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self._count = 0

    def connectionMade(self) -> None:
        read_at_once(self.transport, PER_READ)
        self.protocol.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        parser = self.protocol._parser
        if parser is None or parser.state not in ("STATUS", "HEADER"):
            self._count = 0
        else:
            self._count += len(data)
        if self._count > LONGEST_HEAD:
            self.transport.abortConnection()
        else:
            self.protocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.protocol.connectionLost(reason)
