"""The shared catalog in a file of SQLite."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.sql.engine import SqlEngine, SqlSettings
from pypid.catalog.sql.place import SqliteFile
from pypid.flow import at_once
from pypid.testing.engine import EngineContract


class InSqlite(EngineContract):
    """Each in a file of its own."""

    path: Path

    async def make(self) -> SqlEngine:
        self.path = Path(self.mktemp()) / "catalog.db"
        return await self.again()

    async def again(self) -> SqlEngine:
        return SqlEngine(SqlSettings(SqliteFile(self.path), at_once), self.world)

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)


class SqliteContractTests(InSqlite, SynchronousTestCase):
    """SQLite keeps the contract."""
