"""The catalog in memory: lines of JSON (`catalog.lines`), one for each local project, and one for
each upstream project.

A million files take some hundred megabytes this way, where objects would take several times that; a
project is decoded when it is read, and the last few stay decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from functools import partial
from typing import Generic, TypeVar

from attrs import define, evolve

from pypid.catalog.forgettable import MOST
from pypid.catalog.lines import (
    CatalogLines,
    DumpedLine,
    Line,
    LinesState,
    Loaded,
    NamedLines,
    PendingLine,
    head_of,
)
from pypid.catalog.packed_lines import ListingMemory, PackedLines
from pypid.catalog.states import (
    changed,
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
from pypid.core.records.table_keys import project_of
from pypid.core.records.upstream_entry import dump_upstream_entry, load_upstream_entry
from pypid.flow import Blocking, at_once
from pypid.ports import NamedGlance, TableKey

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
        """Return when upstream was last asked for the project, or None (`Glance.asked`)."""
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
        local = self.local.lines.head(name) or self._named.claim(name)
        return local, self.upstream.lines.head(name)

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str] | None:
        return self._named.indexes_with(name) or (frozenset() if self.knows_all else None)

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Glance.asked`)."""
        return self.upstream.listing_time(name)

    def named_heads(self, key: TableKey) -> tuple[Summary | None, Summary | None]:
        """Return the heads in the tables of named indexes (`NamedGlance.named_heads`)."""
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


_: type[NamedGlance] = MemoryCatalog
