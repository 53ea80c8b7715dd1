"""Blobs in memory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import StorageFull
from tests.support import BlobsContract, Fed, contents, world
from tests.support.duplicates import DuplicatingContract


class MemoryContractTests(BlobsContract, SynchronousTestCase):
    """Memory keeps the contract."""

    async def make(self) -> MemoryBlobs:
        return MemoryBlobs(world().now)


class MemoryDuplicatesTests(DuplicatingContract, SynchronousTestCase):
    """Memory keeps the contract of duplicates."""

    async def make_duplicating(self) -> MemoryBlobs:
        return MemoryBlobs(world().now)

    def test_full(self) -> None:
        """A duplicate counts as bytes of its own, since it may outlive its source."""
        self.both = MemoryBlobs(world().now, 10)
        self.written("a/x", b"123456")
        self.refused(self.both.duplicate("a/x", "b/x"), StorageFull)


class MemoryTests(BlobsContract, SynchronousTestCase):
    """What is special: a capacity that is not reached keeps the contract, and one that is stores
    nothing.
    """

    async def make(self) -> MemoryBlobs:
        return MemoryBlobs(world().now, 32 << 20)

    def test_full(self) -> None:
        """A body over the capacity is refused as it comes, and what is deleted or replaced makes
        room.
        """
        self.blobs = MemoryBlobs(world().now, 10)
        self.put("a", b"12345678")
        endless = Fed(b"abc")
        self.refused(self.blobs.write("b", endless), StorageFull)
        self.assertTrue(endless.closed)
        self.assertEqual(self.have(contents(self.blobs)), ["a"])
        self.put("b", b"ab")
        self.have(self.blobs.delete("a"))
        self.put("c", b"12345678")
