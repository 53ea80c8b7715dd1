"""A whole pypid on a real port in front of a fake index: real sockets on both sides, files in
memory.
"""

# trial and Twisted's transports are not annotated
from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, cast

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from pypid.access.chain import AccessChain
from pypid.access.passwords import Verifier
from pypid.blobs.memory import MemoryBlobs
from pypid.core.configuration.choices import Mode
from pypid.core.permissions import Rules
from pypid.core.policy import Policy
from pypid.flow import World
from pypid.flow.spool import sweep
from pypid.http_client.connections import HttpConnections, Trust
from pypid.index import Index
from pypid.upstream.indexes import UpstreamSourceSettings, connected, open
from pypid.web.app.app import App, AppSettings
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.index.uploads import an_index
from tests.support import contents
from tests.support.engines import a_catalog
from tests.upstream.cases import UpstreamCase
from tests.web.routes import ALL_ROUTES

J = "application/vnd.pypi.simple.v1+json"
TTL = timedelta(minutes=1)
LATER = timedelta(hours=1)
"""After this nothing is fresh, and nobody is left alone any more for what it failed at."""


@frozen
class Got:
    """What came back on one connection until its end. `status` is 0 where it was reset before the
    head was out.
    """

    status: int
    head: dict[str, str]
    body: bytes = field(repr=False)
    seconds: float

    @property
    def announced(self) -> int:
        """The Content-Length."""
        return int(self.head["content-length"])

    @property
    def whole(self) -> bool:
        """Whether all of it came."""
        return len(self.body) == self.announced

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def files(self) -> list[str]:
        """The file names on a page."""
        return [file["filename"] for file in json.loads(self.body)["files"]]


class Client(Protocol):
    """Sends one request, and takes what comes until the connection ends. `came` is all of it so
    far.
    """

    transport: Any

    def __init__(self, request: bytes) -> None:
        self._request = request
        self.came = bytearray()
        self.ended: Deferred[None] = Deferred()
        self.grew: Callable[[], None] = lambda: None

    def connectionMade(self) -> None:
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self.came += data
        self.grew()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)

    def body(self) -> bytes:
        """What came behind the head."""
        return bytes(self.came.partition(b"\r\n\r\n")[2])

    async def until(self, size: int) -> None:
        """Wait for so many bytes of the body."""
        enough: Deferred[None] = Deferred()

        def grew() -> None:
            head = self.came.find(b"\r\n\r\n", 0, 4096)
            if head >= 0 and len(self.came) - head - 4 >= size and not enough.called:
                enough.callback(None)

        self.grew = grew
        grew()
        await enough


class _Connecting(ClientFactory):
    noisy = False

    def __init__(self, client: Client) -> None:
        self.client = client

    def buildProtocol(self, addr: object) -> Client:
        return self.client


@define
class LaterClock:
    """The reactor as a clock that is `ahead` by so many seconds; timers run as they would."""

    reactor: Any
    ahead: float = 0.0

    def seconds(self) -> float:
        """The time of this clock."""
        return float(self.reactor.seconds()) + self.ahead

    def callLater(
        self, delay: float, call: Callable[..., object], *args: object, **more: object
    ) -> Any:
        """Call so many seconds from now."""
        return self.reactor.callLater(delay, call, *args, **more)

    def getDelayedCalls(self) -> Any:
        """The calls that wait."""
        return self.reactor.getDelayedCalls()


@define(eq=False)
class Proxy:
    """A pypid that asks these URLs. Its time is the real one, and what the test adds with
    `pass_time`.
    """

    reactor: Any
    spool: Path
    urls: tuple[str, ...] = field(repr=False)
    patience: float = 0.8
    policy: Policy = Policy(mode=Mode.CACHE)
    identity: str = "pypid-1"
    timeout: timedelta = timedelta(seconds=10)
    """How long a client waits for a new page where an older one is known."""
    file_hosts: tuple[str, ...] = ("localhost",)
    """Hosts that may have any address: all fakes are at this one."""
    listen: int = 0
    """The port; 0: any."""
    blobs: MemoryBlobs = field(init=False)
    index: Index = field(init=False)
    trust: Trust = field(factory=Trust)
    _clock: LaterClock = field(init=False)
    _reached: HttpConnections = field(init=False)
    _port: Any = field(init=False)
    _site: Site = field(init=False)

    def __attrs_post_init__(self) -> None:
        sweep(self.spool)
        blocking = partial(deferToThreadPool, self.reactor, self.reactor.getThreadPool())
        self._clock = LaterClock(self.reactor)
        world = World(cast(IReactorTime, self._clock), self.now, blocking, os.urandom)
        self.blobs = MemoryBlobs(self.now)
        self._reached = connected(self.reactor, self.trust, self.settings)
        upstream = open(self.settings, world, self.identity, self._reached)
        times = {"ttl": TTL, "timeout": self.timeout}
        self.index = an_index(
            self.blobs,
            a_catalog(),
            upstream,
            self.policy,
            world,
            **times,
            spool=self.spool,
            identity=self.identity,
        )
        access = AccessChain([], None, world, Verifier(world))
        app = App(
            self.index,
            access,
            Rules(),
            world,
            AppSettings(spool=self.spool, max_upload=1 << 20),
            routes=ALL_ROUTES,
        )
        self._site = Site(resource(app), reactor=self.reactor, hosts=HostPolicy(("*",)))
        self._port = self.reactor.listenTCP(self.listen, self._site, interface="127.0.0.1")

    @property
    def settings(self) -> UpstreamSourceSettings:
        """Of the upstream."""
        return UpstreamSourceSettings(self.urls, self.patience, self.file_hosts)

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._clock.ahead)  # noqa: TID251

    def pass_time(self, time: timedelta = LATER) -> None:
        """From now on it is so much later."""
        self._clock.ahead += time.total_seconds()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._port.getHost().port)

    @property
    def url(self) -> str:
        """As another index has it in its configuration."""
        return f"http://localhost:{self.port}"

    def send(self, path: str, *headers: str, method: str = "GET") -> Client:
        """Send a request; what comes is the client's."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: localhost",
            "Connection: close",
            *headers,
            "",
            "",
        ]
        client = Client("\r\n".join(lines).encode())
        self.reactor.connectTCP("127.0.0.1", self.port, _Connecting(client))
        return client

    async def get(self, path: str, *headers: str, method: str = "GET") -> Got:
        """The answer, once the connection has ended."""
        begun = self.reactor.seconds()
        client = self.send(path, *headers, method=method)
        await client.ended
        head, _, body = bytes(client.came).partition(b"\r\n\r\n")
        first, *lines = (head or b"HTTP/1.1 0").decode().split("\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        return Got(int(first.split()[1]), fields, body, self.reactor.seconds() - begun)

    async def page(self, name: str) -> Got:
        """A project's page, in JSON."""
        return await self.get(f"/simple/{name}/", f"Accept: {J}")

    async def stored(self) -> list[str]:
        """All keys of the storage."""
        return await contents(self.blobs)

    async def idle(self, seconds: float = 5.0) -> None:
        """Wait until nothing is being fetched or stored: small files are in no spool."""
        cache = self.index.file_cache
        for _ in range(int(seconds / 0.02)):
            if not (cache._under_way or any(self.spool.iterdir())):
                return
            await deferLater(self.reactor, 0.02)
        raise AssertionError("a fetch does not end")

    async def close(self) -> None:
        """End it."""
        await self._port.stopListening()
        await self.index.file_cache.close()
        await self._reached.close()
        for channel in tuple(self._site.channels):
            channel.transport.abortConnection()
        while self._site.channels:
            await deferLater(self.reactor, 0.01)


class ProxyCase(UpstreamCase):
    """A pypid in front of the fake. Nothing of what is logged is a traceback, or a secret."""

    credential = "alice:open%20sesame"

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._take_down)
        self.addCleanup(globalLogPublisher.removeObserver, self._take_down)
        self.proxies: list[Proxy] = []
        self.proxy = self.start()

    def _take_down(self, event: Any) -> None:
        self.logged.append(eventAsText(event, includeSystem=False))

    def start(self, *urls: str, **settings: Any) -> Proxy:
        """One more pypid, in front of the fake or of these."""
        at = self.fake.url.replace("://", f"://{self.credential}@")
        made = Proxy(
            self.reactor,
            Path(self.mktemp()),
            urls or (f"{at}/simple/",),
            **{"patience": self.patience, **settings},
        )
        self.proxies.append(made)
        return made

    async def tearDown(self) -> None:
        """All of it is tidied up."""
        for proxy in self.proxies:
            await proxy.close()
            await proxy.idle()
        await super().tearDown()
        text = "\n".join(self.logged)
        for word in (
            "Traceback",
            "sesame",
            "c2VzYW1l",
            "YWxpY2U6",
            "Unhandled",
        ):  # the user and the password, in base64
            self.assertNotIn(word, text)

    def lines(self, *words: str) -> list[str]:
        """The lines of the log in which all these words stand."""
        return [line for line in self.logged if all(word in line for word in words)]


@define(eq=False)
class Memory:
    """How much memory this process takes, looked at all the time inside."""

    reactor: Any
    most: int = 0
    _before: int = 0
    _looking: LoopingCall | None = None

    def __enter__(self) -> Memory:
        self._before = self.most = _resident()
        self._looking = LoopingCall(self._look)
        self._looking.clock = self.reactor
        self._looking.start(0.01)
        return self

    def _look(self) -> None:
        self.most = max(self.most, _resident())

    def __exit__(self, *_: object) -> None:
        self._look()
        assert self._looking is not None
        self._looking.stop()

    @property
    def growth(self) -> int:
        """Bytes that it took more than at the beginning."""
        return self.most - self._before


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
