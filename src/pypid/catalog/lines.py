"""Lines of JSON by project, in shards that know when they changed: what the catalog in memory is
made of.

A project is held as the bytes that a snapshot writes, and decoded when somebody asks: a million
files fit in memory, and a snapshot is a join of what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from zlib import crc32

import msgspec
from attrs import field, frozen

from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import Head, load_head
from pypid.core.summaries import MutableSummaries, Summaries

SHARDS = 256


def shard_of(name: str) -> int:
    """The shard that the project's line lies in; the same in every process and version."""
    return crc32(name.encode()) % SHARDS


@frozen(eq=False)
class Later:
    """A line that nobody has written yet, as that takes long: any thread may, since `value` does
    not change.
    """

    value: Any = field(repr=False)
    dump: Callable[[Any], bytes] = field(repr=False)
    mark: str | None = None

    def line(self) -> bytes:
        """The line; the same, whoever asks."""
        return self.dump(self.value)


class LinePart(msgspec.Struct, frozen=True, gc=False):
    """A line where it lies in what was read of a file: to cut half a gigabyte up takes longer than
    to read it.

    All of `data` stays in memory as long as one line of it does.
    """

    data: bytes
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def line(self) -> bytes:
        """The line."""
        return self.data[self.start : self.stop]


Line = bytes | LinePart | Later


def written(line: Line) -> bytes:
    """The line itself. For one that nobody has written yet this takes long."""
    return line if isinstance(line, bytes) else line.line()


def head_of(line: bytes | LinePart) -> Head:
    """The line's head; raises `Unreadable`."""
    return (
        load_head(line) if isinstance(line, bytes) else load_head(line.data, line.start, line.stop)
    )


@frozen
class Loaded:
    """All lines, as a snapshot brings them. `CatalogLines.fill` takes the containers over."""

    serial: int
    shards: tuple[dict[ProjectName, Line], ...] = field(repr=False)
    roll: MutableSummaries = field(repr=False)

    @property
    def heads(self) -> Mapping[ProjectName, Summary]:
        """The heads of all, by name."""
        return self.roll.heads


def no_shards() -> tuple[dict[ProjectName, Line], ...]:
    """No lines, to be put together."""
    return tuple({} for _ in range(SHARDS))


@frozen
class LinesState:
    """The lines at one moment: the catalog's serial, a version for each shard, and the lines of the
    shards that were asked for.
    """

    serial: int
    versions: tuple[int, ...]
    lines: Mapping[int, tuple[Line, ...]] = field(repr=False)


class Shelved(Protocol):
    """What a snapshot writes, and fills at a start."""

    @property
    def moment(self) -> Callable[[Sequence[int] | None], LinesState]:
        """What is held now, with the lines of the shards that are not at these versions any more
        (None: of all).
        """

    @property
    def fill(self) -> Callable[[Loaded], None]:
        """Begin with what a snapshot held. Raises `ValueError` where something is held already."""

    @property
    def merge(self) -> Callable[[Loaded], None]:
        """Take in what a snapshot held of all that nobody has looked up meanwhile,
        which is newer.
        """


class CatalogLines:
    """A line for each project, and its head in the order of the names."""

    def __init__(self) -> None:
        self._shards = no_shards()
        self._versions = [0] * SHARDS
        self._roll = MutableSummaries()
        self._absent: set[ProjectName] | None = set()
        """What was found not to be there before a snapshot came; None once one may not come any
        more.
        """

    def head(self, name: ProjectName) -> Summary | None:
        """What stands in the list for the project, or None."""
        return self._roll.heads.get(name)

    def get(self, name: ProjectName) -> Line | None:
        """The project's line, or None."""
        return self._shards[shard_of(name)].get(name)

    def put(self, head: Summary, line: Line) -> None:
        """Hold the line in place of an older one."""
        self._roll.put(head)
        number = shard_of(head.name)
        self._shards[number][head.name] = line
        self._versions[number] += 1

    def settle(self, name: ProjectName, later: Later, line: bytes) -> None:
        """The line has been written: hold it, if nothing else came meanwhile. Nothing changes by
        that.
        """
        shard = self._shards[shard_of(name)]
        if shard.get(name) is later:
            shard[name] = line

    def take_out(self, name: ProjectName) -> None:
        """Hold no line for the project, which had one."""
        number = shard_of(name)
        del self._shards[number][name]
        self._versions[number] += 1
        self._roll.drop(name)
        self.found_absent(name)

    def summaries(self) -> Summaries:
        """All heads, by name; the same object until one changes."""
        return self._roll.summaries()

    def moment(self, serial: int, versions: Sequence[int] | None) -> LinesState:
        """What is held now, with the lines of the shards that are not at `versions` any more (None:
        of all).

        Copies references only: a millisecond for a million files.
        """
        lines = {
            number: tuple(shard.values())
            for number, shard in enumerate(self._shards)
            if versions is None or self._versions[number] != versions[number]
        }
        return LinesState(serial, tuple(self._versions), lines)

    def fill(self, loaded: Loaded) -> None:
        """Begin with what a snapshot held. Raises `ValueError` where something is held already."""
        if len(self._roll):
            raise ValueError("lines that are held cannot be filled from a snapshot")
        self._shards = loaded.shards
        self._roll = loaded.roll

    def found_absent(self, name: ProjectName) -> None:
        """There is no such project: a snapshot that comes later, and says that there was, is older
        than that.
        """
        if self._absent is not None:
            self._absent.add(name)

    def merge(self, loaded: Loaded) -> None:
        """Take in what a snapshot held, except for the projects that are held, or were found
        absent, by now.

        Takes no longer than there are such projects.
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
        """No snapshot will come any more."""
        self._absent = None
