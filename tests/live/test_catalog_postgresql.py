"""The shared catalog in a real PostgreSQL: the contract, several processes, and a server that goes
away in the middle.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import gc
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from pypid.core.errors import CannotStart
from pypid.core.packaging.names import project_name
from pypid.database.catalog import SqlEngine, SqlSettings
from pypid.database.catalog_tables import SCHEMA
from pypid.database.engine import Beat, CatalogReset, CatalogRow, Conflict, RowKind
from pypid.database.places import DatabaseAway, DatabaseUnusable, place_of
from pypid.flow import World, at_once, start
from pypid.flow.world import Threads
from tests.catalog.swapping import engine_at
from tests.live.postgresql import PASSWORD, Postgresql, postgresql, shared
from tests.support.engine import IDENTITY, EngineContract
from tests.support.models import to_be

NO_FOLDER = Path("/")
SPAM = project_name("spam")
reactor: Any = installed


class PostgresqlContractTests(EngineContract, SynchronousTestCase):
    """PostgreSQL keeps the contract."""

    url: str

    async def make(self) -> SqlEngine:
        self.url = shared().database()
        return await self.again()

    async def again(self) -> SqlEngine:
        return SqlEngine(SqlSettings(place_of(self.url, NO_FOLDER), at_once), self.world)

    def lose_rows(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for table in ("", "_rows", "_leases", "_links"):
                connection.execute(f"DROP TABLE pypid_catalog{table}".encode())

    def pass_time(self, seconds: float) -> None:
        time.sleep(seconds)

    def test_other_tables(self) -> None:
        """Tables of the same name that are not ours are left alone."""
        url = shared().database()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE pypid_catalog (precious text)")
            connection.execute("INSERT INTO pypid_catalog VALUES ('x')")
            engine = SqlEngine(SqlSettings(place_of(url, NO_FOLDER), at_once), self.world)
            self.addCleanup(lambda: self.have(engine.close()))
            self.refused(engine.open(IDENTITY), DatabaseUnusable)
            self.assertEqual(connection.execute("SELECT * FROM pypid_catalog").fetchall(), [("x",)])

    def test_another_version(self) -> None:
        """A catalog of an older or newer version is begun anew at a start; nodes that run then say
        so, and misread nothing.
        """
        for schema in (SCHEMA - 1, SCHEMA + 98):
            before = self.have(self.engine.open(IDENTITY))
            row = self.have(self.engine.swap(before.generation, to_be(b"line")))
            assert isinstance(row, CatalogRow)
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute(f"UPDATE pypid_catalog SET schema = {schema}".encode())
                connection.execute("ALTER TABLE pypid_catalog_rows RENAME COLUMN line TO other")
            asked = [
                self.engine.changes(before.position),
                self.engine.state(),
                self.engine.row(before.generation, RowKind.LOCAL, SPAM),
            ]
            for each in (
                *asked,
                self.engine.lease("a", "b", 1),
                self.engine.link("a", self.world.now()),
            ):
                self.assertIn("another version", str(self.refused(each, DatabaseUnusable)))
            other = self.have(self.again())
            self.addCleanup(lambda other=other: self.have(other.close()))  # type: ignore[misc]
            self.refused(other.open("another storage"), CannotStart)
            state = self.have(other.open(IDENTITY))
            self.assertEqual((state.complete, state.serial), (False, row.serial))
            self.assertEqual(self.all_rows(other), [])
            self.refused(self.engine.changes(before.position), CatalogReset)

    def test_opened_at_the_same_time(self) -> None:
        """Several nodes that start at once on an empty database make one catalog."""
        url = shared().database()
        found = at_the_same_time(*[lambda: self._opened(url)] * 4)
        self.assertEqual(len(found), 4)
        self.assertEqual(len(set(found)), 1)

    def _opened(self, url: str) -> object:
        engine = engine_at(url)
        done: list[object] = []
        start(engine.open(IDENTITY)).addBoth(done.append)
        start(engine.close())
        return done[0]


def at_the_same_time(*jobs: Callable[[], object]) -> list[object]:
    """What they return, each in a thread of its own."""
    found: list[object] = []
    threads = [threading.Thread(target=lambda job=job: found.append(job())) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


class Node:
    """An engine with a reactor and threads, as in a pypid."""

    def __init__(self, url: str) -> None:
        self.threads = Threads(reactor, "catalog")
        self.feeding = Threads(reactor, "feed", 1)
        place = place_of(url, NO_FOLDER)
        self.world = World(
            clock=reactor, now=lambda: datetime.now(UTC), blocking=self.threads, random=os.urandom
        )
        self.engine = SqlEngine(SqlSettings(place, self.feeding), self.world)
        self.beats: list[tuple[Beat, float]] = []
        self.feed: Any = None

    async def begin(self) -> None:
        """Open it and follow."""
        self.generation = (await self.engine.open(IDENTITY)).generation
        self.feed = self.engine.follow(lambda beat: self.beats.append((beat, reactor.seconds())))
        await self.until(lambda: bool(self.beats))

    async def until(self, condition: Callable[[], bool], within: float = 10.0) -> float:
        """Wait for it; the seconds that took."""
        begun = reactor.seconds()
        while not condition():
            assert reactor.seconds() - begun < within, "it did not come"
            await deferLater(reactor, 0.005)
        return float(reactor.seconds() - begun)

    async def put(self, line: bytes) -> CatalogRow:
        """Make the row this line."""
        held = await self.engine.row(self.generation, RowKind.LOCAL, SPAM)
        found = await self.engine.swap(
            self.generation, to_be(line, 0 if held is None else held[0].version)
        )
        assert not isinstance(found, Conflict)
        return found

    async def end(self) -> None:
        """Let go of everything."""
        if self.feed is not None:
            await self.feed.stop()
        await self.engine.close()
        self.threads.stop()
        self.feeding.stop()
        # psycopg leaves the socket of an attempt that took too long to the collector, and the
        # server waits for it
        gc.collect()


class NodesTests(TestCase):
    """Two nodes with a reactor, and a server of their own."""

    timeout = 120

    async def with_nodes(self, test: Callable[[Postgresql, Node, Node], Any]) -> None:
        """Run the test with them."""
        with postgresql() as server:
            url = server.database()
            here, there = Node(url), Node(url)
            try:
                await here.begin()
                await there.begin()
                await test(server, here, there)
            finally:
                await here.end()
                await there.end()

    async def test_frozen(self) -> None:
        """A server that keeps its connections and does not answer is silence, and questions end;
        then all goes on.
        """

        async def test(server: Postgresql, here: Node, there: Node) -> None:
            await here.put(b"before")
            with server.frozen():
                await deferLater(reactor, 0.5)
                count = len(there.beats)
                begun = reactor.seconds()
                with self.assertRaises(DatabaseAway) as caught:
                    await there.engine.state()
                self.assertLess(reactor.seconds() - begun, 15)
                self.assertNotIn(PASSWORD, str(caught.exception))
                self.assertEqual(len(there.beats), count)
                begun = reactor.seconds()
                await here.feed.stop()
                self.assertLess(reactor.seconds() - begun, 5)
            count = len(there.beats)
            await there.until(lambda: len(there.beats) > count)
            row = await here.put(b"after")
            await there.until(lambda: there.beats[-1][0].state.version == row.version)

        await self.with_nodes(test)
