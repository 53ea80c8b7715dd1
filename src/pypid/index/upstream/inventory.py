"""The inventory of the cache: the size of each cached file in the storage, and when it was last
accessed.

Only blobs below `layout.KEPT` are read: local files are no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import aclosing
from itertools import groupby
from operator import attrgetter, itemgetter

from attrs import define, evolve, frozen

from pypid.core.model import Blob
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import KEPT, ObjectKind, ObjectPlace, kept_folder, kept_place
from pypid.flow import World
from pypid.index.context import Pace
from pypid.index.upstream.last_access import LastAccess
from pypid.ports import Blobs, Catalog


@frozen
class InventoryEntry:
    """All blobs of one cached file together. `size` in bytes; `wanted` is the last access, in
    seconds since 1970. `upstream`: the name of its `[upstream:NAME]`; "" for `[upstream]`.

    `recorded`: the file can be served. Otherwise only its metadata is cached, which an installer
    has requested, or the blobs were left by a crash.
    """

    project: ProjectName
    filename: str
    size: int
    wanted: int
    recorded: bool = False
    upstream: str = ""


@define
class _Sum:
    size: int = 0
    stored: int = 0
    recorded: bool = False

    def add(self, place: ObjectPlace, blob: Blob) -> None:
        self.size += blob.size
        self.stored = max(self.stored, int(blob.modified.timestamp()))
        self.recorded = self.recorded or place.kind is ObjectKind.RECORD


_Sums = Mapping[tuple[ProjectName, str], _Sum]


@frozen
class CacheInventory:
    """Lists the cached files. There may be a hundred thousand: it yields the reactor regularly."""

    blobs: Blobs
    catalog: Catalog
    last_access: LastAccess
    world: World
    upstream: str = ""
    """The name of the upstream that the files are from."""

    async def lying(self, project: ProjectName | None = None) -> Sequence[InventoryEntry]:
        """Return all cached files (of one project), by name, including blobs that no record names;
        the time of storing counts as the last access.

        Raises `StorageDown`.
        """
        pace = Pace(self.world)
        sums: dict[tuple[ProjectName, str], _Sum] = {}
        async with aclosing(
            self.blobs.list(KEPT if project is None else kept_folder(project))
        ) as listing:
            async for blob in listing:
                place = kept_place(blob.key)
                if place is not None and place.filename:
                    sums.setdefault((place.project, place.filename), _Sum()).add(place, blob)
                await pace.keep()
        return await self.world.thinking(_in_order, sums, self.upstream)

    async def taken(
        self, files: Sequence[InventoryEntry] | None = None, project: ProjectName | None = None
    ) -> Sequence[InventoryEntry]:
        """Return the cached files (or `files` of them) with their last access. This reads the
        catalog's entry of each project.
        """
        pace = Pace(self.world)
        known: list[InventoryEntry] = []
        for name, held in groupby(
            await self.lying(project) if files is None else files, attrgetter("project")
        ):
            wanted = self.last_access.wanted(await self.catalog.upstream.get(name))
            known += [
                evolve(file, wanted=max(file.wanted, wanted.get(file.filename, 0))) for file in held
            ]
            await pace.keep()
        return known


def _in_order(sums: _Sums, upstream: str) -> list[InventoryEntry]:
    return [
        InventoryEntry(*key, found.size, found.stored, found.recorded, upstream)
        for key, found in sorted(sums.items(), key=itemgetter(0))
    ]
