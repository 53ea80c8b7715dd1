"""Measurements for administrators: the disk usage of projects, and the free space on the disks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shutil import disk_usage

from attrs import define, field, frozen
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.flow import World, start
from pypid.flow.derived import Flights
from pypid.index.linked_files import LinkedFiles
from pypid.index.usage import Usage, Used, together
from pypid.ports import Catalog

PATIENCE = 1.0
"""Timeout in seconds for a disk to report its free space."""


@frozen
class Disk:
    """Size of the disk (partition) that a folder is on, in bytes; `free` is for users other than
    root.
    """

    total: int
    free: int

    @property
    def is_short(self) -> bool:
        """Whether the disk is nearly full: less than a twentieth of it is left, or than 1 GiB."""
        return self.free < max(self.total // 20, 1 << 30)


@define(eq=False)
class Disks:
    """Free space of disks, queried in a thread; one that hangs (over a network) takes one thread,
    not one for each query.
    """

    world: World
    _asking: Flights[Path, Disk | None] = field(factory=Flights, init=False, repr=False)

    async def of(self, folder: Path | None) -> Disk | None:
        """Return the disk that the folder is on; None if there is no folder, or if the disk does
        not answer in time.
        """
        if folder is None:
            return None
        asking = start(self._asking.single(folder, lambda: self._ask(folder)))
        try:
            return await asking.addTimeout(PATIENCE, self.world.clock)
        except TimedOut:
            return None

    async def _ask(self, folder: Path) -> Disk | None:
        return await self.world.blocking(_disk_of, folder)


def _disk_of(folder: Path) -> Disk | None:
    try:
        found = disk_usage(folder)
    except OSError:
        return None
    return Disk(found.total, found.free)


class Measures:
    """All measurements. `folders`: ``state`` and ``storage``; None for one that is not a folder.
    `upstreams`: the catalogs of named upstreams. `indexes` returns those of named indexes.
    """

    def __init__(
        self,
        catalog: Catalog,
        world: World,
        folders: Mapping[str, Path | None],
        upstreams: Mapping[str, Catalog],
        indexes: Callable[[], Mapping[str, Catalog]],
    ) -> None:
        self.catalog = catalog
        self.world = world
        self.folders = folders
        self.upstreams = upstreams
        self.indexes = indexes
        self.usage = Usage(catalog, world)
        self._disks = Disks(world)
        storage = folders["storage"]
        self._linked = None if storage is None else LinkedFiles(storage, world)
        self._of_upstreams: dict[str, Usage] = {}
        self._of_indexes: dict[str, Usage] = {}

    async def used(self) -> Used | None:
        """Return the storage used, including named indexes and the cached files of all upstreams;
        None if it was not counted yet. Raises `CatalogDown`.
        """
        used = await self.usage.current()
        upstreams = [await self.of_upstream(name).current() for name in self.upstreams]
        indexes = [await usage.current() for usage in self._usages_of_indexes()]
        others = [each for each in (*upstreams, *indexes) if each is not None]
        if used is None or not others:
            return used
        total = await self.world.thinking(together, used, others)
        if self._linked is None or not indexes:
            return total
        listed = [used, *(each for each in indexes if each is not None)]
        catalogs = {"": self.catalog, **self.indexes()}
        return await self._linked.counted_once(total, listed, catalogs)

    def of_upstream(self, name: str) -> Usage:
        """Return the usage of the cached files of a named upstream."""
        return self._of_upstreams.setdefault(name, Usage(self.upstreams[name], self.world))

    def _usages_of_indexes(self) -> Iterable[Usage]:
        catalogs, known = self.indexes(), self._of_indexes
        self._of_indexes = {
            name: known.get(name) or Usage(catalog, self.world)
            for name, catalog in catalogs.items()
        }
        return self._of_indexes.values()

    async def used_by_index(self) -> Mapping[str, Used]:
        """Return the storage used by each named index that was counted. Raises `CatalogDown`."""
        self._usages_of_indexes()
        found = {name: await usage.current() for name, usage in list(self._of_indexes.items())}
        return {name: used for name, used in found.items() if used is not None}

    async def disk(self, which: str) -> Disk | None:
        """Return the disk of the folder."""
        return await self._disks.of(self.folders[which])
