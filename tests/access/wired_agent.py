"""An agent whose connections to a service are in memory."""

# Twisted's web server, client and fake transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer


@implementer(IAgent, IAgentEndpointFactory)
@define(eq=False)
class Wired:
    """An agent whose connections are in memory, each for one question; the bytes flow when it is
    asked, and by `flow`.
    """

    service: Resource
    clock: Clock
    _pumps: list[IOPump] = field(factory=list)
    _flowing: bool = False

    def request(
        self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None
    ) -> Deferred[IResponse]:
        agent = Agent.usingEndpointFactory(
            self.clock, self, HTTPConnectionPool(self.clock, persistent=False)
        )
        asked: Deferred[IResponse] = agent.request(method, uri, headers, bodyProducer)
        self.flow()
        return asked

    def endpointForURI(self, uri: URI) -> Any:
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        client, server = (
            factory.buildProtocol(None),
            Site(self.service, reactor=self.clock).buildProtocol(None),
        )
        ends = (
            server,
            FakeTransport(server, isServer=True),
            client,
            FakeTransport(client, isServer=False),
        )
        self._pumps.append(connect(*ends))
        connected: Deferred[Any] = Deferred()
        connected.callback(client)
        return connected

    def flow(self) -> None:
        """Let all bytes through, also those that they cause; whoever asks meanwhile is not answered
        on the spot.
        """
        if self._flowing:
            return
        self._flowing = True
        try:
            while any(pump.pump() for pump in self._pumps):
                pass
        finally:
            self._flowing = False
