"""Lines of the catalog: JSON in shards, packed lines, those that were spilled to disk, and their
decoded values.

The storage of the catalog in memory: lines of JSON by project, in versioned shards.

A project is held as the bytes that a dump writes: a million files fit in memory, and writing a dump
only joins the lines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar
from weakref import finalize
from zlib import crc32

import msgspec
from attrs import evolve, field, frozen
from twisted.logger import Logger

from pypid.core.caches import BudgetedCache, MemoryBudget
from pypid.core.compression import content, fragment
from pypid.core.errors import Unreadable
from pypid.core.model import File, LocalProject, Status, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import FILES, Head, load_head
from pypid.core.records.layout import index_of, project_of
from pypid.core.records.upstream_entry import (
    compressed_blocks,
    text_of_blocks,
    without_listing,
)
from pypid.core.simple_api.listed_files import ListedFiles, weight_of
from pypid.core.summaries import MutableSummaries, Sieve, Summaries, only
from pypid.flow import Blocking, start
from pypid.flow.derived import Flights
from pypid.ports import TableKey

# Bytes that do not fit into memory, in files of a folder.
#
# The files have no names, so they go away with the process; nothing in them is needed after a
# start. New bytes are appended to the last file. A file whose bytes are mostly replaced is
# emptied, by moving the remaining ones, and closed.

K = TypeVar("K", bound=Hashable)

LONGEST_FILE = 64 << 20
"""Bytes after which a new file is begun."""


class SpillFile:
    """One file. It is closed when nothing refers to it any more: a dump may still read it when it
    has been emptied.
    """

    def __init__(self, folder: Path) -> None:
        # mode 0600, without a name
        file = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # `finalize` closes it
        self.descriptor = file.fileno()
        self.size = 0
        self._close = finalize(self, file.close)

    def append(self, data: bytes) -> SpilledBytes:
        """Write the bytes at the end. Raises `OSError`; then they are not in the file."""
        start, rest = self.size, memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, start)
            start, rest = start + written, rest[written:]
        spilled = SpilledBytes(self, self.size, len(data), crc32(data))
        self.size = start
        return spilled


class SpilledBytes(msgspec.Struct, frozen=True, gc=False, eq=False):
    """Where some bytes are: they can be read as long as this exists."""

    file: SpillFile
    start: int
    size: int
    crc: int

    def __len__(self) -> int:
        return self.size

    def read(self) -> bytes:
        """Return the bytes; blocks. Raises `Unreadable` if they are damaged."""
        try:
            data = os.pread(self.file.descriptor, self.size, self.start)
        except OSError as error:
            raise Unreadable("a spilled listing", error.strerror or str(error)) from None
        if len(data) != self.size or crc32(data) != self.crc:
            raise Unreadable("a spilled listing", "it is not what was written")
        return data


class Spill(Generic[K]):
    """Bytes by key in files of `folder`. `write` blocks, in any thread; all else is for the reactor
    thread.
    """

    def __init__(self, folder: Path, longest_file: int = LONGEST_FILE) -> None:
        self._folder = folder
        self._longest_file = longest_file
        self._lock = Lock()
        self._last: SpillFile | None = None
        self._files: dict[SpillFile, dict[K, SpilledBytes]] = {}
        self._held: dict[K, SpilledBytes] = {}
        self._used: dict[SpillFile, int] = {}

    @property
    def used(self) -> int:
        """The number of bytes that are held."""
        return sum(self._used.values())

    @property
    def size(self) -> int:
        """The number of bytes of all files that are in use."""
        return sum(file.size for file in self._files)

    def write(self, data: Iterable[bytes]) -> list[SpilledBytes]:
        """Append each of these; `hold` the result. Raises `OSError`."""
        with self._lock:
            return [self._write(each) for each in data]

    def _write(self, data: bytes) -> SpilledBytes:
        if self._last is None or self._last.size >= self._longest_file:
            self._last = SpillFile(self._folder)
        return self._last.append(data)

    def hold(self, key: K, spilled: SpilledBytes) -> None:
        """Hold these bytes under the key, in place of others."""
        self.drop(key)
        self._held[key] = spilled
        self._files.setdefault(spilled.file, {})[key] = spilled
        self._used[spilled.file] = self._used.get(spilled.file, 0) + spilled.size

    def drop(self, key: K) -> None:
        """Hold nothing under the key any more."""
        spilled = self._held.pop(key, None)
        if spilled is None:
            return
        del self._files[spilled.file][key]
        self._used[spilled.file] -= spilled.size
        if not self._files[spilled.file]:
            del self._files[spilled.file], self._used[spilled.file]

    def misplaced(self) -> Mapping[K, SpilledBytes]:
        """Return the bytes of a full file of which less than half is held: to be written once more,
        so that its space becomes free. Empty if there is no such file.
        """
        for file, held in self._files.items():
            if file.size >= self._longest_file and 2 * self._used[file] < file.size:
                return dict(held)
        return {}


# The line of an upstream project whose listed files are compressed, in memory or on disk.

_log = Logger()

SHORTEST = 1024
"""Bytes of the shortest line that is packed."""
PACKED_MARK = b',"packed":'
_BLOCKS = b"\x07"
"""The first byte of a part that consists of blocks that are compressed already. No deflate data
begins with it.
"""
_blocks = msgspec.msgpack.Decoder(list[bytes])
LOST = b""
"""The part of a line whose listed files could not be written to the disk."""


class PackedLine(msgspec.Struct, gc=False, eq=False):
    """`beginning` is all of the line before its listed files, without the last brace; `part` is the
    rest, compressed (None: there are no listed files); `size` is the length of the whole line.
    Files that the line has as compressed blocks are not compressed again.
    """

    beginning: bytes
    size: int
    part: bytes | SpilledBytes | None

    def __len__(self) -> int:
        return self.size

    @property
    def short(self) -> bytes:
        """The line without its listed files: as JSON, complete."""
        return self.beginning + b"}"

    @property
    def head(self) -> Head:
        """The line's head."""
        return load_head(self.short)

    @property
    def is_spilled(self) -> bool:
        """Whether the listed files are on disk."""
        return isinstance(self.part, SpilledBytes)

    def line(self) -> bytes:
        """Return the line; blocks if a part of it is on disk. If that is damaged or lost, it is the
        line of an entry without a listing: then upstream is asked again.
        """
        part = self.part
        if part is None:
            return self.short
        try:
            packed = part if isinstance(part, bytes) else part.read()
            line = self.beginning + _unpacked(packed, self.size)
            if len(line) == self.size:
                return line
            error: Exception = Unreadable("a spilled listing", "it is incomplete")
        except (Unreadable, ValueError) as damage:
            error = damage
        if part != LOST:
            _log.warn(
                "An upstream listing could not be read back from the state folder. It is "
                "requested again: {error}",
                error=error,
            )
        return without_listing(self.beginning)

    def dumped(self) -> bytes:
        """Return the line for a dump, with its listed files compressed; blocks as `line`."""
        part = self.part
        if part is None:
            return self.short
        try:
            packed = part if isinstance(part, bytes) else part.read()
        except Unreadable:
            packed = LOST
        if packed == LOST:
            return without_listing(self.beginning)
        sizes = b"[%d,%d]}\n" % (len(packed), self.size)
        return b"".join((self.beginning, PACKED_MARK, sizes, packed))

    def move(self, part: bytes | SpilledBytes) -> None:
        """Hold the same part elsewhere, or lose it."""
        self.part = part

    def with_beginning(self, beginning: bytes) -> PackedLine:
        """Return the line of an entry with the same listed files."""
        return PackedLine(beginning, self.size - len(self.beginning) + len(beginning), self.part)


def pack(line: bytes) -> PackedLine:
    """Return the line with its listed files compressed."""
    end = line.find(FILES)
    if end < 0:
        return PackedLine(line[:-1], len(line), None)
    return PackedLine(line[:end], len(line), _packed(line[end:]))


def _packed(rest: bytes) -> bytes:
    blocks = compressed_blocks(rest)
    return fragment(rest) if blocks is None else _BLOCKS + msgspec.msgpack.encode(blocks)


def _unpacked(part: bytes, limit: int) -> bytes:
    """Return what `_packed` was given. Raises `ValueError`."""
    if not part.startswith(_BLOCKS):
        return content(part, limit)
    return text_of_blocks(_blocks.decode(memoryview(part)[len(_BLOCKS) :]))


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


# What the catalog derives from the state of a project: its head, what clients see of it, and its
# weight in memory.

HISTORY_WEIGHT = 500
"""Bytes that the history of a file takes in memory."""


def listed_files(entry: UpstreamEntry) -> Sequence[File] | None:
    """Return the files in the upstream listing; None if there is no listing, or no such project
    upstream.
    """
    return None if entry.listing is None else entry.listing.files


def count_for_writing(entry: UpstreamEntry) -> int:
    """Return how many files take as long to write as those of the entry: packed ones are copied."""
    listed = listed_files(entry) or ()
    return len(listed) // (16 if isinstance(listed, ListedFiles) else 1) + len(entry.kept)


def local_summary(key: TableKey, project: LocalProject) -> Summary:
    """Return what a project list says of a local project."""
    return Summary(key, project.serial, project.status)


def upstream_summary(key: TableKey, entry: UpstreamEntry) -> Summary:
    """Return what a project list says of an upstream project."""
    listing = entry.listing
    status = Status.ACTIVE if listing is None else listing.status
    gone = listing is not None and listing.files is None
    return Summary(key, entry.serial, status, kept=bool(entry.kept), gone=gone)


def same(old: LocalProject | None, new: LocalProject | None) -> bool:
    """Return whether both are equal, apart from the serial, which the catalog sets."""
    if old is None or new is None:
        return old is new
    return evolve(new, serial=old.serial) == old


def changed(
    key: TableKey,
    project: LocalProject | None,
    change: Callable[[LocalProject | None], LocalProject | None],
) -> LocalProject | None:
    """Return the result of the edit of a local project. Raises `ValueError` for another project."""
    new = change(project)
    if new is not None and new.name != project_of(key):
        raise ValueError(f"an edit of {key} returned the project {new.name}")
    return new


def visible_state(entry: UpstreamEntry) -> object:
    """Return the visible part of the entry: without the time of the request and the validators."""
    listing = entry.listing
    return (
        entry.kept,
        listing and (listing.files, listing.status, listing.status_reason),
        entry.history,
        entry.since,
    )


def local_weight(project: LocalProject) -> int:
    """Return how many bytes a local project takes in memory."""
    return weight_of(project.files) + HISTORY_WEIGHT * len(project.history)


def upstream_weight(entry: UpstreamEntry) -> int:
    """Return how many bytes an upstream entry takes in memory."""
    listed, history = listed_files(entry) or (), entry.history
    return weight_of(listed) + weight_of(entry.kept) + HISTORY_WEIGHT * len(history)


# The values of the catalog's lines, decoded when they are read; as many stay decoded as the memory
# budget allows.

V = TypeVar("V")

DECODED = 96 << 20
"""Bytes of local projects that stay decoded: those whose pages are rendered again and again while
they are published to, and of which an installer requests files in turn.
"""
FEW = 256
"""Number of files up to which a line is encoded or decoded in the reactor thread: in some 2
milliseconds.
"""
SHORT = 1 << 17
"""Bytes of a line with about so many files."""


def takes_long(line: DumpedLine) -> bool:
    """Return whether the line is read in a thread."""
    return len(line) > SHORT or (isinstance(line, PackedLine) and line.is_spilled)


class LineTable(Generic[V]):
    """The `lines`, decoded by `load`. `files` counts the files of a value; `thinking` is for values
    with many (`World.thinking`). Values, of `weigh` bytes, stay decoded as far as the `budget`
    allows.
    """

    def __init__(
        self,
        load: Callable[[bytes], V],
        files: Callable[[V], int],
        weigh: Callable[[V], int],
        thinking: Blocking,
        budget: MemoryBudget,
        lines: CatalogLines | None = None,
    ) -> None:
        self.lines = CatalogLines() if lines is None else lines
        self._weigh = weigh
        self._load = load
        self._files = files
        self._thinking = thinking
        self._decoded: BudgetedCache[ProjectName, V] = BudgetedCache(budget)
        self._flights: Flights[ProjectName, None] = Flights()
        self._unwritten: dict[ProjectName, None] = {}
        self._writing = False

    def get(self, name: ProjectName) -> V | None:
        """Return the project now, however long reading takes; None if there is no line."""
        held = self.decoded(name)
        if held is not None:
            return held
        line = self.lines.get(name)
        if line is None:
            return None
        self.lines.note_use(name)
        value: V = line.value if isinstance(line, PendingLine) else self._load(written(line))
        self._keep(name, value)
        return value

    def decoded(self, name: ProjectName) -> V | None:
        """Return the project if it is decoded, else None."""
        return self._decoded.get(name)

    async def at_hand(self, name: ProjectName) -> V | None:
        """Return the project; a long line is decoded off the reactor thread. It stays decoded until
        other callers have had their turn.
        """
        while self._takes_long(name):
            await self._flights.single(name, lambda: self._read(name))
        return self.get(name)

    def _takes_long(self, name: ProjectName) -> bool:
        line = self.lines.get(name)
        if line is None or isinstance(line, PendingLine) or name in self._decoded:
            return False
        return takes_long(line)

    async def _read(self, name: ProjectName) -> None:
        line = self.lines.get(name)
        if line is not None and not isinstance(line, PendingLine):
            self.lines.note_use(name)
            value = await self._thinking(lambda: self._load(written(line)))
            if self.lines.get(name) is line:
                self._keep(name, value)

    async def decode(self, line: bytes) -> V:
        """Return the project of a line that is not held; a long one is decoded off the reactor
        thread. Raises as `load`.
        """
        return await self._thinking(self._load, line) if takes_long(line) else self._load(line)

    def put(
        self, head: Summary, value: V, line: Line | Callable[[V], bytes], mark: str | None = None
    ) -> None:
        """Hold the value in place of an older one. `line` is its encoded line, or the function that
        encodes it.

        With few files it is encoded at once, and else by `write_down`; readers and dumps need not
        wait for it.
        """
        if not isinstance(line, bytes | LinePart | PackedLine | PendingLine):
            line = line(value) if self._files(value) <= FEW else PendingLine(value, line, mark)
        self.lines.put(head, line)
        self._keep(head.name, value)

    def put_line(self, head: Summary, line: Line) -> None:
        """Hold the line in place of an older one; it is decoded when it is read."""
        self.lines.put(head, line)
        self._decoded.forget(head.name)

    def write_down(self, name: ProjectName) -> None:
        """Encode the line in the background, so that the value need not be held. One is encoded at
        a time, since other computations have callers who wait.
        """
        self._unwritten[name] = None
        if not self._writing:
            self._writing = True
            start(self._write_down())

    async def _write_down(self) -> None:
        try:
            while self._unwritten:
                name, _ = self._unwritten.popitem()
                later = self.lines.get(name)
                if isinstance(later, PendingLine):
                    await self._write(name, later)
        except Exception:
            _log.failure("a change of the catalog was not written; the next dump contains it")
        finally:
            self._writing = False

    async def _write(self, name: ProjectName, later: PendingLine) -> None:
        self.lines.settle(name, later, await self._thinking(later.line))

    def take_out(self, name: ProjectName) -> None:
        """Remove the project, if there is one."""
        if self.lines.get(name) is not None:
            self.lines.take_out(name)
        self._decoded.forget(name)

    def _keep(self, name: ProjectName, value: V) -> None:
        self._decoded.put(name, value, self._weigh(value))

    def release(self) -> None:
        """Stop counting: the table is replaced as a whole."""
        self._decoded.leave()
        self.lines.release()
