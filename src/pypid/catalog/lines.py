"""The storage of the catalog in memory: lines of JSON by project, in versioned shards.

A project is held as the bytes that a dump writes: a million files fit in memory, and writing a dump
only joins the lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Protocol
from zlib import crc32

import msgspec
from attrs import field, frozen

from pypid.catalog.packed_line import PackedLine
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import Head, load_head
from pypid.core.records.table_keys import index_of, project_of
from pypid.core.summaries import MutableSummaries, Sieve, Summaries, only

SHARDS = 256


def shard_of(name: str) -> int:
    """Return the shard of the project's line; the same in every process and version."""
    return crc32(name.encode()) % SHARDS


@frozen(eq=False)
class PendingLine:
    """A line that is encoded later, as that takes long: any thread may encode it, since `value`
    does not change.
    """

    value: Any = field(repr=False)
    dump: Callable[[Any], bytes] = field(repr=False)
    mark: str | None = None

    def line(self) -> bytes:
        """Return the encoded line."""
        return self.dump(self.value)


class LinePart(msgspec.Struct, frozen=True, gc=False):
    """A line as a part of a file's contents: splitting half a gigabyte takes longer than reading
    it.

    All of `data` stays in memory as long as one line of it does.
    """

    data: bytes
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def line(self) -> bytes:
        """Return a copy of the line's bytes."""
        return self.data[self.start : self.stop]


DumpedLine = bytes | LinePart | PackedLine
Line = DumpedLine | PendingLine


def written(line: Line) -> bytes:
    """Return the line's bytes. This takes long for a `PendingLine`, and blocks for a `PackedLine`
    on disk.
    """
    return line if isinstance(line, bytes) else line.line()


def head_of(line: DumpedLine) -> Head:
    """Return the line's head; raises `Unreadable`."""
    if isinstance(line, PackedLine):
        return line.head
    return (
        load_head(line) if isinstance(line, bytes) else load_head(line.data, line.start, line.stop)
    )


@frozen
class Loaded:
    """All lines of a dump. `CatalogLines.fill` takes the containers over."""

    serial: int
    shards: tuple[dict[ProjectName, Line], ...] = field(repr=False)
    roll: MutableSummaries = field(repr=False)

    @property
    def heads(self) -> Mapping[ProjectName, Summary]:
        """The heads of all projects, by name."""
        return self.roll.heads


def no_shards() -> tuple[dict[ProjectName, Line], ...]:
    """Return empty shards, to be filled."""
    return tuple({} for _ in range(SHARDS))


@frozen
class LinesState:
    """The lines at one time: the catalog's serial, a version for each shard, and the lines of the
    requested shards.
    """

    serial: int
    versions: tuple[int, ...]
    lines: Mapping[int, tuple[Line, ...]] = field(repr=False)


class DumpedLines(Protocol):
    """The interface of what a dump writes, and fills at a start."""

    @property
    def state(self) -> Callable[[Sequence[int] | None], LinesState]:
        """Returns the current state, with the lines of the shards that have other versions than
        these (None: of all).
        """

    @property
    def adopt(self) -> Callable[[DumpedLine], Line]:
        """Returns the form in which the line of a dump is held; called in the thread that reads
        the dump.
        """

    @property
    def fill(self) -> Callable[[Loaded], None]:
        """Fills it with the contents of a dump. Raises `ValueError` if it is not empty."""

    @property
    def merge(self) -> Callable[[Loaded], None]:
        """Adds the contents of a dump, except for the projects that were looked up meanwhile, whose
        values are newer.
        """


class CatalogLines:
    """A line for each project, and its head in the order of the names."""

    def __init__(self) -> None:
        self._shards = no_shards()
        self._versions = [0] * SHARDS
        self._roll = MutableSummaries()
        self._kept = Sieve(lambda run: only(run, attrgetter("kept")))
        self._keeping = (Summaries(), Summaries())
        """All heads, and those of projects with cached files."""
        self._absent: set[ProjectName] | None = set()
        """Projects that were found absent before the dump was loaded; None once no dump may come
        any more.
        """

    def head(self, name: ProjectName) -> Summary | None:
        """Return the project's entry in the list, or None."""
        return self._roll.heads.get(name)

    def get(self, name: ProjectName) -> Line | None:
        """Return the project's line, or None."""
        return self._shards[shard_of(name)].get(name)

    def put(self, head: Summary, line: Line) -> None:
        """Hold the line in place of an older one."""
        self._roll.put(head)
        number = shard_of(head.name)
        self._shards[number][head.name] = line
        self._versions[number] += 1

    def settle(self, name: ProjectName, before: Line, line: Line) -> bool:
        """Hold the line in another form than `before`, unless another one was put meanwhile; return
        whether it is held. The project stays the same.
        """
        shard = self._shards[shard_of(name)]
        is_held = shard.get(name) is before
        if is_held:
            shard[name] = line
        return is_held

    def note_use(self, name: ProjectName) -> None:
        """Note that the project's line is read now."""

    def adopt(self, line: DumpedLine) -> Line:
        """Return the form in which the line of a dump is held; for any thread."""
        return line

    def release(self) -> None:
        """Stop counting the memory: the lines are replaced as a whole."""

    def take_out(self, name: ProjectName) -> None:
        """Remove the project's line, which must exist."""
        number = shard_of(name)
        del self._shards[number][name]
        self._versions[number] += 1
        self._roll.drop(name)
        self.found_absent(name)

    def summaries(self) -> Summaries:
        """Return all heads, by name; the same object until one changes."""
        return self._roll.summaries()

    def cached_summaries(self) -> Summaries:
        """Return the heads of projects with cached files, by name; the same object until one
        changes.
        """
        heads = self.summaries()
        if heads is not self._keeping[0]:
            self._keeping = (heads, self._kept.of(heads))
        return self._keeping[1]

    def state(self, serial: int, versions: Sequence[int] | None) -> LinesState:
        """Return the current state, with the lines of the shards that have other versions than
        `versions` (None: of all).

        Copies references only: a millisecond for a million files.
        """
        lines = {
            number: tuple(shard.values())
            for number, shard in enumerate(self._shards)
            if versions is None or self._versions[number] != versions[number]
        }
        return LinesState(serial, tuple(self._versions), lines)

    def fill(self, loaded: Loaded) -> None:
        """Fill it with the contents of a dump. Raises `ValueError` if it is not empty."""
        if len(self._roll):
            raise ValueError("lines that are held cannot be filled from a snapshot")
        self._shards = loaded.shards
        self._roll = loaded.roll

    def found_absent(self, name: ProjectName) -> None:
        """Note that there is no such project: a dump that is merged later and contains it is older
        than that.
        """
        if self._absent is not None:
            self._absent.add(name)

    def merge(self, loaded: Loaded) -> None:
        """Add the contents of a dump, except for the projects that are held or were found absent by
        now.

        The time it takes grows with the number of such projects only.
        """
        for name in self._absent or ():
            if name in loaded.heads:
                loaded.roll.drop(name)
                del loaded.shards[shard_of(name)][name]
        for name, head in self._roll.heads.items():
            loaded.roll.put(head)
            loaded.shards[shard_of(name)][name] = self._shards[shard_of(name)][name]
        self._shards, self._roll = loaded.shards, loaded.roll
        self._versions = [version + 1 for version in self._versions]
        self.settled()

    def settled(self) -> None:
        """Note that no dump will come any more."""
        self._absent = None


class NamedLines(CatalogLines):
    """The lines of the local projects of all named indexes. It counts which indexes have a project,
    since no name that is local in any index may be sent upstream.
    """

    def __init__(self) -> None:
        super().__init__()
        self._indexes: dict[ProjectName, frozenset[str]] = {}

    def indexes_with(self, name: ProjectName) -> frozenset[str]:
        """Return the named indexes that have a local project of this name."""
        return self._indexes.get(name, _NONE)

    def claim(self, name: ProjectName) -> Summary | None:
        """Return a head if any named index has a local project of this name; it differs from all
        heads of the default index, so that pages of other indexes are made again when that changes.
        """
        return Summary(name, -1) if name in self._indexes else None

    def put(self, head: Summary, line: Line) -> None:
        if self.head(head.name) is None:
            self._count(head.name)
        super().put(head, line)

    def take_out(self, name: ProjectName) -> None:
        super().take_out(name)
        project = project_of(name)
        left = self._indexes[project] - {index_of(name)}
        if left:
            self._indexes[project] = left
        else:
            del self._indexes[project]

    def fill(self, loaded: Loaded) -> None:
        super().fill(loaded)
        for key in loaded.heads:
            self._count(key)

    def merge(self, loaded: Loaded) -> None:
        super().merge(loaded)
        for key in loaded.heads:
            self._count(key)

    def _count(self, key: str) -> None:
        project = project_of(key)
        self._indexes[project] = self._indexes.get(project, _NONE) | {index_of(key)}


_NONE: frozenset[str] = frozenset()
