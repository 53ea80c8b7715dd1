"""The catalog that several nodes share keeps the contract of all catalogs, on each engine."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from itertools import count
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import table
from pypid.catalog.engine import Engine
from pypid.catalog.shared import SharedCatalog, SharedSettings, open
from pypid.catalog.sql.engine import SqlEngine, SqlSettings
from pypid.databases.places import SqliteFile
from pypid.flow import at_once
from pypid.testing import CatalogContract, world
from pypid.testing.engine import EngineContract
from tests.catalog.engines import Place, PlacedEngine


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

    async def make(self) -> SharedCatalog:
        clock = Clock()
        made = await open(SharedSettings("storage"), await self.engine(clock), world(clock))
        self.addCleanup(lambda: self.have(made.close()))
        return made


class ContractTests(Sharing, SynchronousTestCase):
    """The contract over an engine in memory."""


class LongLinesTests(Sharing, SynchronousTestCase):
    """The contract holds where each line is long, and nothing stays decoded."""

    def setUp(self) -> None:
        for name in ("FEW", "SHORT", "DECODED"):
            self.patch(table, name, 0)
        super().setUp()


class SlowContractTests(Sharing, SynchronousTestCase):
    """The contract holds where no beat is ever heard, so that each read asks."""

    async def engine(self, clock: Clock) -> Engine:
        rising = count()
        clock.seconds = lambda: next(rising) * 0.3  # type: ignore[method-assign]
        return PlacedEngine(clock, is_mute=True)


class SqliteTests(Sharing, SynchronousTestCase):
    """The contract over a file of SQLite."""

    async def engine(self, clock: Clock) -> Engine:
        return SqlEngine(
            SqlSettings(SqliteFile(Path(self.mktemp()) / "catalog.db"), at_once), world(clock)
        )
