"""The parts of a catalog: one for each named index and each named upstream.

A part is small: it holds only the last list of its projects, once it was requested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime

from attrs import Factory, field, frozen

from pypid.core.model import LocalProject, Presence, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import named_key, project_of
from pypid.core.summaries import Section, Summaries, in_runs
from pypid.ports import (
    Catalog,
    LocalTable,
    TableKey,
    UpstreamTable,
    WholeCatalog,
)

_NO_PROJECTS = Summaries()


def _section(part: LocalPart | UpstreamPart) -> Section:
    return Section(named_key(part.index, ProjectName("")))


@frozen
class LocalPart:
    """The local projects of one named index (`LocalTable`)."""

    table: LocalTable
    index: str
    _section: Section = field(default=Factory(_section, takes_self=True), init=False, repr=False)

    async def get(self, name: TableKey) -> LocalProject | Presence:
        return await self.table.get(named_key(self.index, name))

    async def edit(
        self,
        name: TableKey,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        return await self.table.edit(named_key(self.index, name), change, mark=mark)

    async def edit_all(
        self, changes: Mapping[TableKey, Callable[[LocalProject | None], LocalProject | None]]
    ) -> Mapping[TableKey, LocalProject | None]:
        made = await self.table.edit_all(
            {named_key(self.index, name): change for name, change in changes.items()}
        )
        return {project_of(key): project for key, project in made.items()}

    async def mark(self, name: TableKey) -> str | None:
        return await self.table.mark(named_key(self.index, name))

    async def summaries(self) -> Sequence[Summary]:
        return self._section.of(in_runs(await self.table.summaries()))


@frozen
class UpstreamPart:
    """The upstream projects of one named upstream (`UpstreamTable`)."""

    table: UpstreamTable
    index: str
    _section: Section = field(default=Factory(_section, takes_self=True), init=False, repr=False)

    async def get(self, name: TableKey) -> UpstreamEntry:
        return await self.table.get(named_key(self.index, name))

    async def edit(
        self, name: TableKey, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        return await self.table.edit(named_key(self.index, name), change)

    async def summaries(self) -> Sequence[Summary]:
        return self._section.of(in_runs(await self.table.summaries()))


class NoLocalProjects:
    """The local projects of an upstream (`LocalTable`): there are none, and none can be added."""

    async def get(self, name: TableKey) -> LocalProject | Presence:
        return Presence.ABSENT

    async def edit(
        self,
        name: TableKey,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        if change(None) is not None:
            raise ValueError(f"an upstream has no local project {name}")
        return None

    async def edit_all(
        self, changes: Mapping[TableKey, Callable[[LocalProject | None], LocalProject | None]]
    ) -> Mapping[TableKey, LocalProject | None]:
        return {name: await self.edit(name, change) for name, change in changes.items()}

    async def mark(self, name: TableKey) -> str | None:
        return None

    async def summaries(self) -> Sequence[Summary]:
        return _NO_PROJECTS


class NoUpstreamProjects:
    """The upstream projects of a named index (`UpstreamTable`): it has none of its own."""

    async def get(self, name: TableKey) -> UpstreamEntry:
        return UpstreamEntry(name=name)

    async def edit(
        self, name: TableKey, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        entry = UpstreamEntry(name=name)
        if change(entry) != entry:
            raise ValueError(f"a named index has no upstream project {name}")
        return entry

    async def summaries(self) -> Sequence[Summary]:
        return _NO_PROJECTS


def _local(part: PartCatalog) -> LocalTable:
    if part.index is None:
        return NoLocalProjects()
    return LocalPart(part.whole.named_local, part.index)


def _upstream(part: PartCatalog) -> UpstreamTable:
    if part.source is None:
        return NoUpstreamProjects()
    return UpstreamPart(part.whole.named_upstream, part.source)


@frozen
class PartCatalog:
    """The `Catalog` of one part: of the local projects of a named index (`index`), or of the
    upstream projects of a named upstream (`source`).

    It is complete when the whole is: `complete` and `begin_comparison` do nothing here, since a
    comparison of one part proves nothing for the others.
    """

    whole: WholeCatalog = field(repr=False)
    index: str | None = None
    source: str | None = None
    local: LocalTable = field(default=Factory(_local, takes_self=True), init=False, repr=False)
    upstream: UpstreamTable = field(
        default=Factory(_upstream, takes_self=True), init=False, repr=False
    )

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str] | None:
        return await self.whole.indexes_with(name)

    async def serial(self) -> int:
        return await self.whole.serial()

    async def complete(self) -> None:
        """Do nothing: the whole catalog is complete once all parts were compared."""

    async def is_complete(self) -> bool:
        return await self.whole.is_complete()

    @property
    def was_complete(self) -> bool:
        return self.whole.was_complete

    def begin_comparison(self) -> None:
        """Do nothing, see `complete`."""

    async def is_away(self) -> bool:
        return await self.whole.is_away()

    @property
    def generation(self) -> str:
        return self.whole.generation

    @property
    def changes(self) -> int:
        """A number that differs after each visible change of any part (`Catalog.changes`)."""
        return self.whole.changes

    @property
    def knows_all(self) -> bool:
        """Whether the whole catalog is complete (`Catalog.knows_all`)."""
        return self.whole.knows_all

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return the heads (`Catalog.heads`). For an upstream, the local head is that of any index
        that has the project: the name is private then.
        """
        local, upstream = self.whole.heads(name)[0], None
        if self.index is not None:
            local = self.whole.named_heads(named_key(self.index, name))[0]
        if self.source is not None:
            upstream = self.whole.named_heads(named_key(self.source, name))[1]
        return local, upstream

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, or None (`Catalog.listing_time`)."""
        if self.source is None:
            return None
        return self.whole.named_listing_time(named_key(self.source, name))


_: type[Catalog] = PartCatalog
