"""Bytes that several indexes share. In a folder, a promoted file is a hard link, so its bytes are
on the disk once, regardless of the number of indexes that list it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import TimeoutError as TimedOut

from pypid.core.model import Project, StoredFile
from pypid.core.packaging.names import ProjectName
from pypid.core.records.layout import INDEXES
from pypid.flow import World, start
from pypid.flow.derived import Flights
from pypid.index.context import Pace
from pypid.index.usage import PATIENCE, Used, total
from pypid.ports import Catalog

_Counted = tuple[tuple[int, ...], int]
"""The serials of a project in all indexes, and the bytes that are counted more than once."""


@define(eq=False)
class LinkedFiles:
    """Counts the bytes that several indexes share in the storage `folder`."""

    folder: Path
    world: World
    _counted: dict[ProjectName, _Counted] = field(factory=dict, init=False, repr=False)
    _counts: Flights[None, None] = field(factory=Flights, init=False, repr=False)

    async def counted_once(
        self, used: Used, indexes: Iterable[Used], catalogs: Mapping[str, Catalog]
    ) -> Used:
        """Return `used` with each file counted once. `indexes`: the storage used by each index;
        `catalogs`: their catalogs. The name of the default index is empty. A count that takes
        longer than `PATIENCE` continues; until then the last one holds.
        """
        listed = Counter(use.name for index in indexes for use in index.by_size if use.files)
        names = [name for name, times in listed.items() if times > 1]
        if not names:
            return used
        count = start(self._counts.single(None, lambda: self._count(names, catalogs)))
        with suppress(TimedOut):
            await count.addTimeout(PATIENCE, self.world.clock)
        return await self.world.thinking(_without, used, dict(self._counted))

    async def _count(self, names: Sequence[ProjectName], catalogs: Mapping[str, Catalog]) -> None:
        counted: dict[ProjectName, _Counted] = {}
        pace = Pace(self.world)
        for name in names:
            projects = {
                f"{INDEXES}{index}/" if index else "": found
                for index, catalog in catalogs.items()
                if isinstance(found := await catalog.local.get(name), Project)
            }
            serials = tuple(project.serial for project in projects.values())
            known = self._counted.get(name)
            if known is None or known[0] != serials:
                files = [(prefix, file) for prefix, each in projects.items() for file in each.files]
                known = serials, await self.world.blocking(_repeated, self.folder, files)
            counted[name] = known
            await pace.keep()
        self._counted = counted


def _repeated(folder: Path, files: Sequence[tuple[str, StoredFile]]) -> int:
    """Return the bytes of files that are links to others of these files."""
    times = Counter(file.sha256 for _, file in files)
    seen, size = set[tuple[int, int]](), 0
    for prefix, file in files:
        if times[file.sha256] < 2:
            continue
        with suppress(OSError):
            found = (folder / f"{prefix}{file.key}").stat()
            node = found.st_dev, found.st_ino
            size += file.size if node in seen else 0
            seen.add(node)
    return size


def _without(used: Used, counted: Mapping[ProjectName, _Counted]) -> Used:
    """Return `used` without bytes that are counted more than once."""
    return total(
        [
            replace(use, size=max(0, use.size - counted[use.name][1]))
            if use.name in counted
            else use
            for use in used.by_size
        ]
    )
