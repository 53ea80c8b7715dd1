"""The snapshot in the storage itself."""

from __future__ import annotations

import gzip
import json
import tempfile
from datetime import timedelta
from io import BytesIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog import remote_dump
from pypid.catalog.memory import MemoryCatalog
from pypid.catalog.remote_dump import EVERY, RemoteDump, unpack
from pypid.core.errors import StorageDown, Unreadable
from pypid.core.model import File, Presence, Project
from pypid.core.packaging.names import project_name
from pypid.flow import BytesBody, World, start, whole
from pypid.ports import Body
from tests.index.faulty_blobs import Watched
from tests.support import world
from tests.support.catalog import a_project, becomes
from tests.support.worlds import Awaiting, Fed

KEY, HERE = ".pypid/snapshot/ours.jsonl.gz", "storage-1"
EGGS, SPAM, HAM = map(project_name, ("eggs", "spam", "ham"))


class FarawayCase(Awaiting, SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.spool = Path(folder.name)
        self.clock = Clock()
        self.world: World = world(self.clock)
        self.store = MemoryBlobs(self.world.now)
        self.catalog = MemoryCatalog()
        self.far = self.opened(self.catalog)

    def opened(self, catalog: MemoryCatalog, identity: str = HERE) -> RemoteDump:
        return RemoteDump(catalog.local, self.store, KEY, identity, self.world, self.spool)

    def put(
        self, catalog: MemoryCatalog, name: str, *versions: str, mark: str | None = None
    ) -> Project:
        project = a_project(project_name(name), *versions)
        held = self.have(catalog.local.edit(project.name, becomes(project), mark=mark))
        assert held is not None
        return held

    def state(self, catalog: MemoryCatalog) -> object:
        names = self.have(catalog.local.summaries())
        return names, [
            (self.have(catalog.local.get(each.name)), self.have(catalog.local.mark(each.name)))
            for each in names
        ]

    def packed(self) -> bytes:
        return self.have(self.read())

    async def read(self) -> bytes:
        return await whole(await self.store.read(KEY), 1 << 20)

    def keep(self, data: bytes) -> None:
        self.have(self.store.write(KEY, BytesBody(data), replace=True))

    def fills(self, identity: str = HERE) -> tuple[int | None, MemoryCatalog]:
        """What a new machine makes of it."""
        catalog = MemoryCatalog()
        return self.have(self.opened(catalog, identity).fill()), catalog


class RoundTripTests(FarawayCase):
    def test_round_trip(self) -> None:
        """Projects, files, marks and the list of names come to a new machine; that they were
        compared does not.
        """
        for number in range(30):
            self.put(
                self.catalog,
                f"p{number}",
                *["1", "2"][: number % 3],
                mark=f"m{number}" if number % 2 else None,
            )
        self.have(self.catalog.complete())
        self.assertTrue(self.have(self.far.write()))
        count, other = self.fills()
        self.assertEqual((count, self.state(other)), (30, self.state(self.catalog)))
        self.assertGreaterEqual(self.have(other.serial()), self.have(self.catalog.serial()))
        self.assertIs(self.have(other.local.get(project_name("absent"))), Presence.UNKNOWN)
        self.assertEqual(list(self.spool.iterdir()), [])


class MergeTests(FarawayCase):
    """What was looked up while the snapshot was on its way is newer."""

    def setUp(self) -> None:
        super().setUp()
        for name in "spam", "eggs", "ham":
            self.put(self.catalog, name, "1")
        self.have(self.far.write())
        self.other = MemoryCatalog()

    def merged(self) -> dict[str, list[str]]:
        self.have(self.opened(self.other).fill())
        found = {}
        for summary in self.have(self.other.local.summaries()):
            project = self.have(self.other.local.get(summary.name))
            assert isinstance(project, Project)
            found[str(summary.name)] = [file.version for file in project.files]
        return found

    @settings(max_examples=30, deadline=None, database=None)
    @given(
        st.sets(st.sampled_from("abcdefgh")),
        st.dictionaries(st.sampled_from("abcdefghijkl"), st.booleans()),
    )
    def test_any(self, packed: set[str], meanwhile: dict[str, bool]) -> None:
        """Whatever was packed, and whatever happened meanwhile: it is as if it had happened
        afterwards.
        """
        first, late, early = MemoryCatalog(), MemoryCatalog(), MemoryCatalog()
        for name in sorted(packed):
            self.put(first, name, "1")
            self.put(early, name, "1")
        self.far = self.opened(first)
        self.have(self.far.write(anyhow=True))
        for name, there in meanwhile.items():
            for catalog in late, early:
                change = a_project(project_name(name), "2") if there else None
                self.have(catalog.local.edit(project_name(name), becomes(change)))
        self.have(self.opened(late).fill())
        said = [
            [
                (each.name, [file.version for file in self.files(catalog, each.name)])
                for each in self.have(catalog.local.summaries())
            ]
            for catalog in (late, early)
        ]
        self.assertEqual(said[0], said[1])

    def files(self, catalog: MemoryCatalog, name: str) -> tuple[File, ...]:
        project = self.have(catalog.local.get(project_name(name)))
        assert isinstance(project, Project)
        return project.files


class IgnoredTests(FarawayCase):
    def test_torn_anywhere(self) -> None:
        """Cut off anywhere, or with a bit changed, it is ignored whole."""
        self.put(self.catalog, "spam", "1", mark="m")
        self.put(self.catalog, "eggs", "1")
        self.have(self.far.write())
        data = self.packed()
        for end in range(0, len(data), 7):
            self.keep(data[:end])
            count, catalog = self.fills()
            self.assertEqual((count, list(self.have(catalog.local.summaries()))), (None, []), end)
        for place in range(10, len(data), 11):
            self.keep(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
            self.assertEqual(list(self.have(self.fills()[1].local.summaries())), [], place)

    def test_foreign(self) -> None:
        """One of another storage, of a later format, or with other lines than ours is ignored."""
        self.put(self.catalog, "spam", "1")
        self.have(self.far.write())
        self.assertIsNone(self.fills("storage-2")[0])
        head, line, end = gzip.decompress(self.packed()).split(b"\n")
        self.assertEqual(json.loads(head)["identity"], HERE)
        lines = (
            (head.replace(b'"format":1', b'"format":3'), line),
            (head, line, line),
            (head,),
            (head, line.replace(b'"spam"', b'"../Spam"', 1)),
            (head, line.replace(b'"spam"', b'"Spam"', 1)),
            (head, b"[]"),
            (b"{}", line),
        )
        for wrong in lines:
            with self.assertRaises(Unreadable):
                unpack(BytesIO(gzip.compress(b"\n".join((*wrong, end)))), HERE)
        unpack(BytesIO(gzip.compress(b"\n".join((head, line, end)))), HERE)

    def test_too_much(self) -> None:
        """No more is read than one can have."""
        self.patch(remote_dump, "LARGEST", 10)
        self.keep(b"x" * 11)
        self.assertIsNone(self.fills()[0])

    def test_away(self) -> None:
        """A storage that is away, or breaks off, is no answer: it is asked again."""

        class Breaking(MemoryBlobs):
            async def read(self, key: str, span: object = None) -> Body:
                return Fed(b"x", EOFError())

        self.store = Breaking(self.world.now)
        self.keep(b"x")
        self.refused(self.opened(MemoryCatalog()).fill(), StorageDown)
        self.assertEqual(list(self.spool.iterdir()), [])


class WriteTests(FarawayCase):
    def writes(self, far: RemoteDump, *, anyhow: bool = False) -> int:
        """How many times the blob is written."""
        watched = far.blobs = Watched(self.store)
        self.have(far.write(anyhow=anyhow))
        return sum(asked.startswith("write") for asked in watched.asked)

    def test_one_node(self) -> None:
        """What another node wrote a moment ago is left alone; later, or at the end, it is not."""
        self.put(self.catalog, "spam", "1")
        other = MemoryCatalog()
        self.put(other, "eggs", "1")
        theirs = self.opened(other)
        self.assertEqual((self.writes(theirs), self.writes(self.far)), (1, 0))
        self.clock.advance(EVERY.total_seconds())
        self.assertEqual(self.writes(self.far), 1)
        self.put(other, "eggs", "1", "2")
        self.assertEqual((self.writes(theirs), self.writes(theirs, anyhow=True)), (0, 1))

    def test_cancelled(self) -> None:
        """Broken off while it is written it leaves the one before, and no file."""

        class Slow(MemoryBlobs):
            async def write(self, key: str, body: Body, *, replace: bool = False):  # type: ignore[no-untyped-def]
                from twisted.internet.defer import Deferred

                await Deferred()

        self.put(self.catalog, "spam", "1")
        self.far.blobs = Slow(self.world.now)
        writing = start(self.far.write())
        writing.addTimeout(timedelta(seconds=9).total_seconds(), self.clock)
        self.clock.advance(10)
        self.failureResultOf(writing)
        self.assertEqual(list(self.spool.iterdir()), [])
        self.assertEqual(self.writes(self.opened(self.catalog)), 1)
