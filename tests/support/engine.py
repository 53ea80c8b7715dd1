"""The contract of the `Engine` of a shared catalog, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import UTC, datetime

from attrs import evolve

from pypid.core.errors import CannotStart
from pypid.core.model import Status
from pypid.core.packaging.names import ProjectName, project_name
from pypid.database.engine import (
    CatalogReset,
    CatalogRow,
    Conflict,
    Position,
    RowChange,
    RowContents,
    RowHead,
    RowKind,
)
from tests.support.examples import HAM, SPAM
from tests.support.models import EngineModel, row_of, run_model, to_be
from tests.support.nodes import IDENTITY, NodesContract

__all__ = ["IDENTITY", "OTHER", "SPAM", "EngineContract", "to_be"]

OTHER = "another storage"
HOSTILE = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"'; DROP TABLE pypid_catalog; --",
    b"%s%(a)s\\n\n\r\t",
    "\u8de8\u202e".encode(),
)
"""Lines that an engine returns unchanged."""


class EngineContract(NodesContract):
    """Mix into a `SynchronousTestCase` whose `make` gives an engine on a new place, in
    `self.world`.

    An engine whose time, or feed, is not that of `self.clock` overrides `pass_time` and `until`.
    """

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
        self.assertEqual(
            self.have(other.row(self.generation, RowKind.LOCAL, SPAM)), (row, RowContents(b"line"))
        )

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
        self.assertEqual(self.row(), (row, b"line"))

    def test_lost_rows(self) -> None:
        """Rows that were removed behind the engine's back are reported as `CatalogReset`, also to
        a node that only reads the state; `open` begins another generation.
        """
        row = self.put(b"line")
        self.lose_rows()
        self.refused(self.engine.state(), CatalogReset)
        self.refused(self.engine.row(self.generation, RowKind.LOCAL, SPAM), CatalogReset)
        self.refused(self.engine.changes(Position(self.generation, row.version)), CatalogReset)
        state = self.have(self.engine.open(IDENTITY))
        self.assertNotEqual(state.generation, self.generation)
        self.assertEqual(self.state(), state)
        self.generation = state.generation
        self.assertIsNone(self.row())

    # --- rows ---

    def test_holds_what_was_put(self) -> None:
        """A row has its line, whatever is in it, and the version and serial of its change; local
        and upstream rows are separate.
        """
        before = self.state()
        for number, line in enumerate(HOSTILE, 1):
            name = project_name(f"p{number}")
            row = self.put(line, name=name)
            expected = row_of(
                RowKind.LOCAL, name, before.version + number, before.serial + number, line
            )
            self.assertEqual((row, self.row(name)), (expected, (expected, line)))
            self.assertIsNone(self.row(name, RowKind.UPSTREAM))
        upstream_row = self.put(b"theirs", kind=RowKind.UPSTREAM, name=project_name("p1"))
        self.assertEqual(self.row(project_name("p1"), RowKind.UPSTREAM), (upstream_row, b"theirs"))

    def test_contents(self) -> None:
        """A line may have megabytes; listed files are stored beside it, and stay where a change
        says so. A slice has the heads of its rows.
        """
        long, files = b"\xf0\x9f\0'" * (5 << 18), b"\0listed" * 100_000
        confirmed = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
        head = RowHead(Status.QUARANTINED, kept=True, gone=True, mark="m", confirmed=confirmed)
        change = RowChange(RowKind.UPSTREAM, SPAM, 0, head, long, files)
        first = self.have(self.engine.swap(self.generation, change))
        assert isinstance(first, CatalogRow)
        self.assertEqual((first.head, first.size), (head, len(long) + len(files)))
        self.assertEqual(self.all_rows(), [first])
        stays = evolve(change, expected=first.version, line=b"short", files=None)
        second = self.have(self.engine.swap(self.generation, stays))
        assert isinstance(second, CatalogRow)
        self.assertEqual(second.size, 5 + len(files))
        for _ in range(2):
            found = self.have(self.engine.row(self.generation, RowKind.UPSTREAM, SPAM))
            self.assertEqual(found, (second, RowContents(b"short", files)))
            self.assertEqual(self.have(self.another().swap(self.generation, stays)), second)
        self.refused(self.engine.row("other", RowKind.UPSTREAM, SPAM), CatalogReset)

    def test_one_wins(self) -> None:
        """A row of another version than expected stays, and the caller gets the current row."""
        self.assertEqual(self.have(self.engine.swap(self.generation, to_be(b"x", 1))), Conflict())
        first = self.put(b"first")
        self.assertEqual(self.have(self.another().swap(self.generation, to_be(b"new"))), Conflict())
        second = self.put(b"second", first.version)
        for change in (
            to_be(b"x", first.version),
            to_be(None, first.version),
            to_be(b"x"),
            to_be(b"x", 10**12),
        ):
            before = self.state()
            self.assertEqual(self.have(self.engine.swap(self.generation, change)), Conflict())
            self.assertEqual((self.state(), self.row()), (before, (second, b"second")))

    def test_done_again(self) -> None:
        """A repeated change does nothing, from any node: so a change with an unknown outcome may be
        repeated.
        """
        first = self.put(b"first")
        self.assertEqual(self.put(b"first"), first)
        second = self.put(b"second", first.version)
        other = self.another()
        for expected in (0, first.version):
            self.assertEqual(
                self.have(other.swap(self.generation, to_be(b"second", expected))), second
            )
        gone = self.put(None, second.version)
        self.assertEqual(self.put(None, second.version), gone)
        self.assertEqual(self.state().version, gone.version)

    def test_unseen(self) -> None:
        """An invisible change takes a version, and no serial; the row keeps its serial."""
        self.put(b"other", name=HAM)
        first = self.put(b"first")
        second = self.put(b"second", first.version, seen=False)
        self.assertEqual((second.version, second.serial), (first.version + 1, first.serial))
        self.assertEqual(self.row(), (second, b"second"))
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
            gone, row_of(RowKind.LOCAL, SPAM, first.version + 1, first.serial + 1, None)
        )
        self.assertIsNone(self.row())
        self.assertEqual(self.all_rows(since=before.position), [gone])
        for version in (first.version, gone.version):
            self.assertEqual(
                self.have(self.engine.swap(self.generation, to_be(b"x", version))),
                Conflict(),
            )
        back = self.put(b"first")
        self.assertGreater(back.version, gone.version)
        self.assertEqual(
            self.have(self.engine.swap(self.generation, to_be(b"x", first.version))),
            Conflict(),
        )

    def test_taken_out_of_nothing(self) -> None:
        """Removing a row without an expected version is an error."""
        self.refused(self.engine.swap(self.generation, to_be(None)), ValueError)

    # --- several rows ---

    def test_all_at_once(self) -> None:
        """Several rows change together: their versions follow each other, and they have one
        serial, except for those whose change is not visible.
        """
        spam = self.put(b"first")
        gone = self.put(b"gone", name=HAM)
        same = self.put(b"same", name=project_name("same"))
        before = self.state()
        key = ProjectName("team/spam")
        made = self.have(
            self.another().swap_all(
                self.generation,
                [
                    to_be(b"second", spam.version),
                    to_be(None, gone.version, name=HAM),
                    to_be(b"same", 0, name=same.name),
                    to_be(b"new", name=key),
                    to_be(b"unseen", name=key, kind=RowKind.UPSTREAM, seen=False),
                ],
            )
        )
        version, serial = before.version, before.serial + 1
        expected = [
            row_of(RowKind.LOCAL, SPAM, version + 1, serial, b"second"),
            row_of(RowKind.LOCAL, HAM, version + 2, serial, None),
            same,
            row_of(RowKind.LOCAL, key, version + 3, serial, b"new"),
            row_of(RowKind.UPSTREAM, key, version + 4, 0, b"unseen"),
        ]
        self.assertEqual(made, expected)
        self.assertEqual(self.state(), evolve(before, version=version + 4, serial=serial))
        self.assertEqual(
            self.all_rows(since=before.position), [row for row in expected if row is not same]
        )
        self.assertEqual(self.row(key), (expected[3], b"new"))
        self.assertEqual(self.row(key, RowKind.UPSTREAM), (expected[4], b"unseen"))

    def test_all_or_nothing(self) -> None:
        """If one of several rows is another than expected, none is changed."""
        spam, ham = self.put(b"first"), self.put(b"first", name=HAM)
        before = self.state()
        new = to_be(b"new", name=project_name("new"))
        for stale, conflict in (
            (to_be(b"second", ham.version - 1, name=HAM), Conflict()),
            (to_be(b"second", name=HAM), Conflict()),
            (to_be(b"x", 1, name=project_name("none")), Conflict()),
        ):
            for changes in (
                [to_be(b"second", spam.version), new, stale],
                [stale, to_be(b"second", spam.version), new],
            ):
                self.assertEqual(
                    self.have(self.engine.swap_all(self.generation, changes)), conflict
                )
        self.assertEqual((self.state(), self.all_rows()), (before, [spam, ham]))
        changes = [to_be(b"second", spam.version), to_be(None, name=project_name("none"))]
        self.refused(self.engine.swap_all(self.generation, changes), ValueError)
        self.refused(self.engine.swap_all("other", changes[:1]), CatalogReset)
        self.assertEqual((self.state(), self.all_rows()), (before, [spam, ham]))

    def test_all_done_again(self) -> None:
        """Several changes with an unknown outcome may be repeated: nothing changes any more."""
        spam = self.put(b"first")
        changes = [to_be(None, spam.version), to_be(b"new", name=HAM)]
        made = self.have(self.engine.swap_all(self.generation, changes))
        before = self.state()
        self.assertEqual(self.have(self.another().swap_all(self.generation, changes)), made)
        self.assertEqual(self.have(self.engine.swap_all(self.generation, [])), [])
        self.assertEqual(self.state(), before)

    # --- following ---

    def test_slices(self) -> None:
        """What changed comes in slices, each row once, as it is now, in the order
        of the changes.
        """
        rows = [self.put(b"%d" % number, name=project_name(f"p{number}")) for number in range(10)]
        middle = self.have(self.engine.changes(self.state().beginning, 4))
        self.assertEqual((list(middle.rows), middle.more), (rows[:4], True))
        self.assertEqual(middle.position, Position(self.generation, rows[3].version))
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
        self.refused(self.engine.changes(Position(self.generation, row.version + 1)), CatalogReset)
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
        self.assertEqual(self.all_rows(since=Position(self.generation, gone[1].version)), gone[2:])
        self.assertEqual([row.name for row in self.all_rows() if row.head is not None], [HAM])
        self.assertEqual(self.state().generation, self.generation)
        self.have(self.another().tidy(0))
        self.assertEqual(self.all_rows(since=self.state().position), [])
        self.put(b"again", name=rows[0].name)

    def test_complete(self) -> None:
        """A catalog that one node marked complete is complete for all nodes, also later ones, until
        it is reset.
        """
        other = self.another()
        self.assertTrue(self.have(self.engine.mark_complete(self.generation)).complete)
        self.assertTrue(self.have(other.state()).complete)
        self.put(b"line")
        self.assertTrue(self.have(self.another().state()).complete)

    def test_reset(self) -> None:
        """After a reset, it has no rows and is not complete; serials go on, and followers have to
        read from the beginning.
        """
        row = self.put(b"line")
        self.have(self.engine.mark_complete(self.generation))
        before = self.state()
        state = self.have(self.another().clear())
        self.assertEqual((state.complete, state.serial), (False, before.serial))
        self.assertNotEqual(state.generation, self.generation)
        self.assertEqual(self.state(), state)
        self.refused(self.engine.changes(before.position), CatalogReset)
        self.refused(self.engine.swap(self.generation, to_be(b"x", row.version)), CatalogReset)
        self.assertEqual(self.all_rows(), [])
        self.generation = self.have(self.engine.open(IDENTITY)).generation
        self.assertEqual(self.generation, state.generation)
        self.assertEqual(self.put(b"line").serial, before.serial + 1)

    # --- model ---

    def test_is_a_dict(self) -> None:
        """Changes in any order by several nodes give the rows of a dict, and of a follower."""
        run_model(lambda: EngineModel(self, self.engine, self.again), examples=15, steps=25)
