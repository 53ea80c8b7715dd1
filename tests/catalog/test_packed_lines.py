"""Upstream lines in bounded memory, and their dump: `pypid.catalog.memory`."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from errno import ENOSPC
from pathlib import Path
from tempfile import mkdtemp

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.catalog import memory as packed_lines
from pypid.catalog.dump import PACKED, CatalogDump, Ignored
from pypid.catalog.lines import PackedLine, Spill, SpilledBytes, SpillFile
from pypid.catalog.memory import ListingMemory, MemoryCatalog
from pypid.core.caches import MemoryBudget
from pypid.core.model import UpstreamEntry
from pypid.core.packaging.names import ProjectName, project_name
from pypid.flow import start
from tests.support import world
from tests.support.catalog import a_file, a_listing
from tests.support.worlds import Awaiting

NAMES = [project_name(f"project-{number}") for number in range(8)]
HERE = "storage-1"


def small_catalog(folder: Path, most: int = 1 << 20) -> tuple[MemoryCatalog, MemoryBudget]:
    """Return a catalog that has hardly any memory for listings, and its budget."""
    budget = MemoryBudget(1 << 20)
    catalog = MemoryCatalog(memory=ListingMemory(budget, folder), forgettable=most)
    budget.most = 0
    return catalog, budget


def part_of(catalog: MemoryCatalog, name: ProjectName) -> object:
    """Return where the listed files of the project are."""
    line = catalog.upstream.lines.get(name)
    return line.part if isinstance(line, PackedLine) else None


class LinesMachine(RuleBasedStateMachine):
    """The catalog says what it was told, however little memory it has; of a damaged listing it says
    nothing.
    """

    def __init__(self, test: Awaiting) -> None:
        super().__init__()
        self.test = test
        self.catalog, self.budget = small_catalog(Path(mkdtemp(dir=test.mktemp_folder)))
        self.told: dict[ProjectName, UpstreamEntry] = {}
        self.damaged: dict[ProjectName, object] = {}

    @rule(
        name=st.sampled_from(NAMES),
        versions=st.sets(st.integers(0, 30).map(str), min_size=1, max_size=8),
        keeps=st.booleans(),
    )
    def list_files(self, name: ProjectName, versions: set[str], keeps: bool) -> None:
        kept = (a_file(name, "1"),) if keeps else ()
        listing = a_listing(name, *sorted(versions))
        self._edit(name, lambda entry: evolve(entry, listing=listing, kept=kept))
        self.damaged.pop(name, None)

    @precondition(lambda self: self.told)
    @rule(data=st.data(), hours=st.integers(1, 100))
    def confirm(self, data: st.DataObject, hours: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.told)))

        def confirmed(entry: UpstreamEntry) -> UpstreamEntry:
            listing = entry.listing
            if listing is None:
                return entry
            return evolve(
                entry, listing=evolve(listing, confirmed=listing.confirmed + timedelta(hours=hours))
            )

        self._edit(name, confirmed)

    @rule(name=st.sampled_from(NAMES))
    def remove(self, name: ProjectName) -> None:
        # a damaged listing is not known, so that there may be nothing to remove
        if name not in self.damaged:
            self.test.have(
                self.catalog.upstream.edit(name, lambda entry: evolve(entry, listing=None, kept=()))
            )
            self.told.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def damage(self, name: ProjectName) -> None:
        part = part_of(self.catalog, name)
        # damage that is done twice is undone
        if isinstance(part, SpilledBytes) and name not in self.damaged:
            byte = os.pread(part.file.descriptor, 1, part.start)
            os.pwrite(part.file.descriptor, bytes([byte[0] ^ 255]), part.start)
            self.damaged[name] = part
            self.catalog.upstream._table._decoded.forget(name)

    @rule()
    def start_again(self) -> None:
        folder = Path(mkdtemp(dir=self.test.mktemp_folder))
        dump = CatalogDump(self.catalog.upstream, str(folder / "dump"), HERE, world(), PACKED)
        assert self.test.have(dump.write())
        self.catalog, self.budget = small_catalog(folder)
        dump = CatalogDump(self.catalog.upstream, str(folder / "dump"), HERE, world(), PACKED)
        assert not isinstance(self.test.have(dump.load()), Ignored) or not self.told
        for name in self.damaged:
            entry = self.told[name]
            self.told[name] = evolve(entry, listing=None)
        self.damaged.clear()

    def _edit(self, name: ProjectName, change: object) -> None:
        new = self.test.have(self.catalog.upstream.edit(name, change))  # type: ignore[arg-type]
        self.told[name] = new
        if self.damaged.get(name) is not part_of(self.catalog, name):
            self.damaged.pop(name, None)

    @invariant()
    def is_what_was_told(self) -> None:
        for name, entry in self.told.items():
            found = self.test.have(self.catalog.upstream.get(name))
            if name in self.damaged and found.listing is None:
                entry = evolve(entry, listing=None)
            assert (found.listing, found.kept) == (entry.listing, entry.kept), name
            assert self.catalog.listing_time(name) is None or entry.listing is not None

    @invariant()
    def is_counted(self) -> None:
        lines = self.catalog.upstream.lines
        parts = [part_of(self.catalog, name) for name in self.told]
        assert lines.spilled == sum(len(part) for part in parts if isinstance(part, SpilledBytes))
        assert sum(isinstance(part, bytes) and bool(part) for part in parts) <= 1


class PackedLinesTests(Awaiting, SynchronousTestCase):
    """Lines that are compressed, spilled, damaged and dumped."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(packed_lines, "SHORTEST", 1)
        self.mktemp_folder = Path(self.mktemp())
        self.mktemp_folder.mkdir()

    def listed(self, catalog: MemoryCatalog, name: ProjectName, *versions: str) -> UpstreamEntry:
        """Have upstream list these versions of the project; one file is cached."""
        entry = UpstreamEntry(
            name=name, listing=a_listing(name, *versions), kept=(a_file(name, versions[0]),)
        )
        return self.have(catalog.upstream.edit(name, lambda _: entry))

    def dump(self, catalog: MemoryCatalog, format: int = PACKED) -> CatalogDump:
        """Return the dump of the catalog."""
        folder = str(self.mktemp_folder / "dump")
        return CatalogDump(catalog.upstream, folder, HERE, world(), format)

    def test_any_order(self) -> None:
        """Whatever is listed, confirmed, removed, damaged and dumped: see `LinesMachine`."""
        modest = settings(max_examples=30, stateful_step_count=20, deadline=None, database=None)
        run_state_machine_as_test(lambda: LinesMachine(self), settings=modest)

    def test_least_recently_read(self) -> None:
        """The line that was not read for longest leaves the memory first."""
        catalog, budget = small_catalog(self.mktemp_folder)
        budget.most = 1 << 20
        for name in NAMES[:2]:
            self.listed(catalog, name, "1", "2")
            catalog.upstream._table._decoded.forget(name)
        self.have(catalog.upstream.get(NAMES[0]))
        catalog.upstream._table._decoded.forget(NAMES[0])
        budget.permanent, budget.most = 0, budget.used - 1
        budget.evict_excess()
        parts = [part_of(catalog, name) for name in NAMES[:2]]
        self.assertEqual([type(part) for part in parts], [bytes, SpilledBytes])

    def test_full_disk_while_tidying(self) -> None:
        """If bytes cannot be moved to another file, they stay where they are."""
        catalog, _ = small_catalog(self.mktemp_folder)
        lines = catalog.upstream.lines
        spill: Spill[ProjectName] = Spill(self.mktemp_folder, 2000)
        self.patch(lines, "_spill", spill)
        append = SpillFile.append

        def refuse(file: SpillFile, data: bytes) -> SpilledBytes:
            if file is not files.setdefault("first", file):
                raise OSError(ENOSPC, "No space left on device")
            return append(file, data)

        files: dict[str, SpillFile] = {}
        self.patch(SpillFile, "append", refuse)
        entries = {name: self.listed(catalog, name, "1", "2", name[-1]) for name in NAMES[:2]}
        for number in range(40):
            self.listed(catalog, NAMES[5], str(number))
        found = {name: self.have(catalog.upstream.get(name)) for name in entries}
        self.assertEqual(found, entries)
        self.assertTrue(spill.misplaced())

    def test_too_much_for_the_disk(self) -> None:
        """Beyond the limit for memory and disk together, projects without cached files are
        forgotten, and others lose their listings.
        """
        catalog, _ = small_catalog(self.mktemp_folder, most=20_000)
        kept = [self.listed(catalog, name, *map(str, range(200))) for name in NAMES]
        for number in range(30):
            name = project_name(f"other-{number}")
            entry = UpstreamEntry(name=name, listing=a_listing(name, *map(str, range(200))))
            self.have(catalog.upstream.edit(name, lambda _, entry=entry: entry))
        found = [self.have(catalog.upstream.get(name)) for name in NAMES]
        self.assertEqual([entry.kept for entry in found], [entry.kept for entry in kept])
        self.assertIsNone(found[0].listing)
        self.assertEqual(found[-1].listing, kept[-1].listing)
        first = self.have(catalog.upstream.get(project_name("other-0")))
        self.assertEqual(first, UpstreamEntry(name=project_name("other-0")))
        self.assertLess(catalog.upstream.lines.spilled, 50_000)


class InTurnsTests(Awaiting, SynchronousTestCase):
    """What happens while lines wait to be compressed or written."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(packed_lines, "SHORTEST", 1)
        folder = Path(self.mktemp())
        folder.mkdir()
        self.budget = MemoryBudget(0)
        self.waiting: list[Callable[[], None]] = []
        memory = ListingMemory(self.budget, folder, self.later)
        self.catalog = MemoryCatalog(memory=memory, forgettable=20_000)

    def later(self, call: Callable[..., object], *args: object) -> Deferred[object]:
        """Run the call in a later turn."""
        made: Deferred[object] = Deferred()
        self.waiting.append(lambda: made.callback(call(*args)))
        return made

    def go_on(self) -> None:
        """Run the calls, and those that follow."""
        while self.waiting:
            self.waiting.pop(0)()

    def listed(self, number: int) -> ProjectName:
        """Have upstream list a project with 200 files, one of which is cached; return its name."""
        name = project_name(f"project-{number}")
        listing = a_listing(name, *map(str, range(200)))
        entry = UpstreamEntry(name=name, listing=listing, kept=(a_file(name, "1"),))
        self.have(self.catalog.upstream.edit(name, lambda _: entry))
        return name

    def test_lost_while_it_waits(self) -> None:
        """A listing that is lost before it is written stays lost: nothing says when it was asked
        for. The newest ones are held.
        """
        names = []
        for number in range(30):
            names.append(self.listed(number))
            if number in (5, 15):
                self.go_on()
        self.go_on()
        found = [self.have(self.catalog.upstream.get(name)).listing for name in names]
        times = [self.catalog.listing_time(name) for name in names]
        self.assertEqual([each is None for each in found], [each is None for each in times])
        self.assertEqual([each is None for each in found], [True] * 24 + [False] * 6)

    def test_edit_of_a_lost_one(self) -> None:
        """If the files of a lost listing are still decoded, an edit keeps them."""
        name = self.listed(0)
        self.go_on()
        reading = start(self.catalog.upstream.get(name))
        self.go_on()
        self.assertIsNotNone(self.successResultOf(reading).listing)
        self.catalog.upstream.lines._lose(name)
        edited = self.have(self.catalog.upstream.edit(name, lambda entry: evolve(entry, kept=())))
        self.catalog.upstream._table._decoded.forget(name)
        self.go_on()
        self.assertEqual(self.have(self.catalog.upstream.get(name)), edited)

    def test_release(self) -> None:
        """Lines that are released while they wait are not counted in the budget any more."""
        for number in range(6):
            self.listed(number)
        self.catalog.upstream._table.release()
        self.go_on()
        self.have(self.catalog.upstream.get(NAMES[0]))
        self.assertEqual((self.budget.used, self.budget.permanent), (0, 0))
