"""The catalog in memory: lines of JSON (`catalog.lines`), one for each local project, and one for
each upstream project.

A million files take some hundred megabytes this way, where objects would take several times that; a
project is decoded when it is read, and the last few stay decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from operator import attrgetter

from attrs import evolve, frozen

from pypid.catalog.forgettable import MOST, Forgettable
from pypid.catalog.table import (
    CatalogLines,
    LinePart,
    LinesState,
    Loaded,
    PendingLine,
    Table,
    count_files,
    head_of,
    listed_files,
    local_summary,
    same,
    upstream_summary,
    visible_state,
    written,
)
from pypid.core.model import LocalProject, Presence, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import dump_project, load_project
from pypid.core.records.upstream_entry import dump_upstream_entry, load_upstream_entry
from pypid.core.summaries import Sieve, Summaries, only
from pypid.flow import Blocking, World, at_once
from pypid.ports import Catalog, Glance


@frozen
class MemoryCatalogSettings:
    """Settings of the catalog. `serial`: the first serial, so that an earlier catalog's do not come
    again. `forgettable`: bytes (`catalog.forgettable`).
    """

    serial: int = 0
    forgettable: int = MOST


class MemoryCatalog:
    """A `Catalog` of two tables of lines. `thinking` runs what takes long to read or write
    (`World.thinking`).
    """

    def __init__(
        self, serial: int = 0, thinking: Blocking = at_once, forgettable: int = MOST
    ) -> None:
        self._serial = serial
        self._local: Table[LocalProject] = Table(
            load_project, lambda project: len(project.files), thinking
        )
        self._upstream: Table[UpstreamEntry] = Table(load_upstream_entry, count_files, thinking)
        self._forgettable = Forgettable(forgettable)
        self._complete = False
        self._kept = Sieve(lambda run: only(run, attrgetter("kept")))
        self._keeping = (Summaries(), Summaries())
        """The heads of upstream projects, and those of them with cached files."""

    async def local_project(self, name: ProjectName) -> LocalProject | Presence:
        held = await self._local.at_hand(name)
        if held is not None:
            return held
        return Presence.ABSENT if self._complete else Presence.UNKNOWN

    async def names(self) -> Sequence[Summary]:
        return self._local.lines.summaries()

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        await self._local.at_hand(name)
        old = self._local.get(name)  # again: from here to the change no other task runs
        new = change(old)
        if new is not None and new.name != name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if same(old, new):
            if old is None:
                self._local.lines.found_absent(name)
            if old is None or mark is None or mark == self._mark(name):
                return old
            new = old
        else:
            self._serial += 1
            if new is None:
                self._local.take_out(name)
                return None
            new = evolve(new, serial=self._serial)
        assert new is not None
        self._local.put(local_summary(new), new, partial(dump_project, mark=mark), mark)
        self._local.write_down(name)
        return new

    async def mark(self, name: ProjectName) -> str | None:
        return self._mark(name)

    def _mark(self, name: ProjectName) -> str | None:
        line = self._local.lines.get(name)
        if isinstance(line, PendingLine):
            return line.mark
        return None if line is None else head_of(line).mark

    async def upstream_entry(self, name: ProjectName) -> UpstreamEntry:
        return await self._upstream.at_hand(name) or UpstreamEntry(name=name)

    async def edit_upstream_entry(
        self, name: ProjectName, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        await self._upstream.at_hand(name)
        old = self._upstream.get(name) or UpstreamEntry(
            name=name
        )  # again: from here to the change no other task runs
        new = change(old)
        if new.name != name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if new == old:
            return old
        if visible_state(new) != visible_state(old):
            self._serial += 1
            new = evolve(new, serial=self._serial)
        if new.listing is None and not new.kept:
            self._upstream.take_out(name)
            self._forgettable.drop(name)
            return new
        line = self._upstream.lines.get(name)
        if isinstance(line, bytes | LinePart) and listed_files(new) is listed_files(old):
            self._upstream.put(upstream_summary(new), new, dump_upstream_entry(new, written(line)))
        else:
            self._upstream.put(upstream_summary(new), new, dump_upstream_entry)
            self._upstream.write_down(name)
        self._forget_others(name)
        return new

    def _forget_others(self, name: ProjectName) -> None:
        """Drop other upstream projects to make space, after this one has changed."""
        head, line = self._upstream.lines.head(name), self._upstream.lines.get(name)
        if head is None or head.kept:
            self._forgettable.drop(name)
        elif line is not None:
            self._forgettable.note(name, 0 if isinstance(line, PendingLine) else len(line))
        for other in self._forgettable.pop_excess():
            self._upstream.take_out(other)

    async def upstream_names(self) -> Sequence[ProjectName]:
        return [summary.name for summary in await self.upstream_summaries()]

    async def upstream_summaries(self) -> Sequence[Summary]:
        heads = self._upstream.lines.summaries()
        if heads is not self._keeping[0]:
            self._keeping = (heads, self._kept.of(heads))
        return self._keeping[1]

    async def serial(self) -> int:
        return self._serial

    @property
    def changes(self) -> int:
        """A number that grows with each visible change (`Glance.changes`): both terms only ever
        grow.
        """
        return self._serial + self._complete

    @property
    def knows_all(self) -> bool:
        """Whether `complete` was called (`Glance.knows_all`)."""
        return self._complete

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return the heads of the local and the upstream project (`Glance.heads`)."""
        return self._local.lines.head(name), self._upstream.lines.head(name)

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Glance.asked`)."""
        entry = self._upstream.get(name)
        return None if entry is None or entry.listing is None else entry.listing.confirmed

    async def complete(self) -> None:
        self._complete = True
        self._local.lines.settled()
        self._upstream.lines.settled()

    async def is_complete(self) -> bool:
        return self._complete

    @property
    def was_complete(self) -> bool:
        return self._complete

    def begin_comparison(self) -> None:
        """Do nothing: no other process can reset this catalog."""

    async def is_away(self) -> bool:
        return False

    @property
    def generation(self) -> str:
        return ""

    # --- for dumps ---

    def state(self, versions: Sequence[int] | None) -> LinesState:
        """Return the state of the local projects; see `CatalogLines.state`."""
        return self._local.lines.state(self._serial, versions)

    def fill(self, loaded: Loaded) -> None:
        """Add the projects of a dump to the empty catalog. Raises `ValueError` if it is not
        empty.
        """
        self._fill(self._local.lines, loaded)

    def merge(self, loaded: Loaded) -> None:
        """Add the projects of a dump that came late; see `CatalogLines.merge`. Does nothing after
        `complete`.
        """
        if not self._complete:
            self._local.lines.merge(loaded)
            self._serial = max(self._serial, loaded.serial) + 1

    @property
    def upstream_lines(self) -> UpstreamLines:
        """The upstream half, for a dump of its own."""
        return UpstreamLines(
            lambda versions: self._upstream.lines.state(self._serial, versions),
            self._fill_upstream,
            self._merge_upstream,
        )

    def _fill_upstream(self, loaded: Loaded) -> None:
        self._fill(self._upstream.lines, loaded)
        for head in self._upstream.lines.summaries():
            self._forget_others(head.name)

    def _merge_upstream(self, loaded: Loaded) -> None:
        self._upstream.lines.merge(loaded)
        self._serial = max(self._serial, loaded.serial) + 1

    def _fill(self, lines: CatalogLines, loaded: Loaded) -> None:
        lines.fill(loaded)
        self._serial = max(self._serial, loaded.serial)


@frozen
class UpstreamLines:
    """The upstream half of a catalog in memory; see `catalog.lines.DumpedLines`."""

    state: Callable[[Sequence[int] | None], LinesState]
    fill: Callable[[Loaded], None]
    merge: Callable[[Loaded], None]


async def open(settings: MemoryCatalogSettings, world: World) -> MemoryCatalog:
    """Return a new, empty catalog."""
    return MemoryCatalog(settings.serial, world.thinking, settings.forgettable)


_: type[Catalog] = MemoryCatalog
__: type[Glance] = MemoryCatalog
