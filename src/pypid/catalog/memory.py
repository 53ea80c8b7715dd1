"""The catalog in memory: for each project one line of JSON (`records.dump_project`), and the head that a list of them needs.

A million files are some hundred megabytes so, where objects would be several times that; a project is decoded when it is
asked for, and the last few stay decoded. The lines lie in shards, for the snapshot (`catalog.snapshot`).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from zlib import crc32

from attrs import evolve, field, frozen

from pypid.core.model import Presence, Project, Summary
from pypid.core.names import ProjectName
from pypid.core.records import dump_project, load_head, load_project
from pypid.flow import World
from pypid.ports import Catalog

SHARDS = 256
DECODED = 256
"""How many projects stay decoded: those whose pages are rendered again and again while they are published to."""


def shard_of(name: str) -> int:
    """The shard that the project's line lies in; the same in every process and version."""
    return crc32(name.encode()) % SHARDS


@frozen
class Loaded:
    """A whole catalog, as a snapshot brings it. `MemoryCatalog.fill` takes the containers over."""

    serial: int
    shards: tuple[dict[ProjectName, bytes], ...] = field(repr=False)
    heads: dict[ProjectName, Summary] = field(repr=False)
    names: list[ProjectName] = field(repr=False)
    """Sorted."""

    @classmethod
    def nothing(cls, serial: int) -> Loaded:
        """An empty catalog, to be put together."""
        return cls(serial, tuple({} for _ in range(SHARDS)), {}, [])


@frozen
class Moment:
    """The catalog at one moment: its serial, a version for each shard, and the lines of the shards that were asked for."""

    serial: int
    versions: tuple[int, ...]
    lines: Mapping[int, tuple[bytes, ...]] = field(repr=False)


@frozen
class MemorySettings:
    """`serial`: the number to go on from, where an earlier catalog's must not come again."""

    serial: int = 0


class MemoryCatalog:
    """A `Catalog` that is a dict of lines."""

    def __init__(self, serial: int = 0) -> None:
        self._serial = serial
        self._shards: tuple[dict[ProjectName, bytes], ...] = tuple({} for _ in range(SHARDS))
        self._versions = [0] * SHARDS
        self._heads: dict[ProjectName, Summary] = {}
        self._names: list[ProjectName] = []
        self._summaries: tuple[Summary, ...] | None = None
        self._decoded: OrderedDict[ProjectName, Project] = OrderedDict()
        self._complete = False

    async def ours(self, name: ProjectName) -> Project | Presence:
        held = self._project(name)
        if held is not None:
            return held
        return Presence.ABSENT if self._complete else Presence.UNKNOWN

    async def names(self) -> Sequence[Summary]:
        if self._summaries is None:
            self._summaries = tuple(map(self._heads.__getitem__, self._names))
        return self._summaries

    async def edit(
        self, name: ProjectName, change: Callable[[Project | None], Project | None], *, mark: str | None = None
    ) -> Project | None:
        old = self._project(name)
        new = change(old)
        if new is not None and new.name != name:
            raise ValueError(f"an edit of {name} made {new.name} of it")
        if _same(old, new):
            if old is not None and mark is not None and mark != await self.mark(name):
                self._put_line(name, dump_project(old, mark))
            return old
        self._serial += 1
        self._summaries = None
        if new is None:
            self._take_out(name)
            return None
        new = evolve(new, serial=self._serial)
        if old is None:
            insort(self._names, name)
        self._heads[name] = Summary(name, new.serial, new.status)
        self._put_line(name, dump_project(new, mark))
        self._keep_decoded(new)
        return new

    async def mark(self, name: ProjectName) -> str | None:
        line = self._shards[shard_of(name)].get(name)
        return None if line is None else load_head(line).mark

    async def serial(self) -> int:
        return self._serial

    async def complete(self) -> None:
        self._complete = True

    async def is_complete(self) -> bool:
        return self._complete

    def moment(self, versions: Sequence[int] | None) -> Moment:
        """The catalog now, with the lines of the shards that are not at `versions` any more (None: of all).

        Copies references only: a millisecond for a million files.
        """
        lines = {
            number: tuple(shard.values())
            for number, shard in enumerate(self._shards)
            if versions is None or self._versions[number] != versions[number]
        }
        return Moment(self._serial, tuple(self._versions), lines)

    def fill(self, loaded: Loaded) -> None:
        """Begin with what a snapshot held. Raises `ValueError` where something is held already."""
        if self._heads:
            raise ValueError("a catalog that holds projects cannot be filled from a snapshot")
        self._serial = max(self._serial, loaded.serial)
        self._shards = loaded.shards
        self._heads = loaded.heads
        self._names = loaded.names
        self._summaries = None

    def _project(self, name: ProjectName) -> Project | None:
        decoded = self._decoded.get(name)
        if decoded is not None:
            self._decoded.move_to_end(name)
            return decoded
        line = self._shards[shard_of(name)].get(name)
        if line is None:
            return None
        return self._keep_decoded(load_project(line))

    def _keep_decoded(self, project: Project) -> Project:
        self._decoded[project.name] = project
        self._decoded.move_to_end(project.name)
        if len(self._decoded) > DECODED:
            self._decoded.popitem(last=False)
        return project

    def _put_line(self, name: ProjectName, line: bytes) -> None:
        number = shard_of(name)
        self._shards[number][name] = line
        self._versions[number] += 1

    def _take_out(self, name: ProjectName) -> None:
        number = shard_of(name)
        del self._shards[number][name]
        self._versions[number] += 1
        del self._heads[name]
        del self._names[bisect_left(self._names, name)]
        self._decoded.pop(name, None)


def _same(old: Project | None, new: Project | None) -> bool:
    """Whether nothing changes; the serial is ours to set, so it does not count."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


async def open(settings: MemorySettings, world: World) -> MemoryCatalog:
    """A new, empty catalog."""
    return MemoryCatalog(settings.serial)


_: type[Catalog] = MemoryCatalog
