"""A shared catalog in a file of SQLite with which something is wrong."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import event
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import project_name
from pypid.database import catalog_drivers
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.catalog_drivers import SILENCE, PollingFeed, SqliteStateReader
from pypid.database.catalog_tables import SCHEMA
from pypid.database.engine import ONCE_MORE, Beat, CatalogReset, CatalogRow, EngineState, RowKind
from pypid.database.places import DatabaseAway, DatabaseFull, DatabaseUnusable, SqliteFile
from pypid.flow import at_once, start
from tests.support.engine import IDENTITY, OTHER, SPAM, to_be
from tests.support.worlds import Timed, Turns

HAM = project_name("ham")


class Faulty(Timed):
    """An engine on a file, opened, with a row in it."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(catalog_drivers, "BUSY", 0.05)
        self.path = Path(self.mktemp()) / "catalog.db"
        self.engine = self.another()
        self.before = self.have(self.engine.open(IDENTITY))
        self.row = self.put(b"line")
        self.state = self.have(self.engine.state())

    def another(self) -> SqlEngine:
        """Another one on the file, not opened."""
        made = SqlEngine(SqlSettings(SqliteFile(self.path), at_once), self.world)
        self.addCleanup(lambda: self.have(made.close()))
        return made

    def put(self, line: bytes, expected: int = 0) -> CatalogRow:
        """Change the row."""
        row = self.have(self.engine.swap(self.before.generation, to_be(line, expected)))
        assert isinstance(row, CatalogRow)
        return row

    def driver(self) -> Any:
        """The connections of the engine."""
        return self.engine._driver

    @contextlib.contextmanager
    def by_hand(self) -> Any:
        """A connection of the tests' own."""
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            yield connection


class FileTests(Faulty, SynchronousTestCase):
    """What becomes of the file."""

    def test_is_ours_alone(self) -> None:
        """The file and its companions, which hold signed URLs, can be read by nobody else."""
        modes = {path.name: path.stat().st_mode & 0o777 for path in self.path.parent.iterdir()}
        self.assertEqual(
            modes, {"catalog.db": 0o600, "catalog.db-wal": 0o600, "catalog.db-shm": 0o600}
        )

    def test_deleted(self) -> None:
        """A file that was deleted is noticed, and a new one made in its place when it is opened;
        leftovers are not read.
        """
        reader = SqliteStateReader(SqliteFile(self.path), self.clock)
        self.addCleanup(reader.close)
        reader.look()
        self.path.unlink()
        for each in (reader, SqliteStateReader(SqliteFile(self.path), self.clock)):
            self.assertRaises(CatalogReset, each.look)
        for asked in (self.engine.state(), self.engine.changes(self.state.position), self.swap()):
            self.refused(asked, CatalogReset)
        for asked in (
            self.engine.lease("a", "b", 1),
            self.engine.release("a", "b"),
            self.engine.tidy(),
        ):
            self.refused(asked, DatabaseAway)  # who is given no epoch
        state = self.have(self.engine.open(IDENTITY, self.state.serial))
        self.assertEqual((state.version, state.serial), (0, self.state.serial))
        self.refused(self.engine.changes(self.state.position), CatalogReset)
        self.assertEqual(self.have(self.engine.changes(state.beginning)).rows, ())

    def swap(self) -> Any:
        """A change of the row."""
        return self.engine.swap(self.before.generation, to_be(b"x", self.row.version))

    def replace(self, identity: str) -> None:
        """Put the file of a storage in its place."""
        other = self.path.with_name("other.db")
        made = SqlEngine(SqlSettings(SqliteFile(other), at_once), self.world)
        self.have(made.open(identity))
        self.have(made.close())
        other.replace(self.path)

    def test_of_another_storage(self) -> None:
        """The file of another storage is refused."""
        self.have(self.engine.close())
        self.replace(OTHER)
        self.refused(self.engine.changes(self.state.position), CatalogReset)
        self.refused(self.engine.open(IDENTITY), CannotStart)

    def test_copied_back(self) -> None:
        """A copy of last week's file is begun anew: what it holds may be old. Serials go on."""
        self.have(self.engine.mark_complete(self.before.generation))
        self.have(self.engine.close())
        copy = self.path.with_name("copy.db")
        copy.write_bytes(self.path.read_bytes())
        copy.replace(self.path)
        self.refused(self.engine.state(), CatalogReset)
        found = self.have(self.engine.open(IDENTITY))
        self.assertEqual(
            (found.version, found.complete, found.serial), (0, False, self.state.serial)
        )

    def test_damaged(self) -> None:
        """A file that is no database is said to be damaged, and left alone."""
        self.have(self.engine.close())
        self.path.with_name("catalog.db-wal").unlink(missing_ok=True)
        self.path.write_bytes(b"something else" * 100)
        self.assertIn("delete", str(self.refused(self.engine.state(), DatabaseUnusable)))
        self.refused(self.engine.open(IDENTITY), DatabaseUnusable)
        self.assertEqual(self.path.read_bytes(), b"something else" * 100)

    def test_another_version(self) -> None:
        """A catalog of an older or newer version is begun anew at a start, which says so, as does
        who runs; serials go on.
        """
        for schema, age in ((SCHEMA - 1, "an older"), (SCHEMA + 1, "a newer")):
            before = self.have(self.engine.open(IDENTITY))
            self.have(self.engine.mark_complete(before.generation))
            with self.by_hand() as connection:
                connection.execute(f"UPDATE pypid_catalog SET schema = {schema}")
                connection.execute("ALTER TABLE pypid_catalog_rows RENAME COLUMN line TO text")
            for asked in self.all_questions(before):
                self.assertIn("version", str(self.refused(asked, DatabaseUnusable)))
            other = self.another()
            with capturedLogs() as said:
                self.refused(other.open(OTHER), CannotStart)
                self.assertEqual(said, [])
                state = self.have(other.open(IDENTITY))
                self.assertIn(f"version {schema}, of {age} pypid", formatEvent(said.pop()))
                self.assertEqual((self.have(other.open(IDENTITY)), said), (state, []))
            self.assertEqual(
                (state.serial, state.version, state.complete), (before.serial, 0, False)
            )
            self.refused(self.engine.changes(before.position), CatalogReset)
            self.assertEqual(self.have(self.engine.changes(state.beginning)).rows, ())

    def all_questions(self, state: EngineState) -> list[Any]:
        """All that reads or writes a table."""
        engine, link = self.engine, SignedUrl("https://x", self.world.now())
        asked = [
            engine.state(),
            engine.changes(state.position),
            engine.row(state.generation, RowKind.LOCAL, SPAM),
            self.swap(),
            engine.tidy(),
        ]
        asked += [engine.mark_complete(state.generation), engine.note_rights(), engine.clear()]
        asked += [engine.lease("a", "b", 1), engine.release("a", "b")]
        return [
            *asked,
            engine.link("a", self.world.now()),
            engine.keep_link("a", link, self.world.now()),
        ]


class WritingTests(Faulty, SynchronousTestCase):
    """Changes that cannot be made, or of which nobody knows whether they were."""

    def test_outcome_unknown(self) -> None:
        """A change that was made, and whose answer was lost, is found to be made when it is tried
        again: once.
        """
        lost = []

        def lose(connection: Any) -> None:
            if not lost:
                lost.append(connection)
                connection.connection.commit()
                raise sqlite3.OperationalError("the connection was lost")

        event.listen(self.driver().engine, "commit", lose)
        waiting = start(self.engine.swap(self.before.generation, to_be(b"new", self.row.version)))
        self.assertNoResult(waiting)
        self.clock.advance(ONCE_MORE)
        found = self.successResultOf(waiting)
        self.assertEqual((len(lost), found.size, found.version), (1, 3, self.row.version + 1))
        self.assertEqual(self.have(self.engine.state()).version, found.version)

    def test_cut_short(self) -> None:
        """A change that fails half-way leaves nothing behind: no row, no version, no serial."""

        def fail(connection: Any) -> None:
            raise sqlite3.OperationalError("the disk is gone")

        event.listen(self.driver().engine, "commit", fail)
        waiting = start(self.engine.swap(self.before.generation, to_be(b"new", self.row.version)))
        self.clock.advance(ONCE_MORE)
        self.failureResultOf(waiting, DatabaseAway)
        event.remove(self.driver().engine, "commit", fail)
        self.assertEqual(self.have(self.engine.state()), self.state)
        found = self.have(self.engine.row(self.before.generation, RowKind.LOCAL, SPAM))
        self.assertEqual(found and found[0], self.row)

    def test_full(self) -> None:
        """Where there is no room for it nothing has changed, and what is there can be read; with
        room it goes on.
        """
        with self.by_hand() as connection:
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        limit = [pages]
        event.listen(
            self.driver().engine,
            "begin",
            lambda asked: asked.exec_driver_sql(f"PRAGMA max_page_count = {limit[0]}").close(),
        )
        for name in (SPAM, HAM):
            change = to_be(b"x" * 100_000, name=name, kind=RowKind.UPSTREAM)
            self.assertIn(
                "room",
                str(self.refused(self.engine.swap(self.before.generation, change), DatabaseFull)),
            )
        self.assertEqual(self.have(self.engine.state()), self.state)
        found = self.have(self.engine.row(self.before.generation, RowKind.LOCAL, SPAM))
        self.assertEqual(found and found[0], self.row)
        limit[0] = pages + 1000
        self.assertIsInstance(
            self.have(self.engine.swap(self.before.generation, change)), CatalogRow
        )


class Hanging:
    """Something to look at that does not answer until it is cut."""

    pause = 0.1

    def __init__(self) -> None:
        self.cuts = self.closes = self.looks = 0

    def look(self) -> Beat:
        self.looks += 1
        raise DatabaseAway("it was cut")

    def cut(self) -> None:
        self.cuts += 1

    def close(self) -> None:
        self.closes += 1


class SilenceTests(Timed, SynchronousTestCase):
    """A feed that gets no answer."""

    def test_cut_and_opened_again(self) -> None:
        """After a second without an answer the connection is cut, and another one opened."""
        hanging, turns, heard = Hanging(), Turns(), []
        feed = PollingFeed(hanging, turns, self.clock, heard.append)
        self.clock.advance(0.1)
        self.clock.advance(SILENCE - 0.01)
        self.assertEqual((hanging.cuts, len(turns)), (0, 1))
        self.clock.advance(0.01)
        self.assertEqual(hanging.cuts, 1)
        turns.all()
        self.assertEqual((hanging.looks, hanging.closes), (1, 1))
        for _ in range(5):
            self.clock.advance(0.1)
            turns.all()
        self.assertGreater(hanging.looks, 1)
        stopped = start(feed.stop())
        turns.all()
        self.successResultOf(stopped)
        self.assertEqual((heard, self.clock.getDelayedCalls()), ([], []))
