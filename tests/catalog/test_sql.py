"""The shared catalog in a file of SQLite."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import project_name
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.places import SqliteFile
from pypid.flow import at_once, start
from tests.catalog.swapping import Follower, Storm, engine_at
from tests.support.engine import EngineContract

ROOT = Path(__file__).resolve().parents[2]


class InSqlite(EngineContract):
    """Each in a file of its own."""

    path: Path

    async def make(self) -> SqlEngine:
        self.path = Path(self.mktemp()) / "catalog.db"
        return await self.again()

    async def again(self) -> SqlEngine:
        return SqlEngine(SqlSettings(SqliteFile(self.path), at_once), self.world)

    def lose_rows(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            for table in ("", "_rows", "_leases", "_links"):
                connection.execute(f"DROP TABLE pypid_catalog{table}")

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)


class SqliteContractTests(InSqlite, SynchronousTestCase):
    """SQLite keeps the contract."""

    def test_rows_of_a_later_version(self) -> None:
        """Rows of a kind that this version does not know are passed over, also where a slice has
        no others.
        """
        first = self.put(b"first")
        before = self.state()
        rows = [self.put(b"later", name=project_name(f"p{number}")) for number in range(5)]
        last = self.put(b"last", name=project_name("last"))
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(
                "UPDATE pypid_catalog_rows SET kind = 'later' WHERE version > ? AND version < ?",
                (first.version, last.version),
            )
            connection.commit()
        for most in (2, 1000):
            self.assertEqual(self.all_rows(most=most), [first, last])
            self.assertEqual(self.all_rows(since=before.position, most=most), [last])
        self.assertIsNone(self.row(rows[0].name))


class ProcessesTests(SynchronousTestCase):
    """Several processes with one file. (More of them: `tests.live.test_catalog_postgresql`.)"""

    def test_nothing_is_lost(self) -> None:
        """Of changes that two processes make to the same rows none is lost, and who follows sees
        them in their order.
        """
        path = Path(self.mktemp()).absolute() / "catalog.db"
        engine = engine_at(str(path))
        state = self.successResultOf(start(engine.open("storage")))
        follower = Follower(engine, state.beginning)
        storm = Storm(str(path), writers=2, count=20)
        storm.run(follower, ROOT)
        storm.prove(self, follower)
        self.successResultOf(start(engine.close()))
