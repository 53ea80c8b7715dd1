"""The catalog in memory."""

from __future__ import annotations

import gc
import os
import tracemalloc
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path
from typing import TypeVar

from attrs import evolve
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import lines, memory
from pypid.catalog.dump import CatalogDump
from pypid.catalog.lines import PackedLine, PendingLine, SpilledBytes, SpillFile, upstream_weight
from pypid.catalog.memory import ListingMemory, MemoryCatalog
from pypid.core.caches import MemoryBudget
from pypid.core.model import Project, UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.records.upstream_entry import (
    dump_upstream_entry,
    load_upstream_entry,
    with_listing,
)
from pypid.core.simple_api.listed_files import packed
from pypid.flow import start
from tests.support import CatalogContract, world
from tests.support.catalog import SPAM, a_file, a_listing, a_project
from tests.support.worlds import Awaiting, Turns

T = TypeVar("T")
OTHER = project_name("other")


class MemoryTests(CatalogContract, SynchronousTestCase):
    """What is special: serials may go on from where an earlier catalog was."""

    async def make(self) -> MemoryCatalog:
        return MemoryCatalog(serial=1000)

    def test_forgets_nothing_but_objects(self) -> None:
        """More projects than stay decoded are all held."""
        self.patch(memory, "DECODED", 0)
        self.catalog = MemoryCatalog()
        projects = [self.put(a_project(project_name(f"p{number}"), "1")) for number in range(50)]
        self.assertEqual(
            [self.have(self.catalog.local.get(project.name)) for project in projects], projects
        )


class SpilledTests(CatalogContract, SynchronousTestCase):
    """The contract holds where all listed files are on disk, and nothing stays decoded."""

    def setUp(self) -> None:
        self.patch(memory, "SHORTEST", 1)
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        super().setUp()

    async def make(self) -> MemoryCatalog:
        budget = MemoryBudget(1 << 20)
        self.made = MemoryCatalog(memory=ListingMemory(budget, self.folder))
        budget.most = 0
        return self.made

    def heard(self, name: ProjectName) -> UpstreamEntry:
        """Have upstream list the project, and another one after it, so that the first is on
        disk.
        """
        entry = UpstreamEntry(name=name, listing=a_listing(name, "1", "2"), serial=1)
        self.have(self.made.upstream.edit(name, lambda _: entry))
        other = UpstreamEntry(name=OTHER, listing=a_listing(OTHER, "1"))
        self.have(self.made.upstream.edit(OTHER, lambda _: other))
        line = self.made.upstream.lines.get(name)
        assert isinstance(line, PackedLine)
        self.assertIsInstance(line.part, SpilledBytes)
        return entry

    def test_read_back(self) -> None:
        """A listing on disk is read back, changed, and written again."""
        entry = self.heard(SPAM)
        self.assertEqual(self.have(self.made.upstream.get(SPAM)), entry)
        assert entry.listing is not None
        later = evolve(entry.listing, confirmed=entry.listing.confirmed + timedelta(hours=1))
        self.heard(SPAM)
        found = self.have(self.made.upstream.edit(SPAM, lambda held: evolve(held, listing=later)))
        self.assertEqual(found.listing, later)
        self.assertEqual(self.made.listing_time(SPAM), later.confirmed)
        self.made.upstream._table._decoded.forget(SPAM)
        self.assertEqual(self.made.listing_time(SPAM), later.confirmed)
        self.assertEqual(self.have(self.made.upstream.get(SPAM)).listing, later)

    def test_damaged(self) -> None:
        """A damaged listing is unknown; cached files of the project are still known."""
        file = replace(a_file(SPAM, "1"), key=".kept/spam/spam-1.tar.gz")
        entry = self.heard(SPAM)
        self.have(self.made.upstream.edit(SPAM, lambda held: evolve(held, kept=(file,))))
        self.heard(OTHER)
        line = self.made.upstream.lines.get(SPAM)
        assert isinstance(line, PackedLine) and isinstance(line.part, SpilledBytes)
        os.pwrite(line.part.file.descriptor, b"!!!!", line.part.start)
        found = self.have(self.made.upstream.get(SPAM))
        self.assertEqual((found.listing, found.kept), (None, (file,)))
        new = self.have(
            self.made.upstream.edit(SPAM, lambda held: evolve(held, listing=entry.listing))
        )
        self.assertEqual((new.listing, new.kept), (entry.listing, (file,)))

    def test_full_disk(self) -> None:
        """If the disk is full, listings are unknown; the log says so once."""
        self.heard(SPAM)

        def refuse(file: SpillFile, data: bytes) -> SpilledBytes:
            raise OSError(ENOSPC, "No space left on device")

        self.patch(SpillFile, "append", refuse)
        with capturedLogs() as logged:
            for number in range(5):
                self.have(
                    self.made.upstream.edit(
                        project_name(f"p{number}"),
                        lambda held: evolve(held, listing=a_listing(held.name, "1")),
                    )
                )
        self.assertIsNone(self.have(self.made.upstream.get(project_name("p0"))).listing)
        self.assertIsNone(self.made.listing_time(project_name("p0")))
        said = [event for event in logged if "do not fit into memory" in event["log_format"]]
        self.assertEqual(len(said), 1)


class OffThreadTests(Awaiting, SynchronousTestCase):
    """Long lines are written and read elsewhere, while others have their turns."""

    def setUp(self) -> None:
        for name in ("FEW", "SHORT"):
            self.patch(lines, name, 0)
        self.turns = Turns()
        self.catalog = MemoryCatalog(thinking=self.turns)
        self.heard = UpstreamEntry(
            name=SPAM, listing=a_listing(SPAM, *map(str, range(99))), serial=1
        )

    def hear(self, heard: UpstreamEntry) -> Deferred[UpstreamEntry]:
        """Begin an edit that makes it this."""
        return start(self.catalog.upstream.edit(SPAM, lambda _: heard))

    def drop(self) -> None:
        """Let nothing stay decoded."""
        self.catalog.upstream._table._decoded.forget(SPAM)
        self.catalog.local._table._decoded.forget(SPAM)

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


class WeightTests(SynchronousTestCase):
    """What entries weigh in the memory budget is what they take in memory, nearly."""

    def weighed(self, entry: UpstreamEntry) -> float:
        """Return the bytes that the decoded entry takes, for each byte of its weight."""
        line = dump_upstream_entry(entry)
        load_upstream_entry(line)  # what is shared by all entries
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        decoded = load_upstream_entry(line)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return (after - before) / upstream_weight(decoded)

    def test_weights(self) -> None:
        """Listings with one file in each release, with hashes of metadata that pypid learnt, with
        cached files, and with a history.
        """
        versions = [f"1.{number}" for number in range(1000)]
        first = with_listing(UpstreamEntry(name=SPAM), a_listing(SPAM, *versions))
        assert first.listing is not None
        offered = [replace(file, metadata_offered=True) for file in first.listing.files or ()]
        plain = evolve(first, listing=evolve(first.listing, files=packed(offered)))
        kept = evolve(plain, kept=tuple(a_file(SPAM, version) for version in versions))
        fewer = evolve(first.listing, files=packed(offered[:950]))
        for entry in (plain, first, kept, with_listing(plain, fewer)):
            ratio = self.weighed(entry)
            self.assertTrue(0.6 < ratio < 1.5, ratio)
