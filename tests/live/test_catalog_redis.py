"""The shared catalog in a real Redis: the contract, several processes, and two nodes whose server
goes away in the middle.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import contextlib
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog.engine import (
    Beat,
    CatalogReset,
    CatalogRow,
    Conflict,
    DatabaseAway,
    Engine,
    EngineState,
    RowChange,
    RowKind,
)
from pypid.catalog.redis.place import place_of
from pypid.catalog.shared import SharedCatalog, SharedSettings
from pypid.catalog.shared import open as share
from pypid.core.errors import CatalogDown
from pypid.core.model import Presence, Project
from pypid.core.packaging.names import project_name
from pypid.flow import World, at_once, start
from pypid.testing.engine import IDENTITY, EngineContract
from pypid.testing.worlds import BEGINNING, Awaiting
from tests.catalog.swapping import Follower, Storm
from tests.live.clients import ROOT
from tests.live.redis import PASSWORD, Redis, engine_at, reactor, redis, shared
from tests.live.stores.waiting import wait

SPAM = project_name("spam")


class OverSockets(Awaiting):
    """While something is waited for the reactor runs, and only then."""

    def successResultOf(self, deferred: Any) -> Any:
        wait(deferred)
        return super().successResultOf(deferred)

    def failureResultOf(self, deferred: Any, *kinds: type[BaseException]) -> Any:
        wait(deferred)
        return super().failureResultOf(deferred, *kinds)

    def until(self, condition: Callable[[], bool], within: float = 2.0) -> bool:
        """Let the reactor run until that is so, for so many seconds; whether it is."""
        deadline = reactor.seconds() + within
        while not condition() and reactor.seconds() < deadline:
            wait(deferLater(reactor, 0.01))
        return condition()

    def pass_time(self, seconds: float) -> None:
        """The server has its own."""
        time.sleep(seconds)


class RedisContractTests(OverSockets, EngineContract, SynchronousTestCase):
    """Redis keeps the contract."""

    url: str

    async def make(self) -> Engine:
        self.url = shared().catalog()
        return await self.again()

    async def again(self) -> Engine:
        return engine_at(self.url)

    def lose_rows(self) -> None:
        prefix = place_of(self.url).prefix
        shared().ask("DEL", *shared().ask("KEYS", f"{{{prefix}}}:*"))

    def test_opened_at_the_same_time(self) -> None:
        """Several nodes that start at once on an empty database make one catalog."""
        url = shared().catalog()
        nodes = [engine_at(url) for _ in range(6)]
        opened = [start(node.open(IDENTITY)) for node in nodes]
        self.assertEqual(len({self.successResultOf(each) for each in opened}), 1)
        for node in nodes:
            self.have(node.close())

    def test_leaves_nothing(self) -> None:
        """Forgotten leases and links, and a closed engine, leave nothing behind in the server."""
        with redis() as server:
            engine = engine_at(server.url())
            epoch = self.have(engine.open(IDENTITY)).generation
            for number in range(3000):
                name = project_name(f"p{number}")
                if number < 1500:
                    row = self.have(engine.swap(epoch, RowChange(RowKind.LOCAL, name, b"line", 0)))
                    assert isinstance(row, CatalogRow)
                    self.have(engine.swap(epoch, RowChange(RowKind.LOCAL, name, None, row.version)))
            self.have(engine.lease("tidy", "a", 0.01))
            feed = engine.follow(lambda beat: None)
            self.have(engine.tidy(0))
            self.pass_time(0.05)
            self.have(feed.stop())
            self.have(engine.close())
            self.assertEqual(set(server.ask("KEYS", "*")), {b"{pypid}:standing", b"{pypid}:news"})
            self.assertLess(server.ask("XLEN", "{pypid}:news"), 300)
            self.assertEqual(server.ask("CLIENT", "LIST").count(b"\n"), 1)

    def test_many_at_once(self) -> None:
        """More questions than connections take turns, and no more than these are open."""
        asked = [start(self.engine.state()) for _ in range(200)]
        for each in asked:
            self.successResultOf(each)
        self.assertLessEqual(len(self.engine._connections._all), 4)  # type: ignore[attr-defined]

    def test_who_goes_away(self) -> None:
        """Who asks and goes away leaves no answer behind that another one would get."""
        rows = [
            self.put(b"%d" % number * 200_000, name=project_name(f"p{number}"))
            for number in range(4)
        ]
        for _ in range(20):
            asked = [start(self.engine.row(RowKind.LOCAL, row.name)) for row in rows]
            wait(deferLater(reactor, 0.001))
            for each in asked[::2]:
                each.addErrback(lambda failure: None).cancel()
            self.assertEqual([self.successResultOf(each) for each in asked[1::2]], rows[1::2])
        self.assertEqual(
            [self.have(self.engine.row(RowKind.LOCAL, row.name)) for row in rows], rows
        )

    def test_closed_in_the_middle(self) -> None:
        """To close it ends what is under way, and connections that are just made; it opens itself
        again.
        """
        for turns in range(6):
            asked = [start(self.engine.state()) for _ in range(8)]
            for _ in range(turns):
                wait(deferLater(reactor, 0))
            self.have(self.engine.close())
            for each in asked:
                wait(each.addErrback(lambda failure: failure.trap(DatabaseAway) and None))
            self.have(self.engine.close())
            self.assertEqual(self.state().generation, self.generation)


class ProcessesTests(OverSockets, SynchronousTestCase):
    """Several processes that change the same rows."""

    def storm(self, url: str, *, writers: int, count: int) -> Storm:
        """Let them, and prove that nothing is wrong."""
        engine = engine_at(url)
        self.addCleanup(lambda: self.have(engine.close()))
        follower = Follower(engine, self.have(engine.open("storage")).beginning)
        storm = Storm(url, writers, count)
        storm.run(follower, ROOT)
        storm.prove(self, follower)
        return storm

    def test_nothing_is_lost(self) -> None:
        """Of 270 changes by three processes none is lost; versions and serials are given once, in
        the order one sees.
        """
        self.storm(shared().catalog(), writers=3, count=30)

    def test_cut(self) -> None:
        """A server that cuts connections and hangs, again and again, costs time,
        and nothing else.
        """
        with redis() as server:
            ended = threading.Event()

            def trouble() -> None:
                while not ended.wait(0.7):
                    server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                    with server.frozen():
                        time.sleep(0.2)

            troubling = threading.Thread(target=trouble)
            url = server.catalog()
            troubling.start()
            try:
                storm = self.storm(url, writers=3, count=30)
            finally:
                ended.set()
                troubling.join()
            self.assertEqual(len(storm.told), 3)


class Node:
    """An engine that follows."""

    def __init__(self, url: str) -> None:
        self.prefix = url.rpartition("=")[2]
        self.engine = engine_at(url)
        self.beats: list[tuple[Beat, float]] = []
        self.generation = ""
        self.feed: Any = None

    async def begin(self) -> EngineState:
        """Open it and follow."""
        state = await self.engine.open(IDENTITY)
        self.generation = state.generation
        self.feed = self.engine.follow(lambda beat: self.beats.append((beat, reactor.seconds())))
        return state

    @property
    def last(self) -> EngineState:
        """What was heard last."""
        return self.beats[-1][0].state

    def key(self, name: str) -> str:
        """One of Redis."""
        return f"{{{self.prefix}}}:{name}"

    async def put(self, line: bytes) -> CatalogRow:
        """Make the row this line."""
        held = await self.engine.row(RowKind.LOCAL, SPAM)
        found = await self.engine.swap(
            self.generation,
            RowChange(RowKind.LOCAL, SPAM, line, 0 if held is None else held.version),
        )
        assert not isinstance(found, Conflict)
        return found

    async def end(self) -> None:
        """Let go of everything."""
        await self.feed.stop()
        await self.engine.close()


class NodesTests(OverSockets, SynchronousTestCase):
    """Two nodes, and a server of their own."""

    def nodes(self, server: Redis) -> tuple[Node, Node]:
        """Opened, and ended with the test."""
        url = server.catalog()
        made = Node(url), Node(url)
        for node in made:
            self.have(node.begin())
            self.addCleanup(lambda node=node: self.have(node.end()))
            self.assertTrue(self.until(lambda node=node: bool(node.beats)))  # type: ignore[misc]
        return made

    def test_heard_soon(self) -> None:
        """A change is heard of on another node in a fraction of the second that it may take, also
        where no message comes.
        """
        with redis() as server:
            here, there = self.nodes(server)
            took = []
            for number in range(20):
                row = self.have(here.put(b"%d" % number))
                begun = reactor.seconds()
                self.assertTrue(self.until(lambda row=row: there.last.version >= row.version))  # type: ignore[misc]
                took.append(reactor.seconds() - begun)
            self.assertLess(max(took), 1.0)
            self.assertLess(sorted(took)[10], 0.1)
            for beat, heard in there.beats:
                self.assertLess(beat.requested_at, heard)
            server.ask("DEL", here.key("news"))  # thrown away
            server.ask("HINCRBY", here.key("standing"), "rights", 1)
            before = there.beats[0][0].state.rights
            self.assertTrue(self.until(lambda: there.last.rights > before, 1.0))

    def test_frozen(self) -> None:
        """A server that keeps its connections and does not answer is silence, and questions end;
        then all goes on.
        """
        with redis() as server:
            here, there = self.nodes(server)
            self.have(here.put(b"before"))
            with server.frozen():
                self.until(lambda: False, 0.5)
                count = len(there.beats)
                begun = reactor.seconds()
                self.assertNotIn(PASSWORD, str(self.refused(there.engine.state(), DatabaseAway)))
                self.assertLess(reactor.seconds() - begun, 7)
                self.assertEqual(len(there.beats), count)
                begun = reactor.seconds()
                self.have(here.feed.stop())
                self.have(here.feed.stop())
                self.assertLess(reactor.seconds() - begun, 0.5)
            self.assertTrue(self.until(lambda: len(there.beats) > count, 3.0))
            row = self.have(here.put(b"after"))
            self.assertTrue(self.until(lambda: there.last.version == row.version))

    def test_restarted(self) -> None:
        """A server that lost everything is heard of, and begun anew: nobody takes new rows for old
        ones; serials go on.
        """
        with redis() as server:
            here, there = self.nodes(server)
            row = self.have(here.put(b"line"))
            self.have(here.engine.mark_complete(here.generation))
            before = self.have(here.engine.note_rights())
            server.kill()
            self.refused(there.engine.state(), DatabaseAway)
            self.refused(here.put(b"x"), DatabaseAway)
            self.refused(here.engine.note_rights(), DatabaseAway)
            server.start()
            self.assertTrue(self.until(lambda: there.last.generation != before.generation))
            self.assertFalse(there.last.complete)
            self.refused(there.engine.changes(before.position), CatalogReset)
            self.refused(
                here.engine.swap(
                    here.generation, RowChange(RowKind.LOCAL, SPAM, b"x", row.version)
                ),
                CatalogReset,
            )
            self.refused(here.engine.mark_complete(here.generation), CatalogReset)
            state = self.have(
                there.engine.open(IDENTITY, before.serial - 1)
            )  # it had not heard of the last one
            self.assertEqual((state.version, state.complete), (0, False))
            self.assertGreater(state.serial, before.serial)
            self.assertGreater(state.rights, before.rights)
            self.assertEqual(self.have(here.engine.open(IDENTITY, before.serial)), state)
            self.assertTrue(self.until(lambda: here.last == there.last == state))

    def test_rights_of_one_that_lost_all(self) -> None:
        """That rights changed can be told also where all was lost: it is begun anew for that."""
        with redis() as server:
            here, there = self.nodes(server)
            before = self.have(there.engine.note_rights())
            server.restart()
            after = self.have(here.engine.note_rights())
            self.assertGreater(after.rights, before.rights)
            self.assertTrue(self.until(lambda: there.last == after))


class CatalogsTests(OverSockets, SynchronousTestCase):
    """`SharedCatalog`, of two nodes."""

    def catalog(self, url: str) -> SharedCatalog:
        """One, closed with the test."""
        world = World(clock=reactor, now=lambda: BEGINNING, blocking=at_once, random=os.urandom)
        made: SharedCatalog = self.have(share(SharedSettings("storage"), engine_at(url), world))
        self.addCleanup(lambda: self.have(made.close()))
        return made

    def test_restarted(self) -> None:
        """Where the server lost everything nothing is absent that was there; it is filled again,
        and both show that.
        """
        with redis() as server:
            url = server.catalog()
            here, there = self.catalog(url), self.catalog(url)
            self.have(here.local.edit(SPAM, lambda old: Project(name=SPAM)))
            self.have(here.complete())
            self.assertTrue(
                self.until(
                    lambda: self.have(there.local.get(project_name("ham"))) is Presence.ABSENT
                )
            )
            server.restart()
            for name in (SPAM, project_name("ham")):
                self.assertTrue(self.until(lambda name=name: self.unknown(there, name), 5.0))  # type: ignore[misc]
            with contextlib.suppress(Exception):
                self.have(here.complete())  # of a comparison that began before
            self.assertFalse(self.have(there.is_complete()))
            here.begin_comparison()
            made = self.have(here.local.edit(SPAM, lambda old: Project(name=SPAM)))
            self.have(here.complete())
            self.assertTrue(self.until(lambda: self.have(there.local.get(SPAM)) == made))
            self.assertTrue(self.until(lambda: self.have(there.is_complete())))

    def test_storm(self) -> None:
        """Two nodes publish while their server crashes and hangs: in the end both show the same,
        and all of its last life.
        """
        with redis() as server:
            url = server.catalog()
            nodes = self.catalog(url), self.catalog(url)
            lives = 0
            done: dict[str, int] = {}
            ended = False

            async def publish(node: SharedCatalog, mine: int) -> None:
                number = 0
                while not ended:
                    number += 1
                    name = project_name(f"p{mine}-{number % 40}")
                    made = Project(name=name, status_reason=str(number))
                    life = lives
                    try:
                        await node.local.edit(name, lambda old, made=made: made)
                        done[name] = life
                    except CatalogDown:
                        await deferLater(reactor, 0.05)

            writing = [start(publish(node, mine)) for mine, node in enumerate(nodes)]
            for _ in range(3):
                self.until(lambda: False, 0.4)
                with server.frozen():
                    self.until(lambda: False, 0.3)
                server.kill()
                self.until(lambda: False, 0.2)
                lives += 1
                server.start()
            life = lives
            self.assertTrue(
                self.until(lambda: sum(born == life for born in done.values()) > 20, 15.0)
            )
            ended = True
            for each in writing:
                self.successResultOf(each)
            last = [name for name, born in done.items() if born == life]
            engine = engine_at(url)
            state = self.have(engine.state())
            held = self.have(engine.changes(state.beginning)).rows
            self.have(engine.close())
            serials = {row.name: row.serial for row in held if row.line is not None}
            self.assertLessEqual(set(last), set(serials))
            for node in nodes:
                self.assertTrue(self.until(lambda node=node: self.shown(node) == serials, 3.0))  # type: ignore[misc]

    def shown(self, catalog: SharedCatalog) -> dict[str, int]:
        """The serials of all projects that it lists."""
        return {summary.name: summary.serial for summary in self.have(catalog.local.summaries())}

    def unknown(self, catalog: SharedCatalog, name: Any) -> bool:
        """Whether it says that it does not know."""
        return self.have(catalog.local.get(name)) is Presence.UNKNOWN
