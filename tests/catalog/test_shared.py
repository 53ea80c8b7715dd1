"""The catalog that several nodes share keeps the contract of all catalogs, on each engine."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import replica
from pypid.catalog.shared import SharedCatalog
from pypid.core.caches import MemoryBudget
from pypid.core.packaging.names import project_name
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.engine import Engine
from pypid.database.places import SqliteFile
from pypid.flow import at_once
from tests.support import CatalogContract, world
from tests.support.catalog import a_file, a_listing
from tests.support.engine import EngineContract
from tests.support.engines import Place, PlacedEngine, SharedSettings, open_shared


class PlacedEngineTests(EngineContract, SynchronousTestCase):
    """The engine in memory that other tests believe keeps the contract of engines."""

    async def make(self) -> PlacedEngine:
        self.place = Place()
        return await self.again()

    async def again(self) -> PlacedEngine:
        return PlacedEngine(self.clock, self.place)

    def lose_rows(self) -> None:
        self.place.lose()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)


class Sharing(CatalogContract):
    """The contract, with catalogs that are closed in the end."""

    async def engine(self, clock: Clock) -> Engine:
        """A new one."""
        return PlacedEngine(clock)

    def settings(self) -> SharedSettings:
        """Return the settings of the catalog."""
        return SharedSettings("storage")

    async def make(self) -> SharedCatalog:
        clock = Clock()
        made = await open_shared(self.settings(), await self.engine(clock), world(clock))
        self.addCleanup(lambda: self.have(made.close()))
        return made


class UnrememberedTests(Sharing, SynchronousTestCase):
    """The contract holds where no project stays decoded."""

    def settings(self) -> SharedSettings:
        return SharedSettings("storage", memory=MemoryBudget(0))

    def setUp(self) -> None:
        self.patch(replica, "DECODED", 0)
        super().setUp()

    def test_listed_files_stay(self) -> None:
        """A change of what is cached leaves the listed files as they are."""
        names = [project_name(f"project-{number}") for number in range(5)]
        for name in names:
            listing = a_listing(name, "1", "2")
            self.have(
                self.catalog.upstream.edit(name, lambda it, new=listing: evolve(it, listing=new))
            )
        for name in names:
            found = self.have(self.catalog.upstream.get(name))
            self.assertEqual(found.listing, a_listing(name, "1", "2"))
            kept = (a_file(name, "1"),)
            self.have(self.catalog.upstream.edit(name, lambda it, new=kept: evolve(it, kept=new)))
            found = self.have(self.catalog.upstream.get(name))
            self.assertEqual((found.listing, found.kept), (a_listing(name, "1", "2"), kept))


class SqliteTests(Sharing, SynchronousTestCase):
    """The contract over a file of SQLite."""

    async def engine(self, clock: Clock) -> Engine:
        return SqlEngine(
            SqlSettings(SqliteFile(Path(self.mktemp()) / "catalog.db"), at_once), world(clock)
        )
