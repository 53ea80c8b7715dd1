"""The catalog in memory: lines of JSON (`catalog.lines`), one for each local project, and one for
each upstream project.

A million files take some hundred megabytes this way, where objects would take several times that; a
project is decoded when it is read, and the last few stay decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from attrs import define, evolve, frozen

from pypid.catalog.forgettable import MOST
from pypid.catalog.lines import (
    CatalogLines,
    DumpedLine,
    Line,
    LinesState,
    Loaded,
    PendingLine,
    head_of,
)
from pypid.catalog.packed_lines import ListingMemory, PackedLines
from pypid.catalog.states import (
    count_for_writing,
    listed_files,
    local_summary,
    local_weight,
    same,
    upstream_summary,
    upstream_weight,
    visible_state,
)
from pypid.catalog.table import DECODED, LineTable
from pypid.catalog.upstream_lines import listing_time_of, with_files_of
from pypid.core.memory_budget import MemoryBudget
from pypid.core.model import LocalProject, Presence, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump_project, load_project
from pypid.core.records.upstream_entry import dump_upstream_entry, load_upstream_entry
from pypid.flow import Blocking, World, at_once
from pypid.ports import Catalog, Glance, TableKey


@frozen
class MemoryCatalogSettings:
    """Settings of the catalog. `serial`: the first serial, so that an earlier catalog's do not come
    again. `forgettable`: bytes (`catalog.forgettable`).
    """

    serial: int = 0
    forgettable: int = MOST


@define
class Serials:
    """What both tables of a catalog share: the serial of the last change, and whether all of the
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

    def __init__(self, serials: Serials, thinking: Blocking) -> None:
        self._table: LineTable[LocalProject] = LineTable(
            load_project,
            lambda project: len(project.files),
            local_weight,
            thinking,
            MemoryBudget(DECODED),
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
        new = change(old)
        if new is not None and new.name != name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if same(old, new):
            if old is None:
                self.lines.found_absent(name)
            if old is None or mark is None or mark == self._mark(name):
                return old
            new = old
        else:
            serial = self._serials.next()
            if new is None:
                self._table.take_out(name)
                return None
            new = evolve(new, serial=serial)
        assert new is not None
        self._table.put(local_summary(new), new, partial(dump_project, mark=mark), mark)
        self._table.write_down(name)
        return new

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
    """The upstream projects (`UpstreamTable`)."""

    def __init__(
        self, serials: Serials, thinking: Blocking, forgettable: int, memory: ListingMemory
    ) -> None:
        super().__init__(serials, PackedLines(memory, thinking, self._forget, forgettable))
        self._table: LineTable[UpstreamEntry] = LineTable(
            load_upstream_entry,
            count_for_writing,
            upstream_weight,
            thinking,
            memory.budget,
            self.lines,
        )

    async def get(self, name: TableKey) -> UpstreamEntry:
        return await self._table.at_hand(name) or UpstreamEntry(name=name)

    async def edit(
        self, name: TableKey, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        await self._table.at_hand(name)
        # again: from here to the change no other task runs
        old = self._table.get(name) or UpstreamEntry(name=name)
        new = change(old)
        if new.name != name:
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
            self._table.put(upstream_summary(new), new, with_files_of(line, new))
        else:
            self._table.put(upstream_summary(new), new, dump_upstream_entry)
        self._table.write_down(name)
        return new

    def _forget(self, name: TableKey) -> None:
        self._table.take_out(name)

    async def summaries(self) -> Sequence[Summary]:
        return self.lines.cached_summaries()

    def listing_time(self, name: TableKey) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Glance.asked`)."""
        return listing_time_of(self._table, name)


class MemoryCatalog:
    """A `Catalog` of two tables of lines. `thinking` runs what takes long to read or write
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
        self.local = MemoryLocalTable(self._serials, thinking)
        self.upstream = MemoryUpstreamTable(self._serials, thinking, forgettable, memory)

    async def serial(self) -> int:
        return self._serials.last

    @property
    def changes(self) -> int:
        """A number that grows with each visible change (`Glance.changes`): both terms only ever
        grow.
        """
        return self._serials.last + self._serials.is_complete

    @property
    def knows_all(self) -> bool:
        """Whether `complete` was called (`Glance.knows_all`)."""
        return self._serials.is_complete

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return the heads of the local and the upstream project (`Glance.heads`)."""
        return self.local.lines.head(name), self.upstream.lines.head(name)

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Glance.asked`)."""
        return self.upstream.listing_time(name)

    async def complete(self) -> None:
        self._serials.complete()
        self.local.lines.settled()
        self.upstream.lines.settled()

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


async def open(settings: MemoryCatalogSettings, world: World) -> MemoryCatalog:
    """Return a new, empty catalog."""
    return MemoryCatalog(settings.serial, world.thinking, settings.forgettable)


_: type[Catalog] = MemoryCatalog
__: type[Glance] = MemoryCatalog
