"""One pypid's upstream in front of another pypid, in memory: connections are buffers that are
pumped by hand.
"""

# Twisted's web client and fake transports are not annotated
from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from zope.interface import implementer

from pypid.flow import start

T = TypeVar("T")


@implementer(IAgentEndpointFactory, IStreamClientEndpoint)
@define(eq=False)
class Wires:
    """All connections to one site: an `IAgent` makes them, `pump` lets the bytes through."""

    site: Any
    clock: Clock
    pumps: list[IOPump] = field(factory=list)
    away: bool = False

    def agent(self) -> IAgent:
        """An agent that reaches the site under any name."""
        made: IAgent = Agent.usingEndpointFactory(self.clock, self, HTTPConnectionPool(self.clock))
        return made

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        return self

    def take_away(self) -> None:
        """No connection can be made any more, and those that wait end."""
        self.away = True
        for pump in self.pumps:
            pump.serverIO.abortConnection()
            pump.flush()

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        if self.away:
            return fail(ConnectionRefusedError())
        client, server = protocolFactory.buildProtocol(None), self.site.buildProtocol(None)
        ends = (
            server,
            FakeTransport(server, isServer=True),
            client,
            FakeTransport(client, isServer=False),
        )
        self.pumps.append(connect(*ends, greet=True))
        return succeed(client)

    def pump(self) -> bool:
        """Let through what waits; whether anything did."""
        moved = [pump.pump() for pump in self.pumps]
        return any(moved)

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns, or raises, while the bytes flow."""
        results: list[T] = []
        failures: list[BaseException] = []
        start(coroutine).addCallbacks(
            results.append, lambda failure: failures.append(failure.value)
        )
        for _ in range(10_000):
            if results:
                return results[0]
            if failures:
                raise failures[0]
            if not self.pump():
                self.clock.advance(0.01)
        raise AssertionError("it waits for ever")
