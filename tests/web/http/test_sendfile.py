"""Downloads over real sockets, of files on a disk: what ``sendfile`` does to them cannot be seen in
memory.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from hashlib import sha256, shake_128
from pathlib import Path
from typing import BinaryIO, cast

from attrs import evolve
from twisted.internet import reactor  # noqa: TID251
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.task import Clock, LoopingCall, deferLater
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.access.chain import AccessChain
from pypid.access.passwords import Verifier
from pypid.blobs import files as folder_of_blobs
from pypid.blobs.files import FilesSettings
from pypid.core.model import Project, Span, StoredFile
from pypid.core.packaging.block_spec import BlockSpec
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Rules
from pypid.core.policy import Policy
from pypid.flow import FileBody, at_once, start
from pypid.flow.bodies import PIECE
from pypid.upstream.nothing import Nothing
from pypid.web.app.app import App, AppSettings
from pypid.web.http import response_body, twisted_internals
from pypid.web.http.access_log import AccessLog
from pypid.web.http.connections import HostPolicy
from pypid.web.http.headers import DownloadHead
from pypid.web.http.response_body import WINDOW
from pypid.web.http.responses import SMALL, send_file
from pypid.web.http.site import Site
from pypid.web.http.twisted_internals import CONNECTION, flush
from pypid.web.root import resource
from tests.disks import on_a_disk
from tests.flow.test_internals import UNTESTED
from tests.index.uploads import an_index
from tests.support import BEGINNING, world
from tests.support.engines import a_catalog
from tests.web.memory_site import ask
from tests.web.raw_http import request
from tests.web.routes import ALL_ROUTES
from tests.web.test_sockets import self_signed

SPAM = ProjectName("spam")
NOISE = shake_128(b"noise").digest(WINDOW - 1) * 6
"""Never the same at the same place of two windows."""


class Client:
    """A client whose calls block: for threads."""

    def __init__(self, port: int, *, tls: bool = False, buffer: int | None = None) -> None:
        plain = socket.socket()
        if buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        plain.settimeout(20)
        plain.connect(("127.0.0.1", port))
        self.socket: socket.socket = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(plain)
        self.stream: BinaryIO = cast(BinaryIO, self.socket.makefile("rb"))

    def ask(self, name: str, *headers: str, version: str = "HTTP/1.1") -> None:
        """Send a request for a file."""
        self.socket.sendall(request("GET", f"/packages/spam/{name}", *headers, version=version))

    def head(self) -> dict[str, str]:
        """The head of the next answer, its status under ""."""
        head = {"": self.stream.readline().split(b" ")[1].decode()}
        while line := self.stream.readline().strip().decode():
            name, _, value = line.partition(": ")
            head[name.lower()] = value
        return head

    def answer(self) -> tuple[int, bytes]:
        """Status and body of the next answer, which may be shorter than it says."""
        head = self.head()
        return int(head[""]), self.stream.read(int(head["content-length"]))

    def get(self, name: str, *headers: str) -> tuple[int, bytes]:
        """Ask, and take the answer."""
        self.ask(name, *headers)
        return self.answer()

    def close(self) -> None:
        """Hang up, with whatever is unread."""
        self.stream.close()
        self.socket.close()


class SendingCase(TestCase):
    """A pypid on a real port, with files in a folder."""

    async def setUp(self) -> None:
        """Start it."""
        self.root = self.enterContext(on_a_disk(Path(self.mktemp())))
        outside = evolve(world(cast(Clock, reactor)), blocking=deferToThread)
        blobs = await folder_of_blobs.open(FilesSettings(str(self.root), create=True), outside)
        self.catalog = a_catalog()
        index = an_index(blobs, self.catalog, Nothing(), Policy(), outside)
        access = AccessChain([], None, outside, Verifier(outside))
        self.app = App(
            index,
            access,
            Rules(),
            outside,
            AppSettings(spool=self.root, max_upload=1),
            routes=ALL_ROUTES,
        )
        self.log: list[str] = []
        lines = AccessLog(lambda: BEGINNING, cast(IReactorTime, reactor).seconds)
        self.site = Site(
            resource(self.app),
            reactor=cast(IReactorTime, reactor),
            access_log=lambda request: self.log.append(lines.entry(request).text()),
            hosts=HostPolicy(("*",)),
        )
        self.sent: list[int] = []
        """What the kernel took at a time."""
        self.real = os.sendfile
        self.patch(os, "sendfile", self.counting)
        self.port = self.listen()

    def listen(self, *, tls: bool = False) -> int:
        """The number of a new port."""
        port: IListeningPort
        if tls:
            keys = DefaultOpenSSLContextFactory(*self_signed(self.root))
            port = reactor.listenSSL(0, self.site, keys, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self.all_closed)
        self.addCleanup(port.stopListening)
        return int(port.getHost().port)

    def counting(self, out: int, file: int, offset: int, count: int) -> int:
        """``os.sendfile``."""
        sent = self.real(out, file, offset, count)
        self.sent.append(sent)
        return sent

    async def have(self, name: str, data: bytes) -> Path:
        """A file of the project spam; where it lies."""
        path = self.root / "spam" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        digest = sha256(data).hexdigest()
        file = StoredFile(
            project=SPAM,
            filename=name,
            version="1.0",
            sha256=digest,
            size=len(data),
            uploaded=BEGINNING,
            key=f"spam/{name}",
        )

        def added(project: Project | None) -> Project:
            return Project(name=SPAM, files=(*(project.files if project else ()), file))

        await self.catalog.local.edit(SPAM, added)
        await self.catalog.complete()
        return path

    async def when(self, happened: Callable[[], object], what: str) -> None:
        """Wait for something, some seconds at most."""
        for _ in range(500):
            if happened():
                return
            await deferLater(reactor, 0.01)
        self.fail(what)

    async def all_closed(self) -> None:
        """When the clients are gone, so are the connections."""
        await self.when(lambda: not self.site.channels, "a connection outlives its client")

    async def fetched(self, name: str, *headers: str, **options: int) -> tuple[int, bytes]:
        """Status and body of an answer to a client of its own."""

        def fetch() -> tuple[int, bytes]:
            with closing(Client(self.port, **options)) as client:
                return client.get(name, *headers)

        return await deferToThread(fetch)


def open_files(below: Path) -> int:
    """How many files below the folder this process has open."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(descriptor.readlink()).startswith(str(below.resolve()))
        except OSError:  # the one that lists them
            continue
    return found


class WholeTests(SendingCase):
    async def test_sizes(self) -> None:
        """A file of any size comes whole; a small one goes with its head, a large
        one by sendfile.
        """
        for size in (
            0,
            1,
            SMALL - 1,
            SMALL,
            SMALL + 1,
            WINDOW - 1,
            WINDOW,
            WINDOW + 1,
            3 * WINDOW,
            5 * WINDOW + 7,
        ):
            await self.have(f"{size}.whl", NOISE[:size])
            self.sent.clear()
            status, body = await self.fetched(f"{size}.whl")
            self.assertEqual((status, len(body)), (200, size))
            self.assertTrue(body == NOISE[:size], size)
            self.assertEqual(sum(self.sent), size if size > SMALL else 0)
            self.assertLessEqual(max(self.sent, default=0), WINDOW)

    async def test_ranges(self) -> None:
        """A part has exactly its bytes."""
        await self.have("a.whl", NOISE)
        for first, stop in (
            (0, SMALL + 1),
            (5, WINDOW + 5),
            (WINDOW - 1, 3 * WINDOW),
            (len(NOISE) - WINDOW, len(NOISE)),
        ):
            status, body = await self.fetched("a.whl", f"Range: bytes={first}-{stop - 1}")
            self.assertEqual(status, 206)
            self.assertTrue(body == NOISE[first:stop], (first, stop))
        self.assertEqual(sum(self.sent), SMALL + 1 + WINDOW + 2 * WINDOW + 1 + WINDOW)

    async def test_cold(self) -> None:
        """What the kernel does not have in memory is read in a thread, window by window, and is the
        same.
        """
        await self.have("a.whl", NOISE)
        self.patch(FileBody, "_at_hand", lambda self, position, most: b"")
        read: list[int] = []
        whole = FileBody._read

        def reading(body: FileBody, position: int, most: int) -> bytes:
            read.append(most)
            return whole(body, position, most)

        self.patch(FileBody, "_read", reading)
        _, body = await self.fetched("a.whl")
        self.assertTrue(body == NOISE)
        self.assertGreaterEqual(sum(read), len(NOISE))
        self.assertLessEqual(max(read), PIECE)

    async def test_a_kernel_that_cannot(self) -> None:
        """Where sendfile cannot send a file, also in its middle, the rest is poured."""
        await self.have("a.whl", NOISE)
        for good in (0, 2):
            self.sent.clear()

            def refusing(out: int, file: int, offset: int, count: int, good: int = good) -> int:
                if len(self.sent) >= good:
                    raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
                return self.counting(out, file, offset, count)

            self.patch(os, "sendfile", refusing)
            self.log.clear()
            status, body = await self.fetched("a.whl")
            self.assertEqual((status, len(body)), (200, len(NOISE)))
            self.assertTrue(body == NOISE)
            self.assertIn(f" 200 {len(NOISE)} ", self.log[0])

    async def test_tls(self) -> None:
        """Over TLS a file is poured."""
        await self.have("a.whl", NOISE)
        self.port = self.listen(tls=True)
        status, body = await self.fetched("a.whl", tls=True)
        self.assertEqual((status, len(body), self.sent), (200, len(NOISE), []))
        self.assertTrue(body == NOISE)

    def test_memory(self) -> None:
        """A transport that is no socket gets a file poured."""
        path = Path(self.mktemp())
        path.write_bytes(NOISE)

        async def opened(span: Span | None) -> FileBody:
            return FileBody(path.open("rb"), span or Span(0, len(NOISE)), at_once)

        got = ask(
            lambda request: send_file(request, DownloadHead(size=len(NOISE), etag='"x"'), opened),
            "GET /f",
        )
        self.assertTrue(got.body == NOISE)
        self.assertEqual(self.sent, [])


class ConnectionTests(SendingCase):
    async def test_kept_alive(self) -> None:
        """The connection is good for more requests, and the access log has what was sent."""
        await self.have("a.whl", NOISE)
        await self.have("b.whl", NOISE[:100])

        def talk() -> list[tuple[int, bytes]]:
            with closing(Client(self.port)) as client:
                asked = (
                    ("a.whl",),
                    ("b.whl",),
                    ("a.whl", f"Range: bytes=7-{2 * WINDOW}"),
                    ("no.whl",),
                    ("a.whl",),
                )
                return [client.get(*one) for one in asked]

        answers = await deferToThread(talk)
        self.assertEqual([status for status, _ in answers], [200, 200, 206, 404, 200])
        self.assertTrue(
            [answers[at][1] for at in (0, 1, 2, 4)]
            == [NOISE, NOISE[:100], NOISE[7 : 2 * WINDOW + 1], NOISE]
        )
        sizes = [int(line.split('" ')[1].split(" ")[1]) for line in self.log]
        self.assertEqual(
            [sizes[at] for at in (0, 1, 2, 4)], [len(NOISE), 100, 2 * WINDOW - 6, len(NOISE)]
        )

    async def test_block_cuts_running_downloads(self) -> None:
        """A block cuts the 100 downloads of the file that run in this process, and no other one."""
        await self.have("a.whl", NOISE * 4)
        await self.have("b.whl", NOISE[::-1] * 4)
        await self.fetched("a.whl")
        await self.fetched("b.whl")
        connect = partial(Client, self.port, buffer=1 << 13)
        clients = [await deferToThread(connect) for _ in range(101)]
        for client in clients:
            self.addCleanup(client.close)
        *blocked, other = clients
        for client in blocked:
            client.ask("a.whl")
        other.ask("b.whl")
        running = self.app.running
        await self.when(lambda: len(running._running) == 101, "not all downloads run")
        digest = sha256(NOISE * 4).hexdigest()
        await self.app.blocks.create(BlockSpec(sha256=digest), "bad", "", "ada")
        self.assertEqual(len(self.app.blocks.all), 1)

        def rest(client: Client) -> int:
            head = client.head()
            try:
                return len(client.stream.read(int(head["content-length"])))
            except ConnectionError:
                return 0

        for client in blocked:
            self.assertLess(await deferToThread(rest, client), len(NOISE) * 4)
        self.assertEqual(await deferToThread(rest, other), len(NOISE) * 4)
        await self.when(lambda: not running._running, "a download is still registered")
        for client in clients:
            client.close()

    async def test_pipelined(self) -> None:
        """Requests that come at once are answered in their order, each whole."""
        await self.have("a.whl", NOISE)
        await self.have("b.whl", NOISE[: 2 * WINDOW])
        await self.have("c.whl", NOISE[:10])
        asked = ["a.whl", "c.whl", "b.whl", "c.whl", "a.whl"]

        def talk() -> list[int]:
            with closing(Client(self.port, buffer=1 << 16)) as client:
                client.socket.sendall(
                    b"".join(request("GET", f"/packages/spam/{name}") for name in asked)
                )
                time.sleep(0.2)
                return [
                    len(body) if NOISE.startswith(body) else -1
                    for _, body in (client.answer() for _ in asked)
                ]

        self.assertEqual(await deferToThread(talk), [len(NOISE), 10, 2 * WINDOW, 10, len(NOISE)])

    async def test_a_body_that_comes_late(self) -> None:
        """A GET whose own body comes after the answer has begun gets the file whole."""
        await self.have("a.whl", NOISE)

        def talk() -> bytes:
            with closing(Client(self.port)) as client:
                client.ask("a.whl", "Content-Length: 300000")
                client.socket.sendall(bytes(100000))
                time.sleep(0.1)
                client.socket.sendall(bytes(200000))
                return client.answer()[1]

        self.assertTrue(await deferToThread(talk) == NOISE)

    async def test_drained(self) -> None:
        """A pypid that stops lets a download end, and then closes."""
        await self.have("a.whl", NOISE)
        client = Client(self.port, buffer=1 << 14)
        client.ask("a.whl")
        await self.when(lambda: self.sent, "nothing was sent")
        self.site.drain()
        self.assertTrue(self.site.busy)
        _, body = await deferToThread(client.answer)
        self.assertTrue(body == NOISE)
        self.assertEqual(await deferToThread(client.stream.read), b"")
        client.close()
        await self.when(lambda: not self.site.busy, "it waits for ever")


class FairTests(SendingCase):
    """Many slow clients, and one that is quick."""

    SLOW = 100

    async def test_turns(self) -> None:
        """Who takes all that comes lets others have their turn: nobody gets two windows in one turn
        of the reactor.
        """
        await self.have("a.whl", NOISE)
        whose: list[int] = []
        turns: list[int] = []
        turn = [0]

        def looking(out: int, file: int, offset: int, count: int) -> int:
            whose.append(out)
            turns.append(turn[0])
            return min(count, self.counting(out, file, offset, count))

        self.patch(os, "sendfile", looking)
        counting = LoopingCall(lambda: turn.__setitem__(0, turn[0] + 1))
        counting.start(0)
        both = await gatherResults([start(self.fetched("a.whl")) for _ in range(2)])
        counting.stop()
        self.assertTrue(all(body == NOISE for _, body in both))
        asked = list(zip(whose, turns, strict=True))
        self.assertEqual(len(set(asked)), len(asked))


class FlushTests(SynchronousTestCase):
    """What waits in the transport goes first."""

    skip = UNTESTED

    def flushed(self, waiting: Sequence[bytes]) -> tuple[bool, bytes]:
        """Whether nothing waits any more, and all that the other end got when the rest was sent in
        the transport's own way.
        """
        ours, theirs = socket.socketpair()
        transport = Connection(ours, Protocol(), MemoryReactor())
        transport.connected = 1
        for piece in waiting:
            transport.write(piece)
        all_sent = flush(transport)
        self.assertEqual(all_sent, not (transport._tempDataBuffer or transport.dataBuffer))
        self.assertEqual(transport._tempDataLen, sum(map(len, transport._tempDataBuffer)))
        theirs.setblocking(False)
        got = b""
        while len(got) < sum(map(len, waiting)):
            try:
                got += theirs.recv(1 << 20)
            except BlockingIOError:
                transport.doWrite()
        ours.close()
        theirs.close()
        return all_sent, got

    def test_sizes(self) -> None:
        """A head is sent at once; of what the kernel does not take the rest goes the transport's
        way, in its order.
        """
        self.assertEqual(self.flushed([b"head\r\n", b"\r\n"]), (True, b"head\r\n\r\n"))
        self.assertEqual(self.flushed([]), (True, b""))
        all_sent, got = self.flushed([b"head", NOISE])
        self.assertFalse(all_sent)
        self.assertTrue(got == b"head" + NOISE)

    def test_gone(self) -> None:
        """Where the other end has gone the transport is to find out."""
        ours, theirs = socket.socketpair()
        transport = Connection(ours, Protocol(), MemoryReactor())
        transport.connected = 1
        transport.write(b"head")
        theirs.close()
        self.assertFalse(flush(transport))
        self.assertEqual(transport._tempDataBuffer, [b"head"])
        ours.close()

    def test_names(self) -> None:
        """Twisted has the names that this needs; without one of them the transport does it all."""
        ours, theirs = socket.socketpair()
        transport = Connection(ours, Protocol(), MemoryReactor())
        self.assertEqual([name for name in CONNECTION if not hasattr(transport, name)], [])
        self.patch(twisted_internals, "CONNECTION", ("no such name",))
        self.assertFalse(flush(transport))
        ours.close()
        theirs.close()


class BrokenTests(SendingCase):
    async def begun(self, name: str = "a.whl") -> Client:
        """A client who reads nothing, when the kernel takes no more."""
        client = Client(self.port, buffer=1 << 14)
        client.ask(name)
        before = -1
        while before != len(self.sent) or not self.sent:
            before = len(self.sent)
            await deferLater(reactor, 0.1)
        self.assertLess(sum(self.sent), len(NOISE) * 4)
        return client

    async def test_slow(self) -> None:
        """While one client does not read, others are answered at once; it gets its file in the end,
        as it was.
        """
        path = await self.have("a.whl", NOISE * 4)
        await self.have("b.whl", NOISE[: 3 * WINDOW])
        client = await self.begun()
        other = path.with_name("other")
        other.write_bytes(bytes(len(NOISE) * 4))
        other.replace(path)
        begun = time.perf_counter()
        for _ in range(10):
            _, body = await self.fetched("b.whl")
            self.assertEqual(len(body), 3 * WINDOW)
        self.assertLess(time.perf_counter() - begun, 2)
        _, body = await deferToThread(client.answer)
        self.assertTrue(body == NOISE * 4)
        client.close()

    async def test_gone(self) -> None:
        """A client that goes away in the middle leaves no file open, and no error; the log has the
        part that was sent.
        """
        await self.have("a.whl", NOISE * 4)
        self.assertEqual(open_files(self.root), 0)
        clients = [await self.begun(), await self.begun()]
        self.assertEqual(open_files(self.root), 2)
        for client in clients:
            await deferToThread(client.stream.read, 100_000)
            client.close()
        await self.all_closed()
        await self.when(lambda: not open_files(self.root), "a file is left open")
        self.assertEqual(len(self.log), 2)
        logged = sum(int(line.split('" 200 ')[1].split(" ")[0]) for line in self.log)
        self.assertEqual(logged, sum(self.sent))

    async def test_gone_while_the_disk_is_slow(self) -> None:
        """A client that goes away while a thread reads for it leaves no file open, and no error."""
        await self.have("a.whl", NOISE * 4)
        at_hand = FileBody._at_hand
        reading: list[int] = []

        def slowly(body: FileBody, position: int, most: int) -> bytes:
            reading.append(position)
            time.sleep(0.3)
            return bytes(most)

        def beginning_only(body: FileBody, position: int, most: int) -> bytes:
            return at_hand(body, position, most) if position < WINDOW else b""

        self.patch(FileBody, "_at_hand", beginning_only)
        self.patch(FileBody, "_read", slowly)
        client = Client(self.port)
        client.ask("a.whl")
        await self.when(lambda: reading, "no thread reads")
        client.close()
        await self.all_closed()
        await self.when(lambda: not open_files(self.root), "a file is left open")
        self.assertEqual(sum(self.sent), WINDOW)

    async def test_truncated(self) -> None:
        """A file that becomes shorter cuts the connection off: what came cannot be taken for the
        whole.
        """
        path = await self.have("a.whl", NOISE * 4)
        client = await self.begun()
        os.truncate(path, sum(self.sent) + 100)
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.answer)
        client.close()
        await self.all_closed()
        self.assertEqual(open_files(self.root), 0)
        self.assertEqual(len(self.flushLoggedErrors(EOFError)), 1)

    async def test_short_before_it_begins(self) -> None:
        """A file that becomes shorter before anything of it was sent is a 503, which says what is
        wrong.
        """
        path = await self.have("a.whl", NOISE)

        def truncated(body: FileBody, position: int, most: int) -> bytes:
            os.truncate(path, 10)
            return b""

        self.patch(FileBody, "_at_hand", truncated)
        status, body = await self.fetched("a.whl")
        self.assertEqual((status, self.sent), (503, []))
        self.assertIn(b"missing or damaged", body)
        self.assertEqual(open_files(self.root), 0)

    async def test_stalled(self) -> None:
        """A client that takes nothing for a long time is cut off, and its file closed."""
        self.patch(response_body, "PATIENCE", 0.4)
        await self.have("a.whl", NOISE * 4)
        client = await self.begun()
        await self.all_closed()
        client.close()
        self.assertEqual(open_files(self.root), 0)

    async def test_order(self) -> None:
        """Nothing is sent while the transport still has bytes of its own to send."""
        await self.have("a.whl", NOISE)
        held: list[int] = []

        def looking(out: int, file: int, offset: int, count: int) -> int:
            [channel] = self.site.channels
            transport = channel.transport
            held.append(
                len(transport.dataBuffer) - transport.offset + len(transport._tempDataBuffer)
            )
            return self.counting(out, file, offset, count)

        self.patch(os, "sendfile", looking)
        _, body = await self.fetched("a.whl")
        self.assertTrue(body == NOISE)
        self.assertEqual(set(held), {0})
