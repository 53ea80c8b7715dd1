"""The contract of the `Engine` of a shared catalog, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

from attrs import evolve
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from pypid.catalog import engine as engines
from pypid.catalog.engine import (
    Beat,
    CatalogReset,
    CatalogRow,
    Conflict,
    Engine,
    EngineState,
    Position,
    RowChange,
    RowKind,
    slices,
)
from pypid.core.errors import CannotStart
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import ProjectName, project_name
from pypid.testing.worlds import BEGINNING, Timed

SPAM = project_name("spam")
HAM = project_name("ham")
IDENTITY = "the storage of these tests"
OTHER = "another storage"
HOUR = timedelta(hours=1)
HOSTILE = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"'; DROP TABLE pypid_catalog; --",
    b"%s%(a)s\\n\n\r\t",
    "\u8de8\u202e".encode(),
)
"""Lines that an engine returns unchanged."""


def to_be(
    line: bytes | None,
    expected: int = 0,
    *,
    name: ProjectName = SPAM,
    kind: RowKind = RowKind.LOCAL,
    seen: bool = True,
) -> RowChange:
    """Return a change that gives the row this line."""
    return RowChange(kind, name, line, expected, seen)


class EngineContract(Timed):
    """Mix into a `SynchronousTestCase` whose `make` gives an engine on a new place, in
    `self.world`.

    An engine whose time, or feed, is not that of `self.clock` overrides `pass_time` and `until`.
    """

    async def make(self) -> Engine:
        """Return an unopened engine on a new place."""
        raise NotImplementedError

    async def again(self) -> Engine:
        """Return another engine, not opened, on the place of the last one that was made: as on
        another node, or after a restart.
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
        self.epoch = self.have(self.engine.open(IDENTITY)).generation

    def another(self) -> Engine:
        """Return another node, opened."""
        made = self.have(self.again())
        self.addCleanup(lambda: self.have(made.close()))
        self.have(made.open(IDENTITY))
        return made

    def state(self) -> EngineState:
        """Return the state of the engine."""
        return self.have(self.engine.state())

    def put(self, line: bytes | None, expected: int = 0, **more: object) -> CatalogRow:
        """Change a row; fails for a conflict."""
        row = self.have(self.engine.swap(self.epoch, to_be(line, expected, **more)))  # type: ignore[arg-type]
        assert isinstance(row, CatalogRow), row
        return row

    def all_rows(
        self, engine: Engine | None = None, since: Position | None = None, most: int = 1000
    ) -> list[CatalogRow]:
        """Return the rows that changed since, read in slices."""
        asked = engine or self.engine
        position = since or self.have(asked.state()).beginning

        async def gathered() -> list[CatalogRow]:
            found: list[CatalogRow] = []
            listing = slices(asked, position, most)
            async for some in listing:
                found.extend(some.rows)
            return found

        return self.have(gathered())

    # --- opening ---

    def test_begins_empty(self) -> None:
        """A new engine has no rows, is not complete, and goes on from the serial that
        it was given.
        """
        engine = self.have(self.make())
        self.addCleanup(lambda: self.have(engine.close()))
        state = self.have(engine.open(IDENTITY, 1000))
        self.assertEqual((state.serial, state.version, state.complete), (1000, 0, False))
        self.assertEqual(self.all_rows(engine), [])

    def test_opened_again(self) -> None:
        """An engine that is opened later, on any node, has the same state."""
        row = self.put(b"line")
        before = self.state()
        other = self.have(self.again())
        self.addCleanup(lambda: self.have(other.close()))
        self.assertEqual(self.have(other.open(IDENTITY, 10**9)), before)
        self.assertEqual(self.have(self.engine.open(IDENTITY)), before)
        self.assertEqual(self.have(other.row(RowKind.LOCAL, SPAM)), row)

    def test_another_storage(self) -> None:
        """Rows of another storage are refused, and stay as they are."""
        self.put(b"line")
        other = self.have(self.again())
        self.addCleanup(lambda: self.have(other.close()))
        self.refused(other.open(OTHER), CannotStart)
        self.assertEqual(len(self.all_rows()), 1)

    def test_closed_and_asked(self) -> None:
        """A closed engine opens itself when it is used."""
        row = self.put(b"line")
        self.have(self.engine.close())
        self.have(self.engine.close())
        self.assertEqual(self.have(self.engine.row(RowKind.LOCAL, SPAM)), row)

    # --- rows ---

    def test_holds_what_was_put(self) -> None:
        """A row has its line, whatever is in it, and the version and serial of its change; local
        and upstream rows are separate.
        """
        before = self.state()
        for number, line in enumerate(HOSTILE, 1):
            name = project_name(f"p{number}")
            row = self.put(line, name=name)
            expected = CatalogRow(
                RowKind.LOCAL, name, before.version + number, before.serial + number, line
            )
            self.assertEqual(
                (row, self.have(self.engine.row(RowKind.LOCAL, name))), (expected, expected)
            )
            self.assertIsNone(self.have(self.engine.row(RowKind.UPSTREAM, name)))
        theirs = self.put(b"theirs", kind=RowKind.UPSTREAM, name=project_name("p1"))
        self.assertEqual(self.have(self.engine.row(RowKind.UPSTREAM, project_name("p1"))), theirs)

    def test_long_lines(self) -> None:
        """Lines may have megabytes; a slice has one such, or many short ones."""
        long = b"\xf0\x9f\0'" * (5 << 18)
        rows = [
            self.put(line, name=project_name(f"p{number}"))
            for number, line in enumerate([b"short", long, b"short", b"short", long])
        ]
        self.assertEqual(self.all_rows(), rows)
        first = self.have(self.engine.changes(self.state().beginning))
        self.assertEqual((len(first.rows), first.more), (4, True))

    def test_one_wins(self) -> None:
        """A row of another version than expected stays, and the caller gets the current row."""
        self.assertEqual(self.have(self.engine.swap(self.epoch, to_be(b"x", 1))), Conflict(None))
        first = self.put(b"first")
        self.assertEqual(self.have(self.another().swap(self.epoch, to_be(b"new"))), Conflict(first))
        second = self.put(b"second", first.version)
        for change in (
            to_be(b"x", first.version),
            to_be(None, first.version),
            to_be(b"x"),
            to_be(b"x", 10**12),
        ):
            before = self.state()
            self.assertEqual(self.have(self.engine.swap(self.epoch, change)), Conflict(second))
            self.assertEqual(self.state(), before)

    def test_done_again(self) -> None:
        """A repeated change does nothing, from any node: so a change with an unknown outcome may be
        repeated.
        """
        first = self.put(b"first")
        self.assertEqual(self.put(b"first"), first)
        second = self.put(b"second", first.version)
        other = self.another()
        for expected in (0, first.version, second.version):
            self.assertEqual(self.have(other.swap(self.epoch, to_be(b"second", expected))), second)
        gone = self.put(None, second.version)
        self.assertEqual(self.put(None, second.version), gone)
        self.assertEqual(self.state().version, gone.version)

    def test_unseen(self) -> None:
        """An invisible change takes a version, and no serial; the row keeps its serial."""
        self.put(b"other", name=HAM)
        first = self.put(b"first")
        second = self.put(b"second", first.version, seen=False)
        self.assertEqual((second.version, second.serial), (first.version + 1, first.serial))
        self.assertEqual(self.have(self.engine.row(RowKind.LOCAL, SPAM)), second)
        new = self.put(b"new", kind=RowKind.UPSTREAM, seen=False)
        self.assertEqual(new.serial, 0)
        self.assertEqual(self.state().serial, first.serial)

    def test_taken_out(self) -> None:
        """A removed row is missing, followers see the removal, and another one may take its
        place.
        """
        first = self.put(b"first")
        before = self.state()
        gone = self.put(None, first.version)
        self.assertEqual(
            gone, CatalogRow(RowKind.LOCAL, SPAM, first.version + 1, first.serial + 1, None)
        )
        self.assertIsNone(self.have(self.engine.row(RowKind.LOCAL, SPAM)))
        self.assertEqual(self.all_rows(since=before.position), [gone])
        for version in (first.version, gone.version):
            self.assertEqual(
                self.have(self.engine.swap(self.epoch, to_be(b"x", version))), Conflict(None)
            )
        back = self.put(b"first")
        self.assertGreater(back.version, gone.version)
        self.assertEqual(
            self.have(self.engine.swap(self.epoch, to_be(b"x", first.version))), Conflict(back)
        )

    def test_taken_out_of_nothing(self) -> None:
        """Removing a row without an expected version is an error."""
        self.refused(self.engine.swap(self.epoch, to_be(None)), ValueError)

    # --- following ---

    def test_slices(self) -> None:
        """What changed comes in slices, each row once, as it is now, in the order
        of the changes.
        """
        rows = [self.put(b"%d" % number, name=project_name(f"p{number}")) for number in range(10)]
        middle = self.have(self.engine.changes(self.state().beginning, 4))
        self.assertEqual((list(middle.rows), middle.more), (rows[:4], True))
        self.assertEqual(middle.position, Position(self.epoch, rows[3].version))
        changed = self.put(b"new", rows[1].version, name=rows[1].name)
        seen = self.put(b"new", rows[6].version, name=rows[6].name)
        rest = [*rows[4:6], *rows[7:], changed, seen]
        for most in (1, 3, 8, 100):
            self.assertEqual(self.all_rows(since=middle.position, most=most), rest)
        end = self.state().position
        self.assertEqual(end.version, seen.version)
        nothing = self.have(self.engine.changes(end))
        self.assertEqual((nothing.rows, nothing.position, nothing.more), ((), end, False))

    def test_positions(self) -> None:
        """A position of another generation, or one that the engine has not reached, is refused."""
        row = self.put(b"line")
        self.refused(self.engine.changes(Position("other", row.version)), CatalogReset)
        self.refused(self.engine.changes(Position(self.epoch, row.version + 1)), CatalogReset)
        self.refused(self.engine.swap("other", to_be(b"x", row.version)), CatalogReset)
        self.refused(self.engine.mark_complete("other"), CatalogReset)
        self.assertEqual(self.all_rows(), [row])

    def test_tidy(self) -> None:
        """The last removed rows are remembered; a follower that missed others has to read all
        again.
        """
        self.put(b"stays", name=HAM)
        begun = self.state()
        rows = [self.put(b"line", name=project_name(f"p{number}")) for number in range(4)]
        before = self.state()
        gone = [self.put(None, row.version, name=row.name) for row in rows]
        self.have(self.engine.tidy(2))
        self.refused(self.engine.changes(begun.position), CatalogReset)
        self.refused(self.engine.changes(before.position), CatalogReset)
        self.assertEqual(self.all_rows(since=Position(self.epoch, gone[1].version)), gone[2:])
        self.assertEqual([row.name for row in self.all_rows() if row.line is not None], [HAM])
        self.assertEqual(self.state().generation, self.epoch)
        self.have(self.another().tidy(0))
        self.assertEqual(self.all_rows(since=self.state().position), [])
        self.put(b"again", name=rows[0].name)

    def test_complete(self) -> None:
        """A catalog that one node marked complete is complete for all nodes, also later ones, until
        it is reset.
        """
        other = self.another()
        self.assertTrue(self.have(self.engine.mark_complete(self.epoch)).complete)
        self.assertTrue(self.have(other.state()).complete)
        self.put(b"line")
        self.assertTrue(self.have(self.another().state()).complete)

    def test_begun_anew(self) -> None:
        """After a reset, it has no rows and is not complete; serials go on, and followers have to
        read from the beginning.
        """
        row = self.put(b"line")
        self.have(self.engine.mark_complete(self.epoch))
        before = self.state()
        state = self.have(self.another().clear())
        self.assertEqual((state.complete, state.serial), (False, before.serial))
        self.assertNotEqual(state.generation, self.epoch)
        self.assertEqual(self.state(), state)
        self.refused(self.engine.changes(before.position), CatalogReset)
        self.refused(self.engine.swap(self.epoch, to_be(b"x", row.version)), CatalogReset)
        self.assertEqual(self.all_rows(), [])
        self.epoch = self.have(self.engine.open(IDENTITY)).generation
        self.assertEqual(self.epoch, state.generation)
        self.assertEqual(self.put(b"line").serial, before.serial + 1)

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

    def test_links(self) -> None:
        """All nodes give the URL that the first one has stored, until it is not valid for long
        enough.
        """
        other = self.another()
        first, second = (
            SignedUrl(f"https://bucket.example/{n}?sig=%2F&x={n}", BEGINNING + n * HOUR)
            for n in (1, 2)
        )
        exact = SignedUrl(
            "https://bucket.example/\u00fc", BEGINNING + timedelta(days=9, microseconds=123457)
        )
        self.assertIsNone(self.have(self.engine.link("spam/spam-1.zip", BEGINNING)))
        self.assertEqual(
            self.have(self.engine.keep_link("spam/spam-1.zip", first, BEGINNING)), first
        )
        self.assertEqual(self.have(other.keep_link("spam/spam-1.zip", second, BEGINNING)), first)
        self.assertEqual(self.have(other.link("spam/spam-1.zip", BEGINNING)), first)
        self.assertIsNone(self.have(other.link("spam/spam-1.zip", BEGINNING + HOUR)))
        self.assertEqual(
            self.have(other.keep_link("spam/spam-1.zip", second, BEGINNING + HOUR)), second
        )
        self.assertEqual(self.have(self.engine.link("spam/spam-1.zip", BEGINNING)), second)
        self.assertEqual(
            self.have(self.engine.keep_link("\u8de8 '\"%s/x", exact, BEGINNING)), exact
        )
        self.assertEqual(self.have(other.link("\u8de8 '\"%s/x", BEGINNING)), exact)

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
        asked = [beat.requested_at for beat in beats]
        self.assertEqual(asked, sorted(asked))
        self.assertLess(max(later - earlier for earlier, later in pairwise(asked)), 0.7)
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
        self.heard(beats)
        self.put(b"other", self.state().version, seen=False)
        self.heard(beats)
        self.have(self.engine.mark_complete(self.epoch))
        self.heard(beats)
        self.have(self.engine.note_rights())
        self.heard(beats)
        self.have(other.note_rights())
        self.heard(beats)
        self.have(self.engine.clear())
        self.heard(beats)
        self.assertEqual(
            [beat.state.version for beat in beats if beat.state.generation == self.epoch][-1], 2
        )

    def heard(self, beats: list[Beat]) -> None:
        """Assert that the current state is reported within a second."""
        state = self.state()
        self.assertTrue(self.until(lambda: beats[-1].state == state, 1.0), state)

    def test_feed_survives_who_hears(self) -> None:
        """A callback that fails still gets the next change."""
        heard: list[EngineState] = []

        def fails(beat: Beat) -> None:
            heard.append(beat.state)
            raise ZeroDivisionError

        feed = self.engine.follow(fails)
        self.addCleanup(lambda: self.have(feed.stop()))
        self.put(b"line")
        self.assertTrue(self.until(lambda: bool(heard) and heard[-1] == self.state()))
        self.have(feed.stop())
        self.assertGreater(len(self.flushLoggedErrors(ZeroDivisionError)), 0)

    # --- model ---

    def test_is_a_dict(self) -> None:
        """Changes in any order by several nodes give the rows of a dict, and of a follower."""
        modest = settings(
            max_examples=15,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        stateful.run_state_machine_as_test(lambda: EngineModel(self), settings=modest)  # type: ignore[arg-type]


_names = st.sampled_from([project_name(text) for text in ("spam", "ham", "eggs")])
_lines = st.sampled_from((b"one", b"two", b"\0three"))


class EngineModel(stateful.RuleBasedStateMachine):
    """Two engines on one place compared with a dict, and with a follower."""

    def __init__(self, contract: EngineContract) -> None:
        super().__init__()
        self.contract = contract
        engine = contract.engine
        self.nodes = (engine, contract.have(contract.again()))
        self.state = contract.have(engine.clear())
        self.held: dict[tuple[RowKind, ProjectName], CatalogRow] = {}
        self.copy: dict[tuple[RowKind, ProjectName], CatalogRow] = {}
        self.position = self.state.beginning

    def teardown(self) -> None:
        self.contract.have(self.nodes[1].close())

    @stateful.rule(
        node=st.integers(0, 1),
        kind=st.sampled_from(RowKind),
        name=_names,
        line=_lines | st.none(),
        seen=st.booleans(),
        stale=st.integers(0, 3),
    )
    def swap(
        self,
        node: int,
        kind: RowKind,
        name: ProjectName,
        line: bytes | None,
        seen: bool,
        stale: int,
    ) -> None:
        held = self.held.get((kind, name))
        there = held is not None and held.line is not None
        expected = max(0, held.version - stale) if held is not None and there else stale
        if line is None and not expected:
            return
        found = self.contract.have(
            self.nodes[node].swap(
                self.state.generation, RowChange(kind, name, line, expected, seen)
            )
        )
        if held is not None and held.line == line:
            assert found == held
        elif expected != (held.version if held is not None and there else 0):
            assert found == Conflict(held if there else None)
        else:
            version, serial = self.state.version + 1, self.state.serial + seen
            row = CatalogRow(
                kind,
                name,
                version,
                serial if seen else held.serial if held is not None else 0,
                line,
            )
            assert found == row
            self.held[kind, name] = row
            self.state = evolve(self.state, version=version, serial=serial)

    @stateful.rule(node=st.integers(0, 1))
    def follow(self, node: int) -> None:
        for row in self.contract.all_rows(self.nodes[node], self.position, 2):
            assert row.version > self.position.version
            self.position = evolve(self.position, version=row.version)
            self.copy[row.kind, row.name] = row

    @stateful.rule()
    def read_all(self) -> None:
        assert self.contract.all_rows(self.nodes[1]) == sorted(
            self.held.values(), key=lambda row: row.version
        )

    @stateful.invariant()
    def same(self) -> None:
        assert self.contract.have(self.nodes[1].state()) == self.state
        for (kind, name), row in self.held.items():
            assert self.contract.have(self.nodes[0].row(kind, name)) == (
                None if row.line is None else row
            )

    @stateful.rule()
    def caught_up(self) -> None:
        self.follow(0)
        assert self.copy == self.held
