"""Files that the fast path sends, over real sockets."""

from __future__ import annotations

import os
import time
from contextlib import closing
from typing import Any, cast

from twisted.internet import reactor  # noqa: TID251
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from pypid.core.model import Project
from pypid.web.fastpath import response_cache
from pypid.web.fastpath import response_cache as kept_open
from pypid.web.fastpath.channel import FastPath
from pypid.web.http import response_body
from pypid.web.http.access_log import AccessLog, AccessLogEntry
from pypid.web.http.connections import HostPolicy
from pypid.web.http.response_body import WINDOW
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.support import BEGINNING
from tests.web.http import test_sendfile
from tests.web.http.test_sendfile import NOISE, SPAM, Client, open_files


class Lines(AccessLog):
    """An access log that is a list of texts."""

    def __init__(self, texts: list[str]) -> None:
        super().__init__(lambda: BEGINNING, cast(IReactorTime, reactor).seconds)
        self.texts = texts

    def write(self, entry: AccessLogEntry) -> None:
        """As `AccessLog.write`."""
        self.texts.append(entry.text())

    def many(self, lines: Any) -> None:
        """As `AccessLog.many`."""
        for _, _, _, said in lines:
            self.texts.append(
                f'"{said.method} {said.path} {said.protocol}" {said.status} {said.size} '
            )


class FastPathCase(test_sendfile.SendingCase):
    """A pypid with a fast path on a real port."""

    async def setUp(self) -> None:
        """Start it."""
        await super().setUp()
        lines = Lines(self.log)
        self.patch(response_cache, "LINES", 1)
        self.fast_path = FastPath(self.app, lines)
        self.addCleanup(self.fast_path.close)
        self.site = Site(
            resource(self.app),
            reactor=cast(IReactorTime, reactor),
            access_log=lines,
            fast_path=self.fast_path,
            hosts=HostPolicy(("*",)),
        )
        self.port = self.listen()

    async def known(self, name: str = "a.whl") -> None:
        """Have the fast path know the file, which is read by its first client."""
        await self.fetched(name)
        self.assertEqual(self.fast_path.answered, 0)
        self.sent.clear()
        self.log.clear()


class WholeTests(FastPathCase, test_sendfile.WholeTests):
    """All that holds without it."""

    async def test_again(self) -> None:
        """The second client gets the same bytes from the fast path, in one turn where the kernel takes
        them all.
        """
        for size in (100_000, WINDOW, 3 * WINDOW + 7):
            name = f"{size}.whl"
            await self.have(name, NOISE[:size])
            before = self.fast_path.answered
            answers = [await self.fetched(name) for _ in range(4)]
            self.assertTrue(all(answer == (200, NOISE[:size]) for answer in answers))
            self.assertEqual(self.fast_path.answered - before, 3)
            self.fast_path.flush()
            self.assertEqual(
                [line for line in self.log if f'/{name} HTTP/1.1" 200 {size} ' in line][3:],
                self.log[-1:],
            )

    async def test_not_in_memory(self) -> None:
        """A file that the kernel does not have in memory is read off the reactor's thread: the fast path
        leaves it alone.
        """
        await self.have("a.whl", NOISE)
        await self.known()
        self.patch(response_body, "at_hand", lambda descriptor, position, most: b"")
        status, body = await self.fetched("a.whl")
        self.assertEqual((status, self.fast_path.answered), (200, 0))
        self.assertTrue(body == NOISE)


class ConnectionTests(FastPathCase, test_sendfile.ConnectionTests):
    """All that holds without it."""

    async def test_pipelined_at_the_door(self) -> None:
        """What comes while a file is on its way waits for its turn, and is answered behind it."""
        await self.have("a.whl", NOISE)
        await self.have("b.whl", NOISE[:100])
        await self.known("a.whl")

        def talk() -> list[bytes]:
            with closing(Client(self.port, buffer=1 << 16)) as client:
                got = []
                for _ in range(3):
                    client.ask("a.whl")
                    time.sleep(0.1)
                    client.ask("b.whl")
                    client.ask("a.whl")
                    got += [client.answer()[1] for _ in range(3)]
                return got

        got = await deferToThread(talk)
        self.assertTrue(got == [NOISE, NOISE[:100], NOISE] * 3)
        self.assertGreaterEqual(self.fast_path.answered, 3)


class BrokenTests(FastPathCase):
    """Clients that go away, and files that do."""

    async def begun(self) -> Client:
        """A client who reads nothing of what the fast path sends, when the kernel takes no more."""
        await self.have("a.whl", NOISE * 2)
        await self.known()
        client = Client(self.port, buffer=1 << 14)
        client.ask("a.whl")
        before = -1
        while before != len(self.sent) or not self.sent:
            before = len(self.sent)
            await deferLater(reactor, 0.1)
        self.assertEqual(self.fast_path.answered, 1)
        return client

    async def test_gone(self) -> None:
        """A client that goes away in the middle is in the log with what was sent, and leaves no
        file open but the fast path's.
        """
        client = await self.begun()
        client.close()
        await self.all_closed()
        self.fast_path.flush()
        self.assertEqual(len(self.log), 1)
        self.assertEqual(int(self.log[0].split('" 200 ')[1].split(" ")[0]), sum(self.sent))
        self.assertEqual(open_files(self.root), 1)
        self.fast_path.close()
        self.assertEqual(open_files(self.root), 0)

    async def test_truncated(self) -> None:
        """A file that becomes shorter cuts the connection off."""
        client = await self.begun()
        os.truncate(self.root / "spam" / "a.whl", sum(self.sent) + 100)
        with self.assertRaises(ConnectionResetError):
            await deferToThread(client.answer)
        client.close()
        await self.all_closed()
        self.assertEqual(len(self.flushLoggedErrors(EOFError)), 1)

    async def test_deleted(self) -> None:
        """A file that is deleted is not given any more; who is getting it gets it whole, and then
        it is closed.
        """
        client = await self.begun()

        def emptied(project: Project | None) -> Project:
            return Project(name=SPAM)

        await self.catalog.local.edit(SPAM, emptied)
        status, _ = await self.fetched("a.whl")
        self.assertEqual((status, self.fast_path.answered), (404, 1))
        _, body = await deferToThread(client.answer)
        self.assertTrue(body == NOISE * 2)
        client.close()
        self.fast_path.close()
        self.assertEqual(open_files(self.root), 0)

    async def test_closed_by_itself(self) -> None:
        """A file that nobody asks for again is closed after a while, so that a deleted one takes no
        room.
        """
        self.patch(kept_open, "OPEN_FOR", 0.2)
        await self.have("a.whl", NOISE)
        await self.known()
        self.assertEqual(open_files(self.root), 1)
        await self.when(lambda: not open_files(self.root), "it stays open")
        _, body = await self.fetched("a.whl")
        self.assertTrue(body == NOISE)

    async def test_many(self) -> None:
        """No more than some files are open at a time."""
        self.patch(kept_open, "MOST_OPEN", 3)
        for at in range(6):
            await self.have(f"{at}.whl", NOISE[: WINDOW + at])
        for at in range(6):
            await self.fetched(f"{at}.whl")
        self.assertEqual(open_files(self.root), 3)
        for at in range(6):
            _, body = await self.fetched(f"{at}.whl")
            self.assertEqual(len(body), WINDOW + at)
        self.assertEqual(self.fast_path.answered, 3)
