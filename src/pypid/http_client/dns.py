"""Addresses of hosts, resolved once for all connections of the same time.

An installer causes fifty connections at once. Name servers, those of containers and home routers
first of all, drop some of fifty equal queries: those take 5 seconds, or fail, and each keeps a
thread waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.logger import Logger
from zope.interface import implementer

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
