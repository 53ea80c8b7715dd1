"""Copying one storage into another: everything arrives, nothing is replaced, and a copy that broke
off is gone on with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.store import Store
from pypid.core.errors import StorageFull
from pypid.core.model import Blob
from pypid.core.policy import Policy
from pypid.core.records.documents import StorageIdentity, dump
from pypid.core.records.layout import STORAGE_IDENTITY
from pypid.flow import BytesBody, start, whole
from pypid.index.as_of import RecordingStart
from pypid.index.local.copy import Copied, Copier
from pypid.ports import Body
from pypid.upstream.nothing import Nothing
from tests.index.faulty_blobs import Gated
from tests.index.uploads import Described, an_index, index_over, publishing, sent
from tests.support.engines import a_catalog
from tests.support.worlds import Awaiting, world

WEST, STAGING, TEAM = (f".pypid/index/{name}/" for name in ("west", "staging", "team"))
FILE, RECORD = "spam/spam-1.0.tar.gz", "spam/spam-1.0.tar.gz.record.json"


class Full(MemoryBlobs):
    """A storage that takes so many objects, and notes their keys."""

    room = 1000

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        if not self.room:
            await body.aclose()
            raise StorageFull("this test")
        self.room -= 1
        return await super().write(key, body, replace=replace)


class CopyCase(Awaiting, SynchronousTestCase):
    def setUp(self) -> None:
        self.world = world(Clock())
        self.source, self.target = MemoryBlobs(self.world.now), Full(self.world.now)

    def put(self, blobs: MemoryBlobs, key: str, data: bytes) -> None:
        self.have(blobs.write(key, BytesBody(data)))

    def copy(self) -> Copied:
        return self.have(Copier(self.source, self.target, self.world, self.target).copy())

    def all_in(self, blobs: MemoryBlobs) -> Mapping[str, bytes]:
        async def read() -> Mapping[str, bytes]:
            return {
                blob.key: await whole(await blobs.read(blob.key), 100)
                async for blob in blobs.list()
            }

        return self.have(read())


class EqualFilesTests(CopyCase):
    """Files that several indexes have with the same content."""

    def setUp(self) -> None:
        super().setUp()
        for prefix in (STAGING, TEAM):
            self.publish(prefix, b"of the team")

    def publish(self, prefix: str, data: bytes) -> None:
        blobs = Store(self.source, prefix) if prefix else self.source
        index = index_over(blobs)
        self.have(index.maintenance.reconcile())
        self.have(publishing(index, sent(data, "spam-1.0.tar.gz", metadata=None)))

    def objects(self, blobs: MemoryBlobs) -> Mapping[str, int]:
        async def listed() -> Mapping[str, int]:
            return {blob.key: blob.size async for blob in blobs.list()}

        return self.have(listed())

    def test_bytes_are_transferred_once(self) -> None:
        """The others are duplicated inside the target, also while the first one is written."""
        self.publish("", b"of the team")
        source = Gated(self.source)
        copying = start(Copier(source, self.target, self.world, self.target).copy())
        source.all(lambda number: number - 1)
        copied = self.successResultOf(copying)
        read = [what for what in source.asked if what.startswith("read ") and what.endswith(FILE)]
        self.assertEqual(len(read), 1)
        self.assertEqual((copied.copied, copied.duplicated), (len(self.objects(self.target)), 2))
        self.assertEqual(copied.size, sum(self.objects(self.source).values()) - 2 * 11)
        self.assertEqual(self.objects(self.target), self.objects(self.source))


class RecordedTests(CopyCase):
    """Since when changes are noted with their moments."""

    def test_goes_along(self) -> None:
        """The target is a storage of its own, and all that was noted in the source is there, too:
        it says so.
        """
        since = self.world.now()
        self.put(self.source, STORAGE_IDENTITY, dump(StorageIdentity("one", recorded=since)))
        self.put(
            self.target,
            STORAGE_IDENTITY,
            dump(StorageIdentity("two", recorded=since + timedelta(days=9))),
        )
        for _ in range(2):
            self.copy()
            index = an_index(self.target, a_catalog(), Nothing(), Policy(), self.world)
            self.assertEqual(self.have(RecordingStart().since(index)), since)


class DescribedTests(CopyCase):
    """Files that a pypicloud described in a bucket."""

    def test_goes_along(self) -> None:
        """What is said of a file lies beside it in the next storage, unless its record says it."""
        source = Described(self.world.now)
        said = {"name": "spam", "version": "1.0", "requires-python": ">=3.8", "uploader": "alice"}
        self.put(source, FILE, b"x")
        source.said[FILE] = said
        described = Full(self.world.now)
        self.have(Copier(source, described, self.world, described, None, source).copy())
        found = self.all_in(described)
        self.assertEqual(json.loads(found[f"{FILE}.meta"]), said)
        self.assertEqual(set(found), {FILE, f"{FILE}.meta"})
        self.put(source, RECORD, b"{}")
        self.have(Copier(source, self.target, self.world, self.target, None, source).copy())
        self.assertEqual(set(self.all_in(self.target)), {FILE, RECORD})


class CopyTests(CopyCase):
    @settings(max_examples=30, deadline=None, database=None)
    @given(
        st.dictionaries(
            st.sampled_from([FILE, RECORD, "a/b", ".kept/x/y", "spam/project.json"]),
            st.binary(max_size=20),
        )
    )
    def test_everything(self, files: Mapping[str, bytes]) -> None:
        """What lies in the source lies in the target afterwards, byte for byte."""
        self.setUp()
        for key, data in files.items():
            self.put(self.source, key, data)
        copied = self.copy()
        self.assertEqual(self.all_in(self.target), files)
        self.assertEqual((copied.copied, copied.there), (len(files), 0))
        self.assertEqual(copied.size, sum(map(len, files.values())))

    def test_broken_off(self) -> None:
        """A copy that breaks off has written no record whose bytes are not there, and the next one
        writes only the rest.
        """
        for key in (FILE, RECORD, "eggs/eggs-1.tar.gz", "eggs/eggs-1.tar.gz.record.json"):
            self.put(self.source, key, b"x")
        self.target.room = 3
        self.refused(Copier(self.source, self.target, self.world, self.target).copy(), StorageFull)
        there = self.all_in(self.target)
        self.assertTrue({FILE, "eggs/eggs-1.tar.gz"} <= there.keys())
        self.target.room = 1
        copied = self.copy()
        self.assertEqual((copied.copied, copied.there), (1, 3))
        self.assertEqual(self.all_in(self.target), self.all_in(self.source))

    def test_other(self) -> None:
        """What is there already stays as it is; where it is of another size that is told."""
        self.put(self.source, FILE, b"new bytes")
        self.put(self.target, FILE, b"old")
        self.assertEqual(self.copy().differ, (FILE,))
        self.assertEqual(self.all_in(self.target)[FILE], b"old")

    def test_marks_first(self) -> None:
        """Wherever a copy breaks off, no file is named whose yank, or whose project's status, has
        not come along.
        """
        marks = {f"{FILE}.yanked.json", "spam/project.json"}
        for key in (FILE, RECORD, *marks):
            self.put(self.source, key, b"x")
        for room in range(4):
            self.target = Full(self.world.now)
            self.target.room = room
            self.refused(
                Copier(self.source, self.target, self.world, self.target).copy(), StorageFull
            )
            there = self.all_in(self.target).keys()
            self.assertTrue(RECORD not in there or marks <= there, there)
