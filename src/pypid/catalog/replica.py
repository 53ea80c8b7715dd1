"""A node's copy of the engine's rows: lines, as in the catalog in memory, with the versions of
their rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

from attrs import define, field, frozen
from twisted.logger import Logger

from pypid.catalog.engine import CatalogRow, Position, RowKind
from pypid.catalog.forgettable import MOST_SHARED, Forgettable
from pypid.catalog.lines import (
    CatalogLines,
    Line,
    Loaded,
    NamedLines,
    PendingLine,
    no_shards,
    shard_of,
    written,
)
from pypid.catalog.packed_lines import ListingMemory, PackedLines
from pypid.catalog.states import count_for_writing, local_weight, upstream_weight
from pypid.catalog.table import DECODED, LineTable, takes_long
from pypid.core.errors import Unreadable
from pypid.core.memory_budget import MemoryBudget
from pypid.core.model import LocalProject, Status, Summary, UpstreamEntry
from pypid.core.packaging.names import ProjectName
from pypid.core.records.documents import load_head, load_project
from pypid.core.records.upstream_entry import load_upstream_entry
from pypid.core.summaries import MutableSummaries
from pypid.flow import Blocking
from pypid.ports import TableKey

_log = Logger()
V = TypeVar("V")


LOCAL_KINDS = frozenset((RowKind.LOCAL, RowKind.NAMED_LOCAL))


@frozen
class ReplicaEntry(Generic[V]):
    """A project as it was read, and the version of its row; 0: there is no row. A version without a
    `value` means a damaged row.
    """

    value: V | None
    version: int = 0
    line: bytes | None = field(default=None, repr=False)


class ReplicaTable(Generic[V]):
    """The rows of one kind, in the `table`."""

    def __init__(self, table: LineTable[V], thinking: Blocking) -> None:
        self.table = table
        table.lines.settled()
        self._thinking = thinking
        self._versions: dict[ProjectName, int] = {}
        """Versions of all rows, including those that are damaged and have no line here."""

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self._versions)

    def version(self, name: ProjectName) -> int:
        """Return the version of the row, which may be damaged; 0: there is no row."""
        return self._versions.get(name, 0)

    def size(self, name: ProjectName) -> int:
        """Return the length of the project's line; 0 if there is none that can be read."""
        line = self.table.lines.get(name)
        return 0 if line is None or isinstance(line, PendingLine) else len(line)

    def knows(self, row: CatalogRow) -> bool:
        """Return whether the copy has this version of the row, or a later one."""
        return row.version <= self.version(row.name)

    def take(self, row: CatalogRow, value: V | None = None) -> None:
        """Hold the row, which is later than the held one. `value` is its decoded line, if known."""
        read = None if row.line is None else _read(row)
        if row.line is None:
            self._versions.pop(row.name, None)
        else:
            self._versions[row.name] = row.version
        if read is None:
            self.table.take_out(row.name)
        elif value is None:
            self.table.put_line(*read)
        else:
            head, line = read
            self.table.put(head, value, line)

    async def fill(self, rows: dict[ProjectName, CatalogRow], serial: int) -> None:
        """Add these rows to the empty half."""
        shards, heads = no_shards(), {}
        for name, row in rows.items():
            self._versions[name] = row.version
            read = _read(row)
            if read is not None:
                heads[name], shards[shard_of(name)][name] = read
        self.table.lines.fill(Loaded(serial, shards, await self._thinking(MutableSummaries, heads)))

    async def value(self, name: ProjectName) -> V | None:
        """Return the project; None if there is none that can be read."""
        try:
            return await self.table.at_hand(name)
        except Unreadable as error:
            _say_damaged(name, error)
            return None

    async def held(self, name: ProjectName) -> ReplicaEntry[V]:
        """Return the project with its row's version and line, as an edit needs them: all of one
        time.
        """
        while True:
            line = self.table.lines.get(name)
            text = None if line is None else await self._text(line)
            await self.value(name)
            if self.table.lines.get(name) is line:
                break
        try:
            value = self.table.get(name)
        except Unreadable:
            value = None
        return ReplicaEntry(value, self.version(name), text)

    async def _text(self, line: Line) -> bytes:
        if isinstance(line, PendingLine) or takes_long(line):
            return await self._thinking(written, line)
        return written(line)

    async def read(self, row: CatalogRow | None) -> ReplicaEntry[V]:
        """Return the entry for a row that is not held here."""
        if row is None or row.line is None:
            return ReplicaEntry(None)
        try:
            line = row.numbered()
            value = await self.table.decode(line)
        except (Unreadable, ValueError) as error:
            _say_damaged(row.name, error)
            return ReplicaEntry(None, row.version)
        return ReplicaEntry(value, row.version, line)


def _read(row: CatalogRow) -> tuple[Summary, Line] | None:
    """Return the head and the line of a row that was not removed; None if it is damaged: then
    nothing is known of it.
    """
    try:
        line = row.numbered()
        head = load_head(line)
        return Summary(row.name, head.serial, Status(head.status), head.keeps, head.gone), line
    except (Unreadable, ValueError) as error:
        _say_damaged(row.name, error)
        return None


def _say_damaged(name: ProjectName, error: Exception) -> None:
    _log.error(
        "The entry of {name} in the shared catalog cannot be read: {error}", name=name, error=error
    )


@define(eq=False)
class Replica:
    """The engine's rows of one generation, up to `version`, with this node's own later changes."""

    generation: str
    thinking: Blocking
    forgettable: Forgettable = field(factory=lambda: Forgettable(MOST_SHARED))
    memory: ListingMemory = field(factory=ListingMemory, repr=False)
    version: int = 0
    """Everything up to this version is held."""
    serial: int = 0
    """All changes up to this serial are held."""
    complete: bool = False
    changes: int = 0
    """Grows with each visible change."""
    local: ReplicaTable[LocalProject] = field(init=False)
    upstream: ReplicaTable[UpstreamEntry] = field(init=False)
    named_local: ReplicaTable[LocalProject] = field(init=False)
    named_upstream: ReplicaTable[UpstreamEntry] = field(init=False)
    named: NamedLines = field(factory=NamedLines, init=False)
    """The lines of `named_local`."""

    def __attrs_post_init__(self) -> None:
        decoded = MemoryBudget(DECODED)
        self.local = self._local_table(CatalogLines(), decoded)
        self.upstream = self._upstream_table()
        self.named_local = self._local_table(self.named, decoded)
        self.named_upstream = self._upstream_table()

    def _local_table(
        self, lines: CatalogLines, decoded: MemoryBudget
    ) -> ReplicaTable[LocalProject]:
        table = LineTable(
            load_project,
            lambda project: len(project.files),
            local_weight,
            self.thinking,
            decoded,
            lines,
        )
        return ReplicaTable(table, self.thinking)

    def _upstream_table(self) -> ReplicaTable[UpstreamEntry]:
        table = LineTable(
            load_upstream_entry,
            count_for_writing,
            upstream_weight,
            self.thinking,
            self.memory.budget,
            PackedLines(self.memory, self.thinking),
        )
        return ReplicaTable(table, self.thinking)

    def local_table(self, kind: RowKind) -> ReplicaTable[LocalProject]:
        """Return the table of local projects with rows of this kind."""
        return self.local if kind is RowKind.LOCAL else self.named_local

    def upstream_table(self, kind: RowKind) -> ReplicaTable[UpstreamEntry]:
        """Return the table of upstream projects with rows of this kind."""
        return self.upstream if kind is RowKind.UPSTREAM else self.named_upstream

    def rows(self, kind: RowKind) -> int:
        """Return the number of rows of this kind."""
        return self._table(kind).rows

    def _table(self, kind: RowKind) -> ReplicaTable[LocalProject] | ReplicaTable[UpstreamEntry]:
        return self.local_table(kind) if kind in LOCAL_KINDS else self.upstream_table(kind)

    @property
    def position(self) -> Position:
        """How far it has read."""
        return Position(self.generation, self.version)

    def take(self, row: CatalogRow, value: LocalProject | UpstreamEntry | None = None) -> None:
        """Hold the row, unless it is held. `value` is its decoded line, if known."""
        half = self._table(row.kind)
        if row.version <= self.version or half.knows(row):
            return
        half.take(row, value)  # type: ignore[arg-type]  # the value is of the row's kind
        self.changes += 1
        if row.kind not in LOCAL_KINDS:
            self._note(row)

    def take_own(self, row: CatalogRow, value: LocalProject | UpstreamEntry | None) -> bool:
        """Hold a row that this node wrote; return whether everything up to it is held then."""
        following = row.version == self.version + 1
        if following:
            self.take(row, value)
            self.reach(row.version, row.serial)
        return row.version <= self.version

    def reach(self, version: int, serial: int = 0) -> None:
        """Note that everything up to this version is held."""
        self.version = max(self.version, version)
        if serial > self.serial:
            self.serial = serial
            self.changes += 1

    def supersede(self, older: Replica) -> None:
        """Take the place of the older copy. Counts more changes than it: what was cached by its
        number is read again.
        """
        older.upstream.table.release()
        older.named_upstream.table.release()
        self.changes += older.changes + 1

    def now_complete(self) -> None:
        """Note that the whole storage has been reconciled."""
        if not self.complete:
            self.complete = True
            self.changes += 1

    async def fill(self, rows: Iterable[CatalogRow], version: int, serial: int) -> None:
        """Fill the copy with these rows: of each name the last counts."""
        by_kind: dict[RowKind, dict[TableKey, CatalogRow]] = {kind: {} for kind in RowKind}
        for row in rows:
            if row.line is None:
                by_kind[row.kind].pop(row.name, None)
            else:
                by_kind[row.kind][row.name] = row
        for kind, found in by_kind.items():
            await self._table(kind).fill(found, serial)
            for row in found.values() if kind not in LOCAL_KINDS else ():
                self._note(row)
        self.reach(version, serial)

    def _note(self, row: CatalogRow) -> None:
        head = self.upstream_table(row.kind).table.lines.head(row.name)
        if head is None or head.kept:
            self.forgettable.drop(row.name)
        else:  # a key in `named_upstream` is no key in `upstream`
            self.forgettable.note(row.name, len(row.line or b""))
