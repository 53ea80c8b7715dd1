"""Dumps of the tables of named indexes and named upstreams."""

from __future__ import annotations

import json
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.dump import PACKED, CatalogDump
from pypid.catalog.memory import MemoryCatalog
from pypid.catalog.part_catalog import PartCatalog
from pypid.catalog.remote_dump import RemoteDump, what_is_kept
from pypid.core.model import Presence, Project
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import NAMED_SNAPSHOT, NAMED_THEIR_SNAPSHOT
from pypid.flow import at_once
from pypid.jobs.cache_maintenance import CleanStop
from tests.support import world
from tests.support.catalog import SPAM, a_file, a_listing, a_project, becomes
from tests.support.worlds import Awaiting

HERE = "storage-1"
HAM = project_name("ham")


class NamedDumpCase(Awaiting):
    """A catalog with projects of two named indexes and of a named upstream."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(self.mktemp()).absolute()  # type: ignore[attr-defined]
        self.root.mkdir()
        self.world = world()
        self.catalog = MemoryCatalog()

    def fill(self, catalog: MemoryCatalog) -> None:
        """Add the projects."""
        for index, name in (("team", SPAM), ("team-2", SPAM), ("team", HAM)):
            local = PartCatalog(catalog, index=index).local
            self.have(local.edit(name, becomes(a_project(name, "1", "2")), mark=f"of {index}"))
        listing = a_listing(SPAM, *(f"1.{number}" for number in range(300)))
        edit = PartCatalog(catalog, source="cu128").upstream.edit
        self.have(
            edit(SPAM, lambda entry: evolve(entry, listing=listing, kept=(a_file(SPAM, "1.7"),)))
        )

    def check(self, catalog: MemoryCatalog) -> None:
        """Assert that the catalog has them, and that their names are private."""
        for index in ("team", "team-2"):
            part, before = PartCatalog(catalog, index=index), PartCatalog(self.catalog, index=index)
            self.assertEqual(
                list(self.have(part.local.summaries())), list(self.have(before.local.summaries()))
            )
            self.assertEqual(self.have(part.local.get(SPAM)), self.have(before.local.get(SPAM)))
            self.assertEqual(self.have(part.local.mark(SPAM)), f"of {index}")
        self.assertEqual(self.have(catalog.indexes_with(SPAM)), {"team", "team-2"})
        self.assertEqual(self.have(catalog.indexes_with(HAM)), {"team"})
        upstream = PartCatalog(catalog, source="cu128").upstream
        self.assertEqual(
            self.have(upstream.get(SPAM)),
            self.have(PartCatalog(self.catalog, source="cu128").upstream.get(SPAM)),
        )
        self.assertEqual([head.name for head in self.have(upstream.summaries())], [SPAM])
        self.assertEqual(list(self.have(catalog.local.summaries())), [])
        self.assertEqual(list(self.have(catalog.upstream.summaries())), [])


class FolderTests(NamedDumpCase, SynchronousTestCase):
    """Dumps in the state folder."""

    def dumps(self, catalog: MemoryCatalog) -> list[CatalogDump]:
        """Return the dumps as `wiring` makes them."""
        tables = ((catalog.named_local, "named", 1), (catalog.named_upstream, "theirs", PACKED))
        return [
            CatalogDump(table, str(self.root / folder), HERE, self.world, number, optional=True)
            for table, folder, number in tables
        ]

    def written(self) -> list[bool]:
        """Write the dumps of the catalog."""
        return [self.have(dump.write()) for dump in self.dumps(self.catalog)]

    def loaded(self) -> MemoryCatalog:
        """Return a catalog that starts from the dumps."""
        catalog = MemoryCatalog()
        for dump in self.dumps(catalog):
            self.have(dump.load())
            self.assertTrue(dump.is_whole)
        return catalog

    def test_round_trip(self) -> None:
        """What was written is what is loaded."""
        self.fill(self.catalog)
        self.assertEqual(self.written(), [True, True])
        loaded = self.loaded()
        self.check(loaded)
        self.assertEqual(self.have(loaded.serial()), self.have(self.catalog.serial()))

    def test_became_empty(self) -> None:
        """When the last project is gone, a dump without projects replaces the one before, also if
        it was written by an earlier process, or cannot be read.
        """
        for damage in (None, b"damaged"):
            self.catalog = MemoryCatalog()
            self.fill(self.catalog)
            self.written()
            if damage is not None:
                (self.root / "named/manifest.json").write_bytes(damage)
            self.catalog = MemoryCatalog()
            if damage is None:
                for dump in self.dumps(self.catalog):
                    self.have(dump.load())
                for index, name in (("team", SPAM), ("team-2", SPAM), ("team", HAM)):
                    self.have(
                        PartCatalog(self.catalog, index=index).local.edit(name, becomes(None))
                    )
            self.assertEqual(self.written(), [True, True])
            manifest = json.loads((self.root / "named/manifest.json").read_bytes())
            self.assertEqual(manifest["shards"], {})
            self.assertEqual(self.have(self.loaded().indexes_with(SPAM)), None)

    def test_clean_stop(self) -> None:
        """The note of a clean stop covers these dumps, where there are any: a note that an older
        version left is valid as long as there are none.
        """
        folders = [self.root / name for name in ("first", "named", "theirs")]
        first = CatalogDump(self.catalog.local, str(folders[0]), HERE, self.world)
        self.have(first.write())
        blobs = MemoryBlobs(self.world.now)
        older, newer = (CleanStop(blobs, some, at_once) for some in (folders[:1], folders))
        self.have(older.leave())
        self.assertTrue(self.have(newer.take()))
        self.assertFalse(self.have(newer.take()))
        self.have(older.leave())
        self.fill(self.catalog)
        self.written()
        self.assertFalse(self.have(newer.take()))
        self.have(newer.leave())
        self.assertTrue(self.have(newer.take()))
        self.have(newer.leave())
        (folders[1] / "manifest.json").unlink()
        self.assertFalse(self.have(newer.take()))


class BucketDumpTests(NamedDumpCase, SynchronousTestCase):
    """Dumps in the bucket."""

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryBlobs(self.world.now)

    def dumps(self, catalog: MemoryCatalog) -> list[RemoteDump]:
        """Return the dumps as `wiring` makes them."""
        place = HERE, self.world, self.root
        named, upstream = catalog.named_local, catalog.named_upstream
        return [
            RemoteDump(named, self.store, NAMED_SNAPSHOT, *place, optional=True),
            RemoteDump(
                upstream,
                self.store,
                NAMED_THEIR_SNAPSHOT,
                *place,
                what_is_kept,
                PACKED,
                optional=True,
            ),
        ]

    def test_round_trip(self) -> None:
        """What was written is merged into a catalog that knows some projects already."""
        self.fill(self.catalog)
        for dump in self.dumps(self.catalog):
            self.assertTrue(self.have(dump.write()))
        loaded = MemoryCatalog()
        gone = PartCatalog(loaded, index="team").local
        self.have(gone.edit(SPAM, becomes(a_project(SPAM, "3"))))
        self.have(gone.edit(HAM, becomes(None)))
        for dump in self.dumps(loaded):
            self.have(dump.fill())
        held = self.have(gone.get(SPAM))
        assert isinstance(held, Project)
        self.assertEqual([file.version for file in held.files], ["3"])
        self.assertIs(self.have(gone.get(HAM)), Presence.UNKNOWN)
        self.assertEqual(self.have(loaded.indexes_with(SPAM)), {"team", "team-2"})
        self.assertIsNone(self.have(loaded.indexes_with(HAM)))
        loaded = MemoryCatalog()
        for dump in self.dumps(loaded):
            self.have(dump.fill())
        self.check(loaded)
