"""The catalog in memory."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from datetime import timedelta
from typing import TypeVar

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import memory, table
from pypid.catalog.dump import CatalogDump
from pypid.catalog.memory import MemoryCatalog, MemoryCatalogSettings, open
from pypid.catalog.packed_line import PackedLine
from pypid.catalog.table import PendingLine
from pypid.core.model import Project, UpstreamEntry
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.testing import CatalogContract, world
from pypid.testing.catalog import SPAM, a_file, a_listing, a_project
from pypid.testing.worlds import Awaiting, Turns

T = TypeVar("T")


class MemoryContractTests(CatalogContract, SynchronousTestCase):
    """Memory keeps the contract."""

    async def make(self) -> MemoryCatalog:
        return await open(MemoryCatalogSettings(), world())


class MemoryTests(CatalogContract, SynchronousTestCase):
    """What is special: serials may go on from where an earlier catalog was."""

    async def make(self) -> MemoryCatalog:
        return await open(MemoryCatalogSettings(serial=1000), world())

    def test_forgets_nothing_but_objects(self) -> None:
        """More projects than stay decoded are all held."""
        self.patch(memory, "DECODED", 0)
        self.catalog = MemoryCatalog()
        projects = [self.put(a_project(project_name(f"p{number}"), "1")) for number in range(50)]
        self.assertEqual(
            [self.have(self.catalog.local.get(project.name)) for project in projects], projects
        )


class LongLinesTests(CatalogContract, SynchronousTestCase):
    """The contract holds where each line is long, and nothing stays decoded."""

    def setUp(self) -> None:
        for name in ("FEW", "SHORT"):
            self.patch(table, name, 0)
        self.patch(memory, "DECODED", 0)
        super().setUp()

    async def make(self) -> MemoryCatalog:
        return await open(MemoryCatalogSettings(), world())


class OffThreadTests(Awaiting, SynchronousTestCase):
    """Long lines are written and read elsewhere, while others have their turns."""

    def setUp(self) -> None:
        for name in ("FEW", "SHORT"):
            self.patch(table, name, 0)
        self.turns = Turns()
        self.catalog = MemoryCatalog(thinking=self.turns)
        self.heard = UpstreamEntry(name=SPAM, listing=a_listing(SPAM, "1", "2"), serial=1)

    def hear(self, heard: UpstreamEntry) -> Deferred[UpstreamEntry]:
        """Begin an edit that makes it this."""
        return start(self.catalog.upstream.edit(SPAM, lambda _: heard))

    def drop(self) -> None:
        """Let nothing stay decoded."""
        self.catalog.upstream._table._forget(SPAM)
        self.catalog.local._table._forget(SPAM)

    def test_is_seen_at_once(self) -> None:
        """What an edit made is seen before its line is written, and nobody waits for that."""
        self.assertEqual(self.successResultOf(self.hear(self.heard)), self.heard)
        self.drop()
        self.assertEqual(self.have(self.catalog.upstream.get(SPAM)), self.heard)
        self.assertIsInstance(self.catalog.upstream.lines.get(SPAM), PendingLine)
        self.turns.all()
        self.assertIsInstance(self.catalog.upstream.lines.get(SPAM), PackedLine)
        self.drop()
        read = start(self.catalog.upstream.get(SPAM))
        self.assertNoResult(read)
        self.turns.all()
        self.assertEqual(self.successResultOf(read), self.heard)

    def test_ours_too(self) -> None:
        """The same for ours, with the mark; and an edit of a long line waits until it is read."""
        project = a_project(SPAM, "1")
        edit = start(self.catalog.local.edit(SPAM, lambda _: project, mark="m"))
        self.drop()
        self.assertEqual(self.have(self.catalog.local.get(SPAM)), evolve(project, serial=1))
        self.assertEqual(self.have(self.catalog.local.mark(SPAM)), "m")
        self.turns.all()
        self.assertEqual(self.successResultOf(edit), evolve(project, serial=1))
        self.assertEqual(self.have(self.catalog.local.mark(SPAM)), "m")
        self.drop()
        seen: list[Project | None] = []

        def change(held: Project | None) -> Project | None:
            seen.append(held)
            return held

        start(self.catalog.local.edit(SPAM, change))
        self.assertEqual(seen, [])
        self.turns.all()
        self.assertEqual(seen, [evolve(project, serial=1)])

    def test_changed_while_it_is_written(self) -> None:
        """The line of an older value, written late, does not replace that of a newer one."""
        first = self.hear(self.heard)
        newer = evolve(self.heard, kept=(a_file(SPAM, "1"),))
        second = self.hear(newer)
        self.turns.all()
        self.successResultOf(first)
        newer = self.successResultOf(second)
        self.drop()
        read = start(self.catalog.upstream.get(SPAM))
        self.turns.all()
        self.assertEqual(self.successResultOf(read), newer)

    def test_changed_while_it_is_read(self) -> None:
        """Whoever began to read before a change is given what there is after it;
        edits take turns.
        """
        self.hear(self.heard)
        self.turns.all()
        self.drop()
        reads = [start(self.catalog.upstream.get(SPAM)) for _ in range(3)]
        edits = [
            start(
                self.catalog.upstream.edit(
                    SPAM, lambda heard, file=file: evolve(heard, kept=(*heard.kept, file))
                )
            )  # type: ignore[misc]
            for file in (a_file(SPAM, "1"), a_file(SPAM, "2"))
        ]
        self.assertEqual(len(self.turns), 1)
        self.turns.all()
        kept = [len(self.successResultOf(edit).kept) for edit in edits]
        self.assertEqual(kept, [1, 2])
        for read in reads:
            self.assertEqual(self.successResultOf(read).listing, self.heard.listing)

    def test_taken_out_while_it_is_written(self) -> None:
        """What was taken out meanwhile does not come back."""
        self.hear(self.heard)
        self.hear(UpstreamEntry(name=SPAM))
        self.turns.all()
        self.assertEqual(self.have(self.catalog.upstream.get(SPAM)), UpstreamEntry(name=SPAM))

    def test_one_at_a_time(self) -> None:
        """Lines are written one after the other, so that what somebody waits for has its turn
        between them.
        """
        for name in (SPAM, project_name("eggs"), project_name("ham")):
            start(
                self.catalog.upstream.edit(
                    name,
                    lambda _, name=name: UpstreamEntry(name=name, listing=a_listing(name, "1")),
                )
            )  # type: ignore[misc]
        self.assertEqual(len(self.turns), 1)
        self.turns.turn()
        self.assertEqual(len(self.turns), 1)
        self.turns.all()
        for name in (SPAM, project_name("eggs"), project_name("ham")):
            self.assertIsInstance(self.catalog.upstream.lines.get(name), bytes)

    def test_revalidated(self) -> None:
        """What changes often is written at once, whatever the number of files."""
        self.hear(self.heard)
        self.turns.all()
        assert self.heard.listing is not None
        later = evolve(
            self.heard,
            listing=evolve(
                self.heard.listing,
                confirmed=self.heard.listing.confirmed + timedelta(hours=1),
                etag='"2"',
            ),
        )
        self.assertEqual(self.successResultOf(self.hear(later)), later)
        self.assertEqual(self.have(self.catalog.serial()), 1)
        kept = self.successResultOf(self.hear(evolve(later, kept=(a_file(SPAM, "1"),))))
        self.drop()
        read = start(self.catalog.upstream.get(SPAM))
        self.turns.all()
        self.assertEqual(self.successResultOf(read), kept)

    def test_snapshot_meanwhile(self) -> None:
        """A snapshot holds what was edited, although no line of it has been written."""
        self.hear(self.heard)
        folder = self.mktemp()
        self.assertTrue(
            self.have(CatalogDump(self.catalog.upstream, folder, "here", world()).write())
        )
        other = MemoryCatalog()
        self.have(CatalogDump(other.upstream, folder, "here", world()).load())
        self.assertEqual(self.have(other.upstream.get(SPAM)), self.heard)
