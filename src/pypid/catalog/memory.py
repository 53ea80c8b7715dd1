"""The catalog in memory, with the compressed lines of upstream projects.

The catalog in memory: lines of JSON (`catalog.lines`), one for each local project, and one for
each upstream project.

A million files take some hundred megabytes this way, where objects would take several times that; a
project is decoded when it is read, and the last few stay decoded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from attrs import define, evolve, field, frozen
from twisted.logger import Logger

from pypid.catalog.lines import (
    DECODED,
    LOST,
    SHORTEST,
    CatalogLines,
    DumpedLine,
    Line,
    LinePart,
    LinesState,
    LineTable,
    Loaded,
    NamedLines,
    PackedLine,
    PendingLine,
    Spill,
    SpilledBytes,
    changed,
    count_for_writing,
    head_of,
    listed_files,
    local_summary,
    local_weight,
    pack,
    same,
    upstream_summary,
    upstream_weight,
    visible_state,
    written,
)
from pypid.core.caches import MemoryBudget
from pypid.core.errors import Unreadable
from pypid.core.model import Listing, LocalProject, Presence, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump_project, load_project
from pypid.core.records.layout import project_of
from pypid.core.records.upstream_entry import (
    dump_beginning,
    dump_upstream_entry,
    listing_time,
    load_upstream_entry,
)
from pypid.flow import Blocking, at_once, start
from pypid.ports import TableKey, WholeCatalog

# The upstream projects that may be dropped: those without cached files, the least recently used
# first.
#
# Otherwise a client that requests the whole public index, or names that do not exist, would fill
# memory and disk with upstream listings.

MOST = 1 << 30
"""Bytes that projects without cached files may take, in memory and on disk."""
MOST_SHARED = 128 << 20
"""The same in a shared catalog, where they are not compressed."""
MOST_GONE = 8 << 20
"""Bytes that names may take which upstream does not have: some 7,000 of them."""
OVERHEAD = 1000
"""Bytes of memory that a project takes in addition to its line."""


@define(eq=False)
class Forgettable:
    """The projects that may be dropped, in the order in which they are."""

    most: int = MOST
    most_in_memory: int = MOST
    _sizes: OrderedDict[ProjectName, tuple[int, int]] = field(
        factory=OrderedDict, init=False, repr=False
    )
    _total: int = field(default=0, init=False)
    _in_memory: int = field(default=0, init=False)

    def note(self, name: ProjectName, size: int, in_memory: int = 0) -> None:
        """Note the size in bytes of a project without cached files, and how much of it always stays
        in memory.
        """
        self.drop(name)
        self._sizes[name] = size + OVERHEAD, in_memory + OVERHEAD
        self._total += size + OVERHEAD
        self._in_memory += in_memory + OVERHEAD

    def drop(self, name: ProjectName) -> None:
        """Note that the project may not be dropped, or was removed."""
        size, in_memory = self._sizes.pop(name, (0, 0))
        self._total -= size
        self._in_memory -= in_memory

    def pop_excess(self) -> Iterator[ProjectName]:
        """Yield the projects to drop now, so that no more than `most` bytes stay, and no more than
        `most_in_memory` in memory; the one that was noted last always stays.
        """
        while self._is_excessive and len(self._sizes) > 1:
            name = next(iter(self._sizes))
            self.drop(name)
            yield name

    @property
    def _is_excessive(self) -> bool:
        return self._total > self.most or self._in_memory > self.most_in_memory


# The lines of upstream projects, in bounded memory: compressed, and on disk as far as the memory
# does not suffice.
#
# Compressing and writing is done in the background, in threads. All except the listed files
# (heads, cached files, history) stays in memory. If the disk is full, listings are lost instead,
# and requested from upstream again.

_log = Logger()

BATCH = 4 << 20
"""Bytes that are compressed or written in one call."""
COUNTED = 200
"""Projects of a dump that are counted in one turn of the reactor: a millisecond."""


@frozen
class ListingMemory:
    """Where upstream lines may be: in memory within the `budget`, and in files of `folder` (None:
    nowhere else), which `blocking` writes.
    """

    budget: MemoryBudget = field(factory=MemoryBudget)
    folder: Path | None = None
    blocking: Blocking = at_once


class PackedLines(CatalogLines):
    """The lines, at most `most` bytes. `forget` is called for each project without cached files
    that is one too many; without it, only the listed files are lost. At most the `share`-th part of
    half of the memory is for lines that cannot be forgotten, and for a dump.
    """

    def __init__(
        self,
        memory: ListingMemory,
        thinking: Blocking = at_once,
        forget: Callable[[ProjectName], None] | None = None,
        most: int = MOST,
        share: int = 1,
    ) -> None:
        super().__init__()
        in_memory = memory.budget.most // 2 // share
        self._blocking, self._thinking = memory.blocking, thinking
        self._forget = forget
        self._share = memory.budget.share(self._evicted)
        self._spill: Spill[ProjectName] | None = (
            None if memory.folder is None else Spill(memory.folder)
        )
        self._forgettable = Forgettable(most, in_memory)
        self._gone = Forgettable(min(most, in_memory, MOST_GONE // share))
        """Names that upstream does not have: clients can make up any number of them."""
        self._others = Forgettable(most)
        """Projects that may not be forgotten, but may lose their listed files."""
        self._unpacked: dict[ProjectName, None] = {}
        self._leaving: dict[ProjectName, None] = {}
        """Projects whose listed files are written to the disk next."""
        self._uncounted: dict[ProjectName, None] = {}
        """Projects of a dump that are not counted yet."""
        self._room = in_memory
        """Bytes of a dump that may still be loaded into memory."""
        self._is_working = False
        self._is_disk_full = False

    @property
    def spilled(self) -> int:
        """The number of bytes on disk."""
        return 0 if self._spill is None else self._spill.used

    def put(self, head: Summary, line: Line) -> None:
        self._uncount(head.name)
        super().put(head, line)
        self._count(head.name, line)

    def settle(self, name: ProjectName, before: Line, line: Line) -> bool:
        if self.get(name) is before:
            self._uncount(name)
            super().settle(name, before, line)
            self._count(name, line)
        return self.get(name) is line

    def take_out(self, name: ProjectName) -> None:
        self._uncount(name)
        self._drop(name)
        super().take_out(name)

    def note_use(self, name: ProjectName) -> None:
        self._share.touch(name)

    def adopt(self, line: DumpedLine) -> Line:
        """Return the form in which the line of a dump is held; for the thread that reads the dump.
        What does not fit into half of the memory is written to the disk.
        """
        if not isinstance(line, PackedLine):
            text = line if isinstance(line, bytes) else line.line()
            if len(text) < SHORTEST:
                return text
            line = pack(text)
        if self._spill is not None and isinstance(line.part, bytes):
            self._room -= len(line.part)
            if self._room < 0:
                line.move(self._written([line.part])[0])
        return line

    def fill(self, loaded: Loaded) -> None:
        super().fill(loaded)
        self._count_soon(loaded.heads)

    def merge(self, loaded: Loaded) -> None:
        counted = {head.name for head in self.summaries()}
        super().merge(loaded)
        self._count_soon(name for name in loaded.heads if name not in counted)

    def release(self) -> None:
        """Stop counting: the lines are replaced as a whole."""
        self._share.leave()

    # --- counting ---

    def _count(self, name: ProjectName, line: Line) -> None:
        in_memory, on_disk, permanent = _sizes(line)
        self._share.count_permanent(OVERHEAD + permanent)
        if in_memory:
            self._share.put(name, in_memory)
        spilled = line.part if isinstance(line, PackedLine) else None
        if self._spill is not None and isinstance(spilled, SpilledBytes):
            self._spill.hold(name, spilled)
        self._note(name, in_memory + on_disk, permanent)
        if in_memory and not isinstance(line, PackedLine):
            self._unpacked[name] = None
            self._work_soon()

    def _note(self, name: ProjectName, size: int, permanent: int) -> None:
        head = self.head(name)
        self._drop(name)
        if self._forget is None or head is None or head.kept:
            self._others.note(name, size)
            for other in self._others.pop_excess():
                self._lose(other)
        else:
            forgettable = self._gone if head.gone else self._forgettable
            forgettable.note(name, size + permanent, permanent)
            for other in forgettable.pop_excess():
                self._forget(other)

    def _drop(self, name: ProjectName) -> None:
        for each in (self._forgettable, self._gone, self._others):
            each.drop(name)

    def _uncount(self, name: ProjectName) -> None:
        line = self.get(name)
        if line is None:
            return
        if name in self._uncounted:
            del self._uncounted[name]
            return
        self._share.count_permanent(-OVERHEAD - _sizes(line)[2])
        self._share.drop(name)
        self._unpacked.pop(name, None)
        self._leaving.pop(name, None)
        if self._spill is not None:
            self._spill.drop(name)

    def _lose(self, name: ProjectName) -> None:
        """Lose the listed files of a project."""
        self._share.drop(name)
        self._leaving.pop(name, None)
        if self._spill is not None:
            self._spill.drop(name)
        line = self.get(name)
        if isinstance(line, PackedLine) and line.part is not None:
            line.move(LOST)

    def _count_soon(self, names: Iterable[ProjectName]) -> None:
        self._uncounted |= dict.fromkeys(names)
        self._work_soon()

    def _evicted(self, name: ProjectName) -> None:
        if isinstance(self.get(name), PackedLine):  # else it will be packed, and counted again
            self._leaving[name] = None
            self._work_soon()

    # --- in the background ---

    def _work_soon(self) -> None:
        if not self._is_working:
            self._is_working = True
            start(self._work())

    async def _work(self) -> None:
        try:
            while self._uncounted or self._unpacked or self._leaving:
                if self._uncounted:
                    await self._blocking(lambda: None)  # others have their turn
                    self._count_some()
                await self._pack_some()
                await self._spill_some()
                await self._tidy_spill()
        except Exception:
            _log.failure("Upstream listings could not be moved to the disk")
        finally:
            self._is_working = False

    def _count_some(self) -> None:
        for name in list(self._uncounted)[:COUNTED]:
            if name in self._uncounted:  # it may be forgotten since others were counted
                del self._uncounted[name]
                line = self.get(name)
                assert line is not None
                self._count(name, line)

    async def _pack_some(self) -> None:
        some: dict[ProjectName, bytes | LinePart] = {}
        size = 0
        while self._unpacked and size < BATCH:
            name = next(iter(self._unpacked))  # the oldest, as each is noted as used when packed
            del self._unpacked[name]
            line = self.get(name)
            if isinstance(line, bytes | LinePart):
                some[name] = line
                size += len(line)
        packed = await self._thinking(lambda: [pack(written(line)) for line in some.values()])
        for (name, line), short in zip(some.items(), packed, strict=True):
            self.settle(name, line, short)

    async def _spill_some(self) -> None:
        some: dict[ProjectName, bytes] = {}
        size = 0
        while self._leaving and size < BATCH:
            name = next(iter(self._leaving))
            del self._leaving[name]
            line = self.get(name)
            if isinstance(line, PackedLine) and isinstance(line.part, bytes):
                some[name] = line.part
                size += len(line.part)
        if some:
            moved = await self._blocking(self._written, list(some.values()))
            for (name, before), part in zip(some.items(), moved, strict=True):
                self._moved(name, before, part)

    async def _tidy_spill(self) -> None:
        """Write the last bytes of files that are nearly empty once more, to close them."""
        while self._spill is not None and (misplaced := self._spill.misplaced()):
            moved = await self._blocking(self._rewritten, list(misplaced.values()))
            if not moved:
                return  # the disk is full
            for (name, before), part in zip(misplaced.items(), moved, strict=False):
                self._moved(name, before, part)

    def _moved(
        self, name: ProjectName, before: bytes | SpilledBytes, part: bytes | SpilledBytes
    ) -> None:
        line = self.get(name)
        if not isinstance(line, PackedLine) or line.part is not before:
            return  # it has changed meanwhile
        if self._spill is None or not isinstance(part, SpilledBytes):
            self._lose(name)
            return
        self._share.drop(name)
        line.move(part)
        self._spill.hold(name, part)

    # --- in threads ---

    def _written(self, pieces: Sequence[bytes]) -> Sequence[bytes | SpilledBytes]:
        """Write the pieces; return where they are now."""
        try:
            if self._spill is None:
                return [LOST] * len(pieces)
            written = self._spill.write(pieces)
        except OSError as error:
            if not self._is_disk_full:
                self._is_disk_full = True
                _log.error(
                    "Upstream listings do not fit into memory ([upstream] memory) and cannot be "
                    "written to the state folder. They are requested again when they are needed: "
                    "{error}",
                    error=error,
                )
            return [LOST] * len(pieces)
        self._is_disk_full = False
        return written

    def _rewritten(self, pieces: Sequence[SpilledBytes]) -> Sequence[bytes | SpilledBytes]:
        """Write the first of the pieces once more; return where they are now: none, if they cannot
        be written.
        """
        moved: list[bytes | SpilledBytes] = []
        size = 0
        for part in pieces:
            try:
                [written] = self._written([part.read()])
            except Unreadable:
                moved.append(LOST)
                continue
            if written == LOST:
                return moved
            moved.append(written)
            size += len(part)
            if size > BATCH:
                break
        return moved


def _sizes(line: Line) -> tuple[int, int, int]:
    """Return the bytes that can leave the memory, those on disk, and those that stay in memory."""
    if isinstance(line, PackedLine):
        part = line.part
        if isinstance(part, SpilledBytes):
            return 0, len(part), len(line.beginning)
        return 0 if part is None else len(part), 0, len(line.beginning)
    if isinstance(line, bytes | LinePart):
        return (len(line), 0, 0) if len(line) >= SHORTEST else (0, 0, len(line))
    return 0, 0, 0


# What is read of, and changed in, the lines of upstream projects without their listed files.


def with_files_of(line: Line, entry: UpstreamEntry, key: TableKey) -> Line:
    """Return the line of an entry that has the same listed files as `line`, which has this key."""
    if isinstance(line, PackedLine) and line.part and listed_files(entry) is not None:
        return line.with_beginning(dump_beginning(entry, line.beginning, key))
    if isinstance(line, PendingLine):
        return PendingLine(entry, partial(dump_upstream_entry, key=key))
    return dump_upstream_entry(entry, key=key)


def listing_time_of(table: LineTable[UpstreamEntry], name: ProjectName) -> datetime | None:
    """Return when upstream was last asked for the project, or None. Reads no listed files."""
    entry = table.decoded(name)
    if entry is not None:
        return None if entry.listing is None else entry.listing.confirmed
    line = table.lines.get(name)
    try:
        return None if line is None else _confirmed(line)
    except Unreadable:
        return None


def _confirmed(line: Line) -> datetime | None:
    if isinstance(line, PendingLine):
        listing: Listing | None = line.value.listing
        return None if listing is None else listing.confirmed
    if isinstance(line, PackedLine):
        return None if line.part == LOST else listing_time(line.short)
    return listing_time(written(line))


NAMED_SHARE = 4
"""The public index gets this many times the memory of all named upstreams, which are for few
projects.
"""


@define
class Serials:
    """What all tables of a catalog share: the serial of the last change, and whether all of the
    storage was compared.
    """

    last: int
    is_complete: bool = False

    def next(self) -> int:
        """Return the serial of a new change."""
        self.last += 1
        return self.last

    def reach(self, serial: int) -> None:
        """Go on from this serial, unless that was done."""
        self.last = max(self.last, serial)

    def complete(self) -> None:
        """Note that all of the storage was compared."""
        self.is_complete = True


L = TypeVar("L", bound=CatalogLines)


class _DumpedTable(Generic[L]):
    """A table that a dump writes, and fills at a start (`catalog.lines.DumpedLines`)."""

    def __init__(self, serials: Serials, lines: L) -> None:
        self._serials = serials
        self.lines = lines

    def adopt(self, line: DumpedLine) -> Line:
        """Return the form in which the line of a dump is held; see `CatalogLines.adopt`."""
        return self.lines.adopt(line)

    def state(self, versions: Sequence[int] | None) -> LinesState:
        """Return the state of the projects; see `CatalogLines.state`."""
        return self.lines.state(self._serials.last, versions)

    def fill(self, loaded: Loaded) -> None:
        """Add the projects of a dump to the empty table. Raises `ValueError` if it is not empty."""
        self.lines.fill(loaded)
        self._serials.reach(loaded.serial)

    def merge(self, loaded: Loaded) -> None:
        """Add the projects of a dump that came late; see `CatalogLines.merge`."""
        self.lines.merge(loaded)
        self._serials.reach(loaded.serial)
        self._serials.next()


class MemoryLocalTable(_DumpedTable[CatalogLines]):
    """The local projects (`LocalTable`). `thinking` runs what takes long to read or write."""

    def __init__(
        self, serials: Serials, thinking: Blocking, budget: MemoryBudget, lines: CatalogLines
    ) -> None:
        self._table: LineTable[LocalProject] = LineTable(
            load_project,
            lambda project: len(project.files),
            local_weight,
            thinking,
            budget,
            lines,
        )
        super().__init__(serials, self._table.lines)

    async def get(self, name: TableKey) -> LocalProject | Presence:
        held = await self._table.at_hand(name)
        if held is not None:
            return held
        return Presence.ABSENT if self._serials.is_complete else Presence.UNKNOWN

    async def summaries(self) -> Sequence[Summary]:
        return self.lines.summaries()

    async def edit(
        self,
        name: TableKey,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        await self._table.at_hand(name)
        old = self._table.get(name)  # again: from here to the change no other task runs
        new = changed(name, old, change)
        if not same(old, new):
            return self._put(name, new, self._serials.next(), mark)
        if old is None:
            self.lines.found_absent(name)
        elif mark is not None and mark != self._mark(name):
            self._put(name, old, old.serial, mark)
        return old

    async def edit_all(
        self, changes: Mapping[TableKey, Callable[[LocalProject | None], LocalProject | None]]
    ) -> Mapping[TableKey, LocalProject | None]:
        for name in changes:
            await self._table.at_hand(name)
        # again: from here to the change no other task runs
        before = {name: self._table.get(name) for name in changes}
        after = {name: changed(name, before[name], change) for name, change in changes.items()}
        differing = [name for name in changes if not same(before[name], after[name])]
        serial = self._serials.next() if differing else 0
        made = {name: self._put(name, after[name], serial, None) for name in differing}
        return {**before, **made}

    def _put(
        self, name: TableKey, project: LocalProject | None, serial: int, mark: str | None
    ) -> LocalProject | None:
        if project is None:
            self._table.take_out(name)
            return None
        project = evolve(project, serial=serial)
        line = partial(dump_project, mark=mark, key=name)
        self._table.put(local_summary(name, project), project, line, mark)
        self._table.write_down(name)
        return project

    async def mark(self, name: TableKey) -> str | None:
        return self._mark(name)

    def _mark(self, name: TableKey) -> str | None:
        line = self.lines.get(name)
        if isinstance(line, PendingLine):
            return line.mark
        return None if line is None else head_of(line).mark

    def merge(self, loaded: Loaded) -> None:
        """Add the projects of a dump that came late. Does nothing after `Catalog.complete`."""
        if not self._serials.is_complete:
            super().merge(loaded)


class MemoryUpstreamTable(_DumpedTable[PackedLines]):
    """The upstream projects (`UpstreamTable`). It uses the `share`-th part of the memory for
    listings that can be fetched again.
    """

    def __init__(
        self,
        serials: Serials,
        thinking: Blocking,
        forgettable: int,
        memory: ListingMemory,
        share: int = 1,
    ) -> None:
        most = forgettable // share
        super().__init__(serials, PackedLines(memory, thinking, self._forget, most, share))
        self._table: LineTable[UpstreamEntry] = LineTable(
            load_upstream_entry,
            count_for_writing,
            upstream_weight,
            thinking,
            memory.budget,
            self.lines,
        )

    async def get(self, name: TableKey) -> UpstreamEntry:
        return await self._table.at_hand(name) or UpstreamEntry(name=project_of(name))

    async def edit(
        self, name: TableKey, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        await self._table.at_hand(name)
        # again: from here to the change no other task runs
        old = self._table.get(name) or UpstreamEntry(name=project_of(name))
        new = change(old)
        if new.name != old.name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if new == old:
            return old
        if visible_state(new) != visible_state(old):
            new = evolve(new, serial=self._serials.next())
        if new.listing is None and not new.kept:
            self._table.take_out(name)
            return new
        line = self.lines.get(name)
        if line is not None and listed_files(new) is listed_files(old):
            self._table.put(upstream_summary(name, new), new, with_files_of(line, new, name))
        else:
            encode = partial(dump_upstream_entry, key=name)
            self._table.put(upstream_summary(name, new), new, encode)
        self._table.write_down(name)
        return new

    def _forget(self, name: TableKey) -> None:
        self._table.take_out(name)

    async def summaries(self) -> Sequence[Summary]:
        return self.lines.cached_summaries()

    def listing_time(self, name: TableKey) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Catalog.asked`)."""
        return listing_time_of(self._table, name)


class MemoryCatalog:
    """A `WholeCatalog` of tables of lines. `thinking` runs what takes long to read or write
    (`World.thinking`).
    """

    def __init__(
        self,
        serial: int = 0,
        thinking: Blocking = at_once,
        forgettable: int = MOST,
        memory: ListingMemory | None = None,
    ) -> None:
        self._serials = Serials(serial)
        memory = ListingMemory() if memory is None else memory
        decoded = MemoryBudget(DECODED)
        named = self._named = NamedLines()
        self.local = MemoryLocalTable(self._serials, thinking, decoded, CatalogLines())
        self.upstream = MemoryUpstreamTable(self._serials, thinking, forgettable, memory)
        self.named_local = MemoryLocalTable(self._serials, thinking, decoded, named)
        self.named_upstream = MemoryUpstreamTable(
            self._serials, thinking, forgettable, memory, NAMED_SHARE
        )

    async def serial(self) -> int:
        return self._serials.last

    @property
    def changes(self) -> int:
        """A number that grows with each visible change (`Catalog.changes`): both terms only ever
        grow.
        """
        return self._serials.last + self._serials.is_complete

    @property
    def knows_all(self) -> bool:
        """Whether `complete` was called (`Catalog.knows_all`)."""
        return self._serials.is_complete

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return the heads of the local and the upstream project (`Catalog.heads`)."""
        local = self.local.lines.head(name) or self._named.claim(name)
        return local, self.upstream.lines.head(name)

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str] | None:
        return self._named.indexes_with(name) or (frozenset() if self.knows_all else None)

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Catalog.asked`)."""
        return self.upstream.listing_time(name)

    def named_heads(self, key: TableKey) -> tuple[Summary | None, Summary | None]:
        """Return the heads in the tables of named indexes (`WholeCatalog.named_heads`)."""
        return self._named.head(key), self.named_upstream.lines.head(key)

    def named_listing_time(self, key: TableKey) -> datetime | None:
        """Return when the named upstream was last asked for the project, or None."""
        return self.named_upstream.listing_time(key)

    async def complete(self) -> None:
        self._serials.complete()
        for table in (self.local, self.upstream, self.named_local, self.named_upstream):
            table.lines.settled()

    async def is_complete(self) -> bool:
        return self._serials.is_complete

    @property
    def was_complete(self) -> bool:
        return self._serials.is_complete

    def begin_comparison(self) -> None:
        """Do nothing: no other process can reset this catalog."""

    async def is_away(self) -> bool:
        return False

    @property
    def generation(self) -> str:
        return ""


_memory_catalog: type[WholeCatalog] = MemoryCatalog
