"""The records of local projects (`RecordKind`): the storage is the only place where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from attrs import evolve, frozen

from pypid.core.errors import CatalogDown
from pypid.core.model import Blob, LocalProject, Project
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import folder
from pypid.flow import World
from pypid.index.store import records
from pypid.index.store.record_store import RecordKind, StorageState
from pypid.ports import Blobs, Catalog

FEW = 1000
"""Largest number of objects whose fingerprint is computed on the reactor thread: it takes about a
millisecond.
"""


@frozen
class LocalRecords:
    """A project is local if it has a record, a tombstone or a status; None stands for no project.

    While the catalog is unavailable, the storage alone answers.
    """

    blobs: Blobs
    catalog: Catalog
    world: World
    is_cache: ClassVar[bool] = False

    def folder(self, name: ProjectName) -> str:
        return folder(name)

    async def held(self, name: ProjectName) -> LocalProject | None:
        try:
            held = await self.catalog.local.get(name)
        except CatalogDown:  # an edit raises it again
            return None
        return held if isinstance(held, Project) else None

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[LocalProject | None], LocalProject | None],
        mark: str | None = None,
    ) -> LocalProject | None:
        return await self.catalog.local.edit(name, change, mark=mark)

    async def read(
        self, name: ProjectName, listing: Sequence[Blob]
    ) -> StorageState[LocalProject | None]:
        found = await records.project_of(self.blobs, name, listing)
        return StorageState(lambda _: found.project, found.mark, found.strays)

    async def agrees(
        self, held: LocalProject | None, name: ProjectName, listing: Sequence[Blob]
    ) -> bool:
        """Return whether the listing is the one that the entry was read from."""
        mark = (
            records.mark_of(listing)
            if len(listing) <= FEW
            else await self.world.thinking(records.mark_of, listing)
        )
        return mark == await self.catalog.local.mark(name)

    def has_records(self, held: LocalProject | None) -> bool:
        return held is not None

    def version(self, held: LocalProject | None) -> object:
        return None if held is None else held.serial

    def is_same(self, held: LocalProject | None, found: LocalProject | None) -> bool:
        if held is None or found is None:
            return held is found
        return evolve(found, serial=held.serial) == held


_: type[RecordKind[LocalProject | None]] = LocalRecords
