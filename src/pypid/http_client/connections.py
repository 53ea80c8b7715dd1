"""Connections to other servers: reused, resolved once, trusted, and public only where asked.

HTTP connections that are reused, and ended if the head of a response is endless.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from twisted.internet import error as network
from twisted.internet._sslverify import (
    IOpenSSLTrustRoot,
)
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    optionsForClientTLS,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from pypid.core.errors import CannotStart
from pypid.flow.coroutines import read_at_once

if TYPE_CHECKING:
    from twisted.web.client import URI, HTTPConnectionPool


# Addresses of hosts, resolved once for all connections of the same time.
#
# An installer causes fifty connections at once. Name servers, those of containers and home routers
# first of all, drop some of fifty equal queries: those take 5 seconds, or fail, and each keeps a
# thread waiting.

_log = Logger()

LASTING = 30.0
"""Seconds that an answer is cached: no longer than name servers mean it to be."""

_Question = tuple[str, int, tuple[type[IAddress], ...] | None, str]


@implementer(IHostResolution)
@frozen
class _Resolution:
    name: str

    def cancel(self) -> None:
        """Not supported: no caller uses it, and others may wait for the same answer."""
        raise NotImplementedError


@implementer(IHostnameResolver)
@define(eq=False)
class HostResolver:
    """A resolver that queries `inner`, once at a time for each host; a failure is passed to all
    waiting callers, and not cached.
    """

    inner: IHostnameResolver
    clock: IReactorTime
    _known: dict[_Question, tuple[float, list[IAddress]]] = field(
        factory=dict, init=False, repr=False
    )
    """The addresses, and until when they are valid."""
    _waiting: dict[_Question, list[IResolutionReceiver]] = field(
        factory=dict, init=False, repr=False
    )

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        question = (
            hostName,
            portNumber,
            None if addressTypes is None else tuple(addressTypes),
            transportSemantics,
        )
        known = self._known.get(question)
        if known is not None and self.clock.seconds() < known[0]:
            _deliver(resolutionReceiver, known[1])
        elif question in self._waiting:
            self._waiting[question].append(resolutionReceiver)
        else:
            self._waiting[question] = [resolutionReceiver]
            self.inner.resolveHostName(
                _Answer(self, question), hostName, portNumber, addressTypes, transportSemantics
            )
        return resolution

    def answered(self, question: _Question, addresses: list[IAddress]) -> None:
        """Pass the addresses that `inner` found to the waiting callers."""
        now = self.clock.seconds()
        self._known = {other: known for other, known in self._known.items() if now < known[0]}
        if addresses:
            self._known[question] = (now + LASTING, addresses)
        for receiver in self._waiting.pop(question):
            try:
                _deliver(receiver, addresses)
            except Exception:
                _log.failure(
                    "a caller that waited for the address of {host} failed", host=question[0]
                )


@implementer(IResolutionReceiver)
@define(eq=False)
class _Answer:
    """The receiver of the result of `HostResolver.inner`."""

    resolver: HostResolver
    question: _Question
    _addresses: list[IAddress] = field(factory=list, init=False)

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        self.resolver.answered(self.question, self._addresses)


def _deliver(receiver: IResolutionReceiver, addresses: list[IAddress]) -> None:
    for address in addresses:
        receiver.addressResolved(address)
    receiver.resolutionComplete()


@implementer(IReactorPluggableNameResolver)
class _Reactor:
    """A reactor with another resolver."""

    def __init__(self, reactor: Any, resolver: HostResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


def resolving_once(reactor: Any) -> Any:
    """Return the reactor for `HostnameEndpoint`s, whose hosts are then resolved by a
    `HostResolver`.
    """
    if not IReactorPluggableNameResolver.providedBy(reactor):
        return reactor
    clock: Any = reactor
    return _Reactor(reactor, HostResolver(reactor.nameResolver, clock))


# Trusted certificates: those of the system's authorities, and those of the configuration.

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def certificates(pem: bytes, setting: str) -> tuple[Certificate, ...]:
    """Return the certificates in a PEM file; raises `CannotStart` if there are none, or one is
    unreadable.

    `setting` is the setting that names the file, for the message.
    """
    try:
        found = tuple(Certificate.loadPEM(block) for block in _PEM.findall(pem))
    except crypto.Error:
        found = ()
    if not found:
        raise CannotStart(
            f"{setting} is no PEM file with certificates. Correct it, or leave it empty."
        )
    return found


@implementer(IOpenSSLTrustRoot)
@frozen(eq=False)
class _Both:
    """The system's authorities and others."""

    others: Any

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        platformTrust()._addCACertsToContext(context)
        self.others._addCACertsToContext(context)


@implementer(IPolicyForHTTPS)
@define(eq=False)
class Trust:
    """The verification of servers. Reading the system's authorities takes some ten milliseconds, so
    the result for a host is cached.

    (Twisted checks the host's name in OpenSSL's callback: setting another one, for better messages,
    would end that.)
    """

    authorities: Sequence[Certificate] = ()
    _made: Any = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._made = lru_cache(maxsize=64)(self._make)

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        made: IOpenSSLClientConnectionCreator = self._made(hostname)
        return made

    def _make(self, hostname: bytes) -> IOpenSSLClientConnectionCreator:
        root = (
            _Both(trustRootFromCertificates(self.authorities))
            if self.authorities
            else platformTrust()
        )
        made: IOpenSSLClientConnectionCreator = optionsForClientTLS(
            hostname.decode("ascii"), trustRoot=root
        )
        return made


# What can go wrong between this process and another service.


class Fault(Exception):
    """No response, or half of one. `reason` is for display and contains no URL.

    `timed_out`: nothing came in time. `connected`: there was a connection, so the request may have
    been processed. `lasting`: a retry is useless before an administrator changes something.
    """

    def __init__(
        self, reason: str, *, timed_out: bool = False, connected: bool = True, lasting: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.timed_out = timed_out
        self.connected = connected
        self.lasting = lasting


UNVERIFIED = "its certificate has expired, or is of an authority that is not known here."

_CERTAIN: tuple[tuple[type[BaseException], str], ...] = (
    (VerificationError, "its certificate is for another host."),
    (CertificateError, "its certificate names no host that can be checked."),
)
_FAULTS: tuple[tuple[type[BaseException], str], ...] = (
    (SSL.Error, "TLS could not be agreed on."),
    (network.DNSLookupError, "its host has no address (DNS)."),
    (network.ConnectionRefusedError, "it refuses connections."),
    (network.NoRouteError, "no way leads to it."),
    (network.SSLError, "TLS could not be agreed on."),
    (network.ConnectError, "no connection can be made to it."),
)
_CLOSED = (network.ConnectionLost, network.ConnectionDone, network.ConnectionAborted)
_LATE = (network.TimeoutError, network.TCPTimedOutError)


def fault_of(error: Exception) -> Exception:
    """Return what to raise for an error of the network, TLS or HTTP: a `Fault`, or the
    cancellation.
    """
    causes = tuple(_causes(error))
    if any(isinstance(cause, CancelledError) for cause in causes):
        return CancelledError()
    known = next((cause for cause in causes if isinstance(cause, Fault)), None)
    if known is not None:
        return known
    if any(
        isinstance(cause, SSL.Error) and "certificate verify failed" in str(cause)
        for cause in causes
    ):
        return Fault(UNVERIFIED, connected=False, lasting=True)
    for kind, reason in _CERTAIN:
        if any(isinstance(cause, kind) for cause in causes):
            return Fault(reason, connected=False, lasting=True)
    if any(isinstance(cause, _LATE) for cause in causes):
        return Fault("no connection could be made in time.", timed_out=True, connected=False)
    for kind, reason in _FAULTS:
        if any(isinstance(cause, kind) for cause in causes):
            return Fault(reason, connected=False)
    if any(isinstance(cause, _CLOSED) for cause in causes):
        return Fault("it closed the connection instead of answering.")
    return Fault(f"its answer is not HTTP that can be understood ({type(causes[-1]).__name__}).")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the exception, and all that Twisted has wrapped in it."""
    yield error
    for reason in getattr(error, "reasons", None) or ():
        if isinstance(reason, Failure) and reason.value is not None:
            yield from _causes(reason.value)


# Connections to public addresses only, for URLs that another service chose (server-side request
# forgery).
#
# The check is made where the connection is opened, on the address that was resolved: a name that
# resolves to something else on the second look (DNS rebinding) gains nothing, and neither does
# another spelling of an address.

_RESERVED = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this network": 0.0.0.0 connects to this machine
        "100.64.0.0/10",  # carrier-grade NAT; some clouds have their metadata service there
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "64:ff9b::/96",  # NAT64: an IPv4 address in disguise
        "64:ff9b:1::/48",
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)
"""Refused whatever this version of `ipaddress` says of them: that differs between releases of
Python.
"""


class NotPublic(Fault):
    """The host's address is not public, so no connection was opened."""

    def __init__(self) -> None:
        super().__init__("its address is not public.", connected=False, lasting=True)


def is_public(address: str) -> bool:
    """Return whether this is the text of an address on the internet, and not of this machine or its
    network.
    """
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if parsed.is_multicast or not parsed.is_global:
        return False
    return not any(parsed in network for network in _RESERVED)


@implementer(IReactorPluggableNameResolver)
class PublicOnly:
    """A reactor for `HostnameEndpoint`s that connects to public addresses only."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.nameResolver = reactor.nameResolver

    def connectTCP(self, host: str, *args: Any, **more: Any) -> Any:
        """Connect to an address. Raises `NotPublic`, which the endpoint passes on."""
        if not is_public(host):
            raise NotPublic()
        return self._reactor.connectTCP(host, *args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


# Twisted's web client is not annotated
# mypy: allow-untyped-calls


LONGEST_HEAD = 1 << 18
"""Bytes of headers, and of all the 1xx answers before them: Twisted bounds a line, but not their
number.
"""
PER_READ = 1 << 18
"""Bytes that are read from a connection at a time: each read passes through ten calls, however
little it brings.
"""


@implementer(IAgent)
@define(eq=False)
class HttpConnections:
    """The connections to a service. Its agent and pool are created at the first request: a start,
    and a page of a local project, need no HTTP client.
    """

    _make: Callable[[], tuple[IAgent, HTTPConnectionPool]]
    _made: tuple[IAgent, HTTPConnectionPool] | None = field(default=None, init=False)

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        if self._made is None:
            self._made = self._make()
        return self._made[0].request(method, uri, headers, bodyProducer)

    def close(self) -> Deferred[Any]:
        """Close the idle connections after the last request; fires when they are closed."""
        closed: Deferred[Any] = (
            succeed(None) if self._made is None else self._made[1].closeCachedConnections()
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

    return HttpConnections(make)


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
