"""The part of the contract of `Engine` by which nodes agree: rights, leases, links and the feed."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

from attrs import evolve

from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName
from pypid.database import engine as engines
from pypid.database.engine import (
    Beat,
    CatalogRow,
    Engine,
    EngineState,
    Position,
    RowKind,
)
from pypid.ports import SharedLinks
from tests.support.examples import HOUR, SPAM
from tests.support.models import read_rows, to_be
from tests.support.worlds import BEGINNING, Awaiting, Timed

IDENTITY = "the storage of these tests"


class LinksContract(Awaiting):
    """Tests of `SharedLinks`."""

    def nodes(self) -> tuple[SharedLinks, SharedLinks]:
        """Return the ways of two nodes to the same new place."""
        raise NotImplementedError

    def test_links(self) -> None:
        """All nodes give the URL that the first one has stored, until it is not valid for long
        enough.
        """
        one, other = self.nodes()
        first, second = (
            SignedUrl(f"https://bucket.example/{n}?sig=%2F&x={n}", BEGINNING + n * HOUR)
            for n in (1, 2)
        )
        exact = SignedUrl(
            "https://bucket.example/\u00fc", BEGINNING + timedelta(days=9, microseconds=123457)
        )
        self.assertIsNone(self.have(one.link("spam/spam-1.zip", BEGINNING)))
        self.assertEqual(self.have(one.keep_link("spam/spam-1.zip", first, BEGINNING)), first)
        self.assertEqual(self.have(other.keep_link("spam/spam-1.zip", second, BEGINNING)), first)
        self.assertEqual(self.have(other.link("spam/spam-1.zip", BEGINNING)), first)
        self.assertIsNone(self.have(other.link("spam/spam-1.zip", BEGINNING + HOUR)))
        self.assertEqual(
            self.have(other.keep_link("spam/spam-1.zip", second, BEGINNING + HOUR)), second
        )
        self.assertEqual(self.have(one.link("spam/spam-1.zip", BEGINNING)), second)
        self.assertEqual(self.have(one.keep_link("\u8de8 '\"%s/x", exact, BEGINNING)), exact)
        self.assertEqual(self.have(other.link("\u8de8 '\"%s/x", BEGINNING)), exact)


class NodesContract(LinksContract, Timed):
    """Tests of how nodes agree, and what all tests of an engine need."""

    async def make(self) -> Engine:
        """Return an unopened engine on a new place."""
        raise NotImplementedError

    async def again(self) -> Engine:
        """Return another engine, not opened, on the place of the last one that was made: as on
        another node, or after a restart.
        """
        raise NotImplementedError

    def nodes(self) -> tuple[SharedLinks, SharedLinks]:
        return self.engine, self.another()

    def lose_rows(self) -> None:
        """Remove all rows of the last place that was made, as a person who drops the tables or
        empties the database does.
        """
        raise NotImplementedError

    def pass_time(self, seconds: float) -> None:
        """Let so many seconds pass, also for the engine."""
        raise NotImplementedError

    def until(self, condition: Callable[[], bool], within: float = 2.0) -> bool:
        """Let feeds run until the condition holds, for so many seconds; return whether it does."""
        for _ in range(int(within / 0.05)):
            if condition():
                return True
            self.clock.advance(0.05)
        return condition()

    def setUp(self) -> None:
        super().setUp()
        self.engine = self.have(self.make())
        self.addCleanup(lambda: self.have(self.engine.close()))
        self.generation = self.have(self.engine.open(IDENTITY)).generation

    def another(self) -> Engine:
        """Return another node, opened."""
        made = self.have(self.again())
        self.addCleanup(lambda: self.have(made.close()))
        self.have(made.open(IDENTITY))
        return made

    def state(self) -> EngineState:
        """Return the state of the engine."""
        return self.have(self.engine.state())

    def put(self, line: bytes | None, expected: int = 0, **more: Any) -> CatalogRow:
        """Change a row; fails for a conflict."""
        row = self.have(self.engine.swap(self.generation, to_be(line, expected, **more)))
        assert isinstance(row, CatalogRow), row
        return row

    def row(
        self, name: ProjectName = SPAM, kind: RowKind = RowKind.LOCAL
    ) -> tuple[CatalogRow, bytes] | None:
        """Return the row and its line; None if there is none."""
        found = self.have(self.engine.row(self.generation, kind, name))
        return None if found is None else (found[0], found[1].line)

    def all_rows(
        self, engine: Engine | None = None, since: Position | None = None, most: int = 1000
    ) -> list[CatalogRow]:
        """Return the rows that changed since, read in slices."""
        node = engine or self.engine
        return self.have(read_rows(node, since or self.have(node.state()).beginning, most))

    # --- rights, leases, links ---

    def test_rights(self) -> None:
        """A change of users or rights is a number that grows, and nothing else."""
        before = self.state()
        after = self.have(self.another().note_rights())
        self.assertEqual(after, evolve(before, rights=after.rights))
        self.assertGreater(after.rights, before.rights)
        self.assertEqual(self.state(), after)

    def test_leases(self) -> None:
        """A lease has one holder, who may renew it; it ends when its holder gives it back."""
        other = self.another()
        self.assertTrue(self.have(self.engine.lease("tidy", "a", 60)))
        self.assertTrue(self.have(self.engine.lease("tidy", "a", 60)))
        self.assertFalse(self.have(other.lease("tidy", "b", 60)))
        self.assertTrue(self.have(other.lease("mirror", "b", 60)))
        self.have(other.release("tidy", "b"))
        self.assertFalse(self.have(other.lease("tidy", "b", 60)))
        self.have(self.engine.release("tidy", "a"))
        self.assertTrue(self.have(other.lease("tidy", "b", 60)))
        self.assertFalse(self.have(self.engine.lease("tidy", "a", 60)))

    def test_leases_end(self) -> None:
        """A lease whose holder is gone expires by itself, and a renewed one does not."""
        other = self.another()
        self.assertTrue(self.have(self.engine.lease("tidy", "a", 0.4)))
        self.assertFalse(self.have(other.lease("tidy", "b", 60)))
        self.pass_time(0.25)
        self.assertTrue(self.have(self.engine.lease("tidy", "a", 0.4)))
        self.pass_time(0.25)
        self.assertFalse(self.have(other.lease("tidy", "b", 60)))
        self.pass_time(0.25)
        self.assertTrue(self.have(other.lease("tidy", "b", 60)))

    # --- the feed ---

    def follow(self, engine: Engine) -> tuple[engines.Feed, list[Beat]]:
        """Return a feed, and the list of its beats from now on."""
        beats: list[Beat] = []
        feed = engine.follow(beats.append)
        self.addCleanup(lambda: self.have(feed.stop()))
        self.assertTrue(self.until(lambda: bool(beats)))
        return feed, beats

    def test_feed_beats(self) -> None:
        """The feed reports the state again and again, also without changes, until it is stopped."""
        feed, beats = self.follow(self.engine)
        self.assertTrue(self.until(lambda: len(beats) > 4))
        self.assertEqual({beat.state for beat in beats}, {self.state()})
        times = [beat.requested_at for beat in beats]
        self.assertEqual(times, sorted(times))
        # the median, as a machine may stall once
        self.assertLess(
            sorted(later - earlier for earlier, later in pairwise(times))[len(times) // 2], 0.7
        )
        self.have(feed.stop())
        self.have(feed.stop())
        beats.clear()
        self.put(b"line")
        self.assertFalse(self.until(lambda: bool(beats), 0.5))

    def test_feed_tells(self) -> None:
        """Each change, of any kind and by any node, is reported soon."""
        other = self.another()
        _, beats = self.follow(other)
        self.put(b"line")
        self.assert_reported(beats)
        self.put(b"other", self.state().version, seen=False)
        self.assert_reported(beats)
        self.have(self.engine.mark_complete(self.generation))
        self.assert_reported(beats)
        self.have(self.engine.note_rights())
        self.assert_reported(beats)
        self.have(other.note_rights())
        self.assert_reported(beats)
        self.have(self.engine.clear())
        self.assert_reported(beats)
        self.assertEqual(
            [beat.state.version for beat in beats if beat.state.generation == self.generation][-1],
            2,
        )

    def assert_reported(self, beats: list[Beat]) -> None:
        """Assert that the current state is reported within a second."""
        state = self.state()
        self.assertTrue(self.until(lambda: beats[-1].state == state, 1.0), state)

    def test_feed_survives_who_hears(self) -> None:
        """A callback that fails still gets the next change."""
        states: list[EngineState] = []

        def fails(beat: Beat) -> None:
            states.append(beat.state)
            raise ZeroDivisionError

        feed = self.engine.follow(fails)
        self.addCleanup(lambda: self.have(feed.stop()))
        self.put(b"line")
        self.assertTrue(self.until(lambda: bool(states) and states[-1] == self.state()))
        self.have(feed.stop())
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 0)
