"""A service that knows people, in memory: honest, and it counts what it is asked. (tests/live has
one that is neither.)
"""

# Twisted's web server, client and fake transports are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

TYPE = "application/vnd.pypid.people.v1+json"


def answer(
    path: str, asked: Mapping[str, Any], people: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """What an honest service says: `people` have ``password``, ``groups`` and
    ``admin``, by name.
    """
    person = people.get(asked["user"])
    if person is None:
        return {"answer": "unknown"}
    said = {"user": asked["user"], "groups": list(person["groups"]), "admin": person["admin"]}
    if path.endswith("/find"):
        return {"answer": "known", **said}
    return (
        {"answer": "right", **said}
        if asked["password"] == person["password"]
        else {"answer": "wrong"}
    )


class Service(Resource):
    """Answers at ``/check`` and ``/find``; while it is `held` it does not."""

    isLeaf = True

    def __init__(self, people: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__()
        self.people = dict(people)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.heard: list[dict[str, str]] = []
        self.says: dict[str, Any] | None = None
        """In place of the truth."""
        self.status = 200
        self.held = False
        self._waiting: list[Request] = []

    def render_POST(self, request: Any) -> Any:
        """One question."""
        asked = json.load(request.content)
        self.asked.append((request.path.decode(), asked))
        fields = request.requestHeaders.getAllRawHeaders()
        self.heard.append({name.decode().lower(): values[0].decode() for name, values in fields})
        said = self.says or answer(request.path.decode(), asked, self.people)
        request.setResponseCode(self.status)
        request.setHeader("Content-Type", TYPE)
        document = json.dumps(said).encode()
        if not self.held:
            return document
        request.write(document)
        self._waiting.append(request)
        request.notifyFinish().addErrback(lambda gone: self._waiting.remove(request))
        return NOT_DONE_YET

    def release(self) -> None:
        """Answer all that wait."""
        self.held = False
        while self._waiting:
            self._waiting.pop().finish()


@implementer(IAgent, IAgentEndpointFactory)
@define(eq=False)
class Wired:
    """An agent whose connections are in memory, each for one question; the bytes flow when it is
    asked, and by `flow`.
    """

    service: Service
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
