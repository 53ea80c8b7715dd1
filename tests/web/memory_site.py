"""A plain twisted.web site over a transport in memory, for those who look at answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.parser import BytesParser

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from pypid.flow import start


@frozen
class Answer:
    """What came back."""

    status: int
    reason: str
    head: dict[str, str]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        return self.head.get(name.lower())


class Talk:
    """One connection to a site whose only resource is `respond`, which writes an answer as routes
    do.
    """

    def __init__(self, respond: Callable[[Request], Awaitable[object]]) -> None:
        self.clock = Clock()
        self.site = Site(Answering(respond), reactor=self.clock)
        self.site.log = lambda request: None
        self.transport = StringTransport()
        self.channel = HTTPChannel()
        self.channel.site = self.channel.factory = self.site
        self.channel.requestFactory = self.site.requestFactory
        self.channel.callLater = self.clock.callLater
        self.channel.makeConnection(self.transport)

    @property
    def results(self) -> list[object]:
        """What became of each request: None, or the Failure."""
        return self.site.resource.results

    def send(self, request: str, headers: dict[str, str] | None = None) -> None:
        """Send a request such as ``GET /x``."""
        lines = [
            f"{request} HTTP/1.1",
            "Host: index",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        self.channel.dataReceived("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def lose(self) -> None:
        """The client goes away (as a socket does, whose producer is told first)."""
        if self.transport.producer is not None:
            self.transport.producer.stopProducing()
        self.channel.connectionLost(Failure(ConnectionAborted()))


class Answering(Resource):
    isLeaf = True

    def __init__(self, respond: Callable[[Request], Awaitable[object]]) -> None:
        super().__init__()
        self._respond = respond
        self.results: list[object] = []
        self.running: list[Deferred[object]] = []

    def render(self, request: Request) -> int:
        async def run() -> object:
            return await self._respond(request)

        running = start(run())
        self.running.append(running)
        running.addCallback(lambda _: request.finish())
        running.addBoth(self.results.append)
        return NOT_DONE_YET


def ask(
    respond: Callable[[Request], Awaitable[object]],
    request: str = "GET /",
    headers: dict[str, str] | None = None,
) -> Answer:
    """The answer to one request; the body is exactly as long as Content-Length says."""
    talk = Talk(respond)
    talk.send(request, headers)
    failed = [result for result in talk.results if isinstance(result, Failure)]
    if failed:
        failed[0].raiseException()
    return parse(talk.transport.value(), request)


def parse(sent: bytes, request: str = "GET /") -> Answer:
    """The one answer that was sent."""
    head, _, body = sent.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    _, status, reason = line.decode("latin-1").split(" ", 2)
    names = {name.lower(): value for name, value in BytesParser().parsebytes(fields).items()}
    assert "transfer-encoding" not in names, "the answer is chunked"
    if not request.startswith("HEAD") and int(status) not in (204, 304):
        assert len(body) == int(names["content-length"]), (len(body), names)
    else:
        assert body == b""
    return Answer(int(status), reason, names, body)
