"""A store with permission to write and metrics in front of its backend."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import Store
from pypid.core.errors import Exists, Missing, StorageDown, StorageFull, StorageInUse
from pypid.core.model import Blob
from pypid.flow import BytesBody, FileBody, start
from pypid.metrics.counts import STORAGE, STORAGE_SECONDS, STORAGE_WRITTEN
from pypid.ports import Body
from tests.support import BlobsContract, Fed, contents, world


class CountedContractTests(BlobsContract, SynchronousTestCase):
    """It keeps the contract of what is behind it."""

    async def make(self) -> Store:
        own = world()
        return Store(MemoryBlobs(own.now), watch=own)


class CountedTests(SynchronousTestCase):
    """What is counted."""

    def setUp(self) -> None:
        """A small one."""
        self.world = world()
        self.behind = MemoryBlobs(self.world.now, 10)
        self.blobs = Store(self.behind, watch=self.world)

    def have(self, doing: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(start(doing))

    def refused(self, doing: Coroutine[Any, Any, Any], kind: type[Exception]) -> None:
        self.failureResultOf(start(doing), kind)

    def times(self, operation: str, outcome: str) -> float:
        return self.world.counts.value(STORAGE, (operation, outcome))

    def test_outcomes(self) -> None:
        """Each operation by what came of it; what is missing or there already is told from a store
        that is away.
        """
        self.have(self.blobs.write("a", BytesBody(b"123")))
        self.have(self.blobs.read("a"))
        self.have(self.blobs.stat("a"))
        self.have(self.blobs.link("a", timedelta(1)))
        self.have(contents(self.blobs))
        self.refused(self.blobs.write("a", BytesBody(b"123")), Exists)
        self.refused(self.blobs.write("b", BytesBody(b"x" * 20)), StorageFull)
        self.refused(self.blobs.read("nothing"), Missing)
        self.have(self.blobs.delete("a"))
        for operation, outcome in (
            *((each, "ok") for each in ("write", "read", "stat", "link", "list", "delete")),
            *(("write", "exists"), ("write", "full"), ("read", "missing")),
        ):
            self.assertEqual(self.times(operation, outcome), 1, (operation, outcome))
        self.assertEqual(self.world.counts.value(STORAGE_WRITTEN), 3)
        self.assertEqual(self.world.counts.value(STORAGE_SECONDS, ("write",)), 3)

    def test_duplicates_are_counted(self) -> None:
        """A duplicate is an operation of its own."""
        duplicates = Store(self.behind, watch=self.world)
        self.have(self.blobs.write("a", BytesBody(b"1")))
        self.have(duplicates.duplicate("a", "b"))
        self.refused(duplicates.duplicate("a", "b"), Exists)
        for outcome in ("ok", "exists"):
            self.assertEqual(self.times("duplicate", outcome), 1)

    def test_permission(self) -> None:
        """Whoever may not write changes nothing, and reads; the whole key is asked about."""
        asked: list[str] = []

        async def permit(key: str) -> None:
            asked.append(key)
            raise StorageInUse("another pypid")

        self.have(self.behind.write("part/a", BytesBody(b"1")))
        blobs, body = Store(self.behind, "part/", permit=permit), Fed()
        self.refused(blobs.write("b", body), StorageInUse)
        self.assertTrue(body.closed)
        self.refused(blobs.delete("a"), StorageInUse)
        self.refused(blobs.duplicate("a", "c"), StorageInUse)
        self.assertEqual(asked, ["part/b", "part/a", "part/c"])
        self.assertEqual(self.have(contents(self.behind)), ["part/a"])
        self.have(blobs.stat("a"))

    def test_away(self) -> None:
        """A store that is away, and a listing that breaks off."""

        async def away(*_: object, **__: object) -> Any:
            raise StorageDown("it is away.")

        async def listing(prefix: str = "") -> Any:
            yield Blob("a", 1, self.world.now(), "x")
            raise StorageDown("it is away.")

        self.patch(self.behind, "read", away)
        self.patch(self.behind, "list", listing)
        self.refused(self.blobs.read("a"), StorageDown)
        self.refused(contents(self.blobs), StorageDown)
        self.assertEqual((self.times("read", "down"), self.times("list", "down")), (1, 1))

    def test_bodies(self) -> None:
        """A body passes as it is: what lies in a file is sent by the kernel, which
        looks for that.
        """
        body = FileBody(None, None, self.world.blocking)  # type: ignore[arg-type]

        async def read(*_: object) -> Body:
            return body

        self.patch(self.behind, "read", read)
        self.assertIs(self.have(self.blobs.read("a")), body)
