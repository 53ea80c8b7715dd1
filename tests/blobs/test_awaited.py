"""A store that is opened when it is needed."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import PAUSE, Awaited, Store
from pypid.core.errors import CannotStart, StorageDown
from pypid.flow import BytesBody, start
from pypid.ports import Blobs
from tests.support import world
from tests.support.blobs import BlobsContract
from tests.support.worlds import Awaiting, Fed, contents


class ContractTests(BlobsContract, SynchronousTestCase):
    """It keeps what every `Blobs` keeps."""

    async def make(self) -> Blobs:
        async def opened() -> MemoryBlobs:
            return MemoryBlobs(standing.now)

        standing = world()
        return Store(Awaited(opened, standing))


class AwaitedTests(Awaiting, SynchronousTestCase):
    """`Awaited`."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.tries = 0
        self.away = True
        self.waits: Deferred[None] | None = None
        self.opening: Awaited[MemoryBlobs] = Awaited(self.open, world(self.clock))
        self.blobs = Store(self.opening)

    async def open(self) -> MemoryBlobs:
        self.tries += 1
        if self.waits is not None:
            await self.waits
        if self.away:
            raise CannotStart("[storage] bucket: not there.")
        return MemoryBlobs(world(self.clock).now)

    def test_away(self) -> None:
        """While it cannot be opened everything is refused, with Retry-After; it is tried again, but
        not by each who asks.
        """
        body = Fed(b"x", None)
        for question in (
            self.blobs.read("a/b"),
            self.blobs.stat("a/b"),
            self.blobs.delete("a/b"),
            contents(self.blobs),
            self.blobs.write("a/b", body),
        ):
            error = self.refused(question, StorageDown)
            assert isinstance(error, StorageDown)
            self.assertGreater(error.retry_after, 0)
            self.assertNotIn("bucket", str(error))
        self.assertTrue(body.closed)
        self.assertEqual(self.tries, 1)
        self.clock.advance(PAUSE.total_seconds())
        self.refused(self.blobs.stat("a/b"), StorageDown)
        self.assertEqual(self.tries, 2)

    def test_back(self) -> None:
        """Once it can be opened it is, and then never again."""
        self.refused(self.blobs.stat("a/b"), StorageDown)
        self.away = False
        self.clock.advance(PAUSE.total_seconds())
        self.have(self.blobs.write("a/b", BytesBody(b"x")))
        self.assertEqual(self.have(contents(self.blobs)), ["a/b"])
        self.assertEqual((self.tries, self.opening.opened is not None), (2, True))

    def test_one_flight(self) -> None:
        """All who ask meanwhile wait for the same opening, which goes on if one of
        them goes away.
        """
        self.away, self.waits = False, Deferred()
        asking = [start(contents(self.blobs)) for _ in range(3)]
        asking[0].cancel()
        self.failureResultOf(asking[0])
        self.waits.callback(None)
        self.assertEqual([self.successResultOf(one) for one in asking[1:]], [[], []])
        self.assertEqual(self.tries, 1)

    def test_broken(self) -> None:
        """What goes wrong otherwise is no refusal, and not remembered as one."""

        async def broken() -> MemoryBlobs:
            self.tries += 1
            raise ZeroDivisionError

        blobs = Store(Awaited(broken, world(self.clock)))
        for _ in range(2):
            self.refused(blobs.stat("a/b"), ZeroDivisionError)
        self.assertEqual(self.tries, 2)
