"""`RecordStore` keeps the catalog in line with the storage: one contract for local projects and for
cached files.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.core.errors import CatalogDown, Missing
from pypid.core.model import Blob, Project, StoredFile
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import ObjectKind, kept_key, key
from pypid.flow import BytesBody, start
from pypid.index.store.records import LocalRecords, RecordKind, RecordStore
from pypid.index.upstream.cache_store import CachedRecords
from pypid.ports import Blobs, Catalog
from tests.index.faulty_blobs import Gated, Watched
from tests.index.uploads import SPAM
from tests.support import BEGINNING
from tests.support.engines import Place, PlacedEngine, SharedSettings, a_catalog, open_shared
from tests.support.worlds import Timed

VERSIONS = ("1.0", "2.0", "3.0")
STALE_FOR = timedelta(hours=1)
STEPS = st.sampled_from(
    [
        *[(step, version) for step in ("write", "unrecord", "lose") for version in VERSIONS],
        *[(step, "") for step in ("away", "back", "resync", "flush")],
    ]
)


class RecordStoreContract(Timed):
    """What holds for all kinds of records. The storage is changed behind the back of the store, as
    other nodes do it.
    """

    def setUp(self) -> None:
        super().setUp()
        self.blobs = MemoryBlobs(self.world.now)
        self.watched = Watched(self.blobs)
        self.catalog: Catalog = a_catalog()
        self.records = self.store(self.watched, self.catalog)

    # --- what a kind has to provide ---

    @abstractmethod
    def kind(self, blobs: Blobs, catalog: Catalog) -> RecordKind[Any]:
        """The kind under test."""

    @abstractmethod
    def key(self, filename: str, kind: ObjectKind = ObjectKind.ARTIFACT) -> str:
        """Where it stores a file, and its documents."""

    @abstractmethod
    def files(self, entry: Any) -> Sequence[StoredFile]:
        """The files of an entry."""

    # --- changes of the storage ---

    def store(self, blobs: Blobs, catalog: Catalog, *, shared: bool = False) -> RecordStore[Any]:
        return RecordStore(self.kind(blobs, catalog), blobs, catalog, 100, shared)

    def write(self, version: str) -> StoredFile:
        """A file appears: its bytes, then its record."""
        filename, data = f"spam-{version}.tar.gz", b"bytes of " + version.encode()
        file = StoredFile(
            project=SPAM,
            filename=filename,
            version=version,
            sha256=sha256(data).hexdigest(),
            size=len(data),
            uploaded=BEGINNING,
            source=f"https://files.example/{filename}",
            key=self.key(filename),
        )
        self.have(self.blobs.write(file.key, BytesBody(data), replace=True))
        where = self.key(filename, ObjectKind.RECORD)
        self.have(self.blobs.write(where, BytesBody(dump_record(file)), replace=True))
        return file

    def remove(self, version: str, kind: ObjectKind = ObjectKind.RECORD) -> None:
        """A part of a file disappears."""
        self.have(self.blobs.delete(self.key(f"spam-{version}.tar.gz", kind)))

    def held(self, catalog: Catalog | None = None) -> list[str]:
        """The versions that the catalog has."""
        kind = self.kind(self.blobs, catalog or self.catalog)
        return [file.version for file in self.files(self.have(kind.held(SPAM)))]

    def downloadable(self) -> list[str]:
        """The versions with a record and all of their bytes."""

        async def there(where: str) -> Blob | None:
            try:
                return await self.blobs.stat(where)
            except Missing:
                return None

        return [
            version
            for version in VERSIONS
            if self.have(there(self.key(f"spam-{version}.tar.gz")))
            if self.have(there(self.key(f"spam-{version}.tar.gz", ObjectKind.RECORD)))
        ]

    def listings(self) -> int:
        """How often the storage was listed since the last call."""
        count = sum(asked.startswith("list") for asked in self.watched.asked)
        self.watched.asked.clear()
        return count

    # --- the contract ---

    def test_record_is_the_commit(self) -> None:
        """A file is in the catalog once its record is read, and no more once it is gone."""
        file = self.write("1.0")
        refreshed = self.have(self.records.resync(SPAM))
        self.assertEqual([each.key for each in self.files(refreshed.entry)], [file.key])
        self.assertTrue(refreshed.changed and refreshed.in_catalog)
        self.assertEqual(self.held(), ["1.0"])
        self.assertFalse(self.have(self.records.resync(SPAM)).changed)
        self.remove("1.0")
        self.have(self.records.resync(SPAM))
        self.assertEqual(self.held(), [])

    def test_file_without_its_bytes_is_never_listed(self) -> None:
        """Neither bytes that are gone, nor bytes of another length."""
        self.write("1.0")
        self.write("2.0")
        self.write("3.0")
        self.remove("1.0", ObjectKind.ARTIFACT)
        where = self.key("spam-2.0.tar.gz")
        self.have(self.blobs.write(where, BytesBody(b"cut"), replace=True))
        self.have(self.records.resync(SPAM))
        self.assertEqual(self.held(), ["3.0"])

    def test_damaged_record_hides_only_its_file(self) -> None:
        """A torn record is not a reason to lose the others."""
        self.write("1.0")
        self.write("2.0")
        where = self.key("spam-1.0.tar.gz", ObjectKind.RECORD)
        self.have(self.blobs.write(where, BytesBody(b'{"format":1,'), replace=True))
        self.have(self.records.resync(SPAM))
        self.assertEqual(self.held(), ["2.0"])

    def test_entry_of_an_old_dump_is_compared_before_its_first_use(self) -> None:
        """One listing is enough, and the next use needs none."""
        self.write("1.0")
        self.have(self.records.resync(SPAM))
        later = self.store(self.watched, self.catalog)  # the next process, with the dump
        self.listings()
        kind = self.kind(self.blobs, self.catalog)
        self.assertFalse(later.is_verified(SPAM, self.have(kind.held(SPAM))))
        self.assertEqual(len(self.files(self.have(later.verify(SPAM)))), 1)
        self.assertEqual(self.listings(), 1)
        self.assertTrue(later.is_verified(SPAM, self.have(kind.held(SPAM))))

        after_crash = self.store(self.watched, self.catalog)
        self.write("2.0")
        self.remove("1.0")
        found = self.files(self.have(after_crash.verify(SPAM)))
        self.assertEqual([file.version for file in found], ["2.0"])
        self.assertEqual(self.held(), ["2.0"])

    def test_stale_reading_does_not_overwrite(self) -> None:
        """What another node stored while the storage was read stays listed."""
        self.write("1.0")
        self.have(self.records.resync(SPAM))
        for steps in range(6):
            gate = Gated(self.blobs)
            reading = start(self.store(gate, self.catalog).resync(SPAM))
            for _ in range(steps):
                if gate.waiting:
                    gate.go()
            self.write("2.0")
            self.have(self.records.resync(SPAM))
            gate.all()
            self.successResultOf(reading)
            self.assertEqual(self.held(), ["1.0", "2.0"], steps)
            self.remove("2.0")
            self.have(self.records.resync(SPAM))

    # --- a shared catalog that is unavailable ---

    def shared(self) -> tuple[RecordStore[Any], PlacedEngine]:
        """A store over a shared catalog, and the engine of it."""
        engine = PlacedEngine(self.clock, Place())
        self.catalog = self.have(
            open_shared(SharedSettings("storage", STALE_FOR), engine, self.world)
        )
        self.addCleanup(lambda: self.have(self.catalog.close()))  # type: ignore[attr-defined]
        return self.store(self.watched, self.catalog, shared=True), engine

    def cut_off(self, engine: PlacedEngine, *, off: bool = True) -> None:
        engine.is_down = off
        for _ in range(15):
            self.clock.advance(0.1)

    def test_storage_answers_while_the_catalog_is_away(self) -> None:
        """The update is pending until the catalog is there again."""
        records, engine = self.shared()
        self.write("1.0")
        self.have(records.resync(SPAM))
        self.cut_off(engine)
        self.write("2.0")
        found = self.have(records.resync(SPAM))
        self.assertEqual(len(self.files(found.entry)), 2)
        self.assertFalse(found.in_catalog)
        self.assertEqual(records.pending_updates, {SPAM})
        self.have(records.flush_pending_updates())
        self.assertEqual(records.pending_updates, {SPAM})
        self.cut_off(engine, off=False)
        self.have(records.flush_pending_updates())
        self.assertEqual((self.held(), records.pending_updates), (["1.0", "2.0"], set()))

    def test_edit_while_the_catalog_is_away(self) -> None:
        """The change of the storage stays, and the caller learns that it shows later."""
        records, engine = self.shared()
        self.write("1.0")
        self.have(records.resync(SPAM))
        self.cut_off(engine)
        self.remove("1.0")
        self.refused(records.edit(SPAM, lambda entry: entry), CatalogDown)
        self.assertEqual(records.pending_updates, {SPAM})
        self.cut_off(engine, off=False)
        self.have(records.flush_pending_updates())
        self.assertEqual((self.held(), records.pending_updates), ([], set()))

    def test_any_order(self) -> None:
        """After a resync, what is shown is what can be downloaded; once the catalog is there and
        was told, it agrees.
        """

        @settings(max_examples=60, deadline=None, database=None)
        @given(st.lists(STEPS, max_size=15))
        def check(steps: list[tuple[str, str]]) -> None:
            self.setUp()
            records, engine = self.shared()
            for step, version in steps:
                self.step(records, engine, step, version)
            self.cut_off(engine, off=False)
            self.have(records.resync(SPAM))
            self.assertEqual((self.held(), records.pending_updates), (self.downloadable(), set()))

        check()

    def step(
        self, records: RecordStore[Any], engine: PlacedEngine, step: str, version: str
    ) -> None:
        if step == "write":
            self.write(version)
        elif step in ("unrecord", "lose"):
            self.remove(version, ObjectKind.RECORD if step == "unrecord" else ObjectKind.ARTIFACT)
        elif step in ("away", "back"):
            self.cut_off(engine, off=step == "away")
        elif step == "resync":
            found = self.files(self.have(records.resync(SPAM)).entry)
            self.assertEqual([file.version for file in found], self.downloadable())
        else:
            self.have(records.flush_pending_updates())


class LocalRecordStoreTests(RecordStoreContract, SynchronousTestCase):
    """Local projects."""

    def kind(self, blobs: Blobs, catalog: Catalog) -> RecordKind[Any]:
        return LocalRecords(blobs, catalog, self.world)

    def key(self, filename: str, kind: ObjectKind = ObjectKind.ARTIFACT) -> str:
        return key(SPAM, filename, kind)

    def files(self, entry: Any) -> Sequence[StoredFile]:
        return entry.files if isinstance(entry, Project) else ()

    def test_absence_is_looked_up_each_time(self) -> None:
        """Another process may publish the name at any moment."""
        for _ in range(2):
            self.assertIsNone(self.have(self.records.verify(SPAM)))
            self.assertFalse(self.records.is_verified(SPAM, None))
        self.write("1.0")
        self.assertEqual(len(self.files(self.have(self.records.verify(SPAM)))), 1)


class CachedRecordStoreTests(RecordStoreContract, SynchronousTestCase):
    """Cached files of upstream projects."""

    def kind(self, blobs: Blobs, catalog: Catalog) -> RecordKind[Any]:
        return CachedRecords(blobs, catalog)

    def key(self, filename: str, kind: ObjectKind = ObjectKind.ARTIFACT) -> str:
        return kept_key(SPAM, filename, kind)

    def files(self, entry: Any) -> Sequence[StoredFile]:
        files: Sequence[StoredFile] = entry.kept
        return files

    def test_edit_does_not_verify_the_rest(self) -> None:
        """After a file was stored, the others of an old dump are still compared."""
        file = self.write("1.0")
        self.have(self.records.resync(SPAM))
        later = self.store(self.watched, self.catalog)
        self.remove("1.0")
        other = self.write("2.0")
        entry = self.have(later.edit(SPAM, lambda entry: evolve(entry, kept=(file, other))))
        self.assertFalse(later.is_verified(SPAM, entry))
        self.assertEqual([file.version for file in self.have(later.verify(SPAM)).kept], ["2.0"])
