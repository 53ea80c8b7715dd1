"""The lines of upstream projects, in bounded memory: compressed, and on disk as far as the memory
does not suffice.

Compressing and writing is done in the background, in threads. All except the listed files (heads,
cached files, history) stays in memory. If the disk is full, listings are lost instead, and
requested from upstream again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import field, frozen
from twisted.logger import Logger

from pypid.catalog.forgettable import MOST, MOST_GONE, OVERHEAD, Forgettable
from pypid.catalog.lines import CatalogLines, DumpedLine, Line, LinePart, Loaded, written
from pypid.catalog.packed_line import LOST, SHORTEST, PackedLine, pack
from pypid.catalog.spill import Spill, SpilledBytes
from pypid.core.errors import Unreadable
from pypid.core.memory_budget import MemoryBudget
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.flow import Blocking, at_once, start

_log = Logger()

BATCH = 4 << 20
"""Bytes that are compressed or written in one call."""
COUNTED = 200
"""Projects of a dump that are counted in one turn of the reactor: a millisecond."""


@frozen
class ListingMemory:
    """Where upstream lines may be: in memory within the `budget`, and in files of `folder` (None:
    nowhere else), which `blocking` writes.
    """

    budget: MemoryBudget = field(factory=MemoryBudget)
    folder: Path | None = None
    blocking: Blocking = at_once


class PackedLines(CatalogLines):
    """The lines, at most `most` bytes. `forget` is called for each project without cached files
    that is one too many; without it, only the listed files are lost. At most the `share`-th part of
    half of the memory is for lines that cannot be forgotten, and for a dump.
    """

    def __init__(
        self,
        memory: ListingMemory,
        thinking: Blocking = at_once,
        forget: Callable[[ProjectName], None] | None = None,
        most: int = MOST,
        share: int = 1,
    ) -> None:
        super().__init__()
        in_memory = memory.budget.most // 2 // share
        self._blocking, self._thinking = memory.blocking, thinking
        self._forget = forget
        self._share = memory.budget.share(self._evicted)
        self._spill: Spill[ProjectName] | None = (
            None if memory.folder is None else Spill(memory.folder)
        )
        self._forgettable = Forgettable(most, in_memory)
        self._gone = Forgettable(min(most, in_memory, MOST_GONE // share))
        """Names that upstream does not have: clients can make up any number of them."""
        self._others = Forgettable(most)
        """Projects that may not be forgotten, but may lose their listed files."""
        self._unpacked: dict[ProjectName, None] = {}
        self._leaving: dict[ProjectName, None] = {}
        """Projects whose listed files are written to the disk next."""
        self._uncounted: dict[ProjectName, None] = {}
        """Projects of a dump that are not counted yet."""
        self._room = in_memory
        """Bytes of a dump that may still be loaded into memory."""
        self._is_working = False
        self._is_disk_full = False
        self.read_back = 0
        """How often listed files were read from the disk."""

    @property
    def spilled(self) -> int:
        """The number of bytes on disk."""
        return 0 if self._spill is None else self._spill.used

    def put(self, head: Summary, line: Line) -> None:
        self._uncount(head.name)
        super().put(head, line)
        self._count(head.name, line)

    def settle(self, name: ProjectName, before: Line, line: Line) -> bool:
        if self.get(name) is before:
            self._uncount(name)
            super().settle(name, before, line)
            self._count(name, line)
        return self.get(name) is line

    def take_out(self, name: ProjectName) -> None:
        self._uncount(name)
        self._drop(name)
        super().take_out(name)

    def note_use(self, name: ProjectName) -> None:
        self._share.touch(name)
        line = self.get(name)
        self.read_back += isinstance(line, PackedLine) and line.is_spilled

    def adopt(self, line: DumpedLine) -> Line:
        """Return the form in which the line of a dump is held; for the thread that reads the dump.
        What does not fit into half of the memory is written to the disk.
        """
        if not isinstance(line, PackedLine):
            text = line if isinstance(line, bytes) else line.line()
            if len(text) < SHORTEST:
                return text
            line = pack(text)
        if self._spill is not None and isinstance(line.part, bytes):
            self._room -= len(line.part)
            if self._room < 0:
                line.move(self._written([line.part])[0])
        return line

    def fill(self, loaded: Loaded) -> None:
        super().fill(loaded)
        self._count_soon(loaded.heads)

    def merge(self, loaded: Loaded) -> None:
        counted = {head.name for head in self.summaries()}
        super().merge(loaded)
        self._count_soon(name for name in loaded.heads if name not in counted)

    def release(self) -> None:
        """Stop counting: the lines are replaced as a whole."""
        self._share.leave()

    # --- counting ---

    def _count(self, name: ProjectName, line: Line) -> None:
        in_memory, on_disk, permanent = _sizes(line)
        self._share.count_permanent(OVERHEAD + permanent)
        if in_memory:
            self._share.put(name, in_memory)
        spilled = line.part if isinstance(line, PackedLine) else None
        if self._spill is not None and isinstance(spilled, SpilledBytes):
            self._spill.hold(name, spilled)
        self._note(name, in_memory + on_disk, permanent)
        if in_memory and not isinstance(line, PackedLine):
            self._unpacked[name] = None
            self._work_soon()

    def _note(self, name: ProjectName, size: int, permanent: int) -> None:
        head = self.head(name)
        self._drop(name)
        if self._forget is None or head is None or head.kept:
            self._others.note(name, size)
            for other in self._others.pop_excess():
                self._lose(other)
        else:
            forgettable = self._gone if head.gone else self._forgettable
            forgettable.note(name, size + permanent, permanent)
            for other in forgettable.pop_excess():
                self._forget(other)

    def _drop(self, name: ProjectName) -> None:
        for each in (self._forgettable, self._gone, self._others):
            each.drop(name)

    def _uncount(self, name: ProjectName) -> None:
        line = self.get(name)
        if line is None:
            return
        if name in self._uncounted:
            del self._uncounted[name]
            return
        self._share.count_permanent(-OVERHEAD - _sizes(line)[2])
        self._share.drop(name)
        self._unpacked.pop(name, None)
        self._leaving.pop(name, None)
        if self._spill is not None:
            self._spill.drop(name)

    def _lose(self, name: ProjectName) -> None:
        """Lose the listed files of a project."""
        self._share.drop(name)
        self._leaving.pop(name, None)
        if self._spill is not None:
            self._spill.drop(name)
        line = self.get(name)
        if isinstance(line, PackedLine) and line.part is not None:
            line.move(LOST)

    def _count_soon(self, names: Iterable[ProjectName]) -> None:
        self._uncounted |= dict.fromkeys(names)
        self._work_soon()

    def _evicted(self, name: ProjectName) -> None:
        if isinstance(self.get(name), PackedLine):  # else it will be packed, and counted again
            self._leaving[name] = None
            self._work_soon()

    # --- in the background ---

    def _work_soon(self) -> None:
        if not self._is_working:
            self._is_working = True
            start(self._work())

    async def _work(self) -> None:
        try:
            while self._uncounted or self._unpacked or self._leaving:
                if self._uncounted:
                    await self._blocking(lambda: None)  # others have their turn
                    self._count_some()
                await self._pack_some()
                await self._spill_some()
                await self._tidy_spill()
        except Exception:
            _log.failure("Upstream listings could not be moved to the disk")
        finally:
            self._is_working = False

    def _count_some(self) -> None:
        for name in list(self._uncounted)[:COUNTED]:
            if name in self._uncounted:  # it may be forgotten since others were counted
                del self._uncounted[name]
                line = self.get(name)
                assert line is not None
                self._count(name, line)

    async def _pack_some(self) -> None:
        some: dict[ProjectName, bytes | LinePart] = {}
        size = 0
        while self._unpacked and size < BATCH:
            name = next(iter(self._unpacked))  # the oldest, as each is noted as used when packed
            del self._unpacked[name]
            line = self.get(name)
            if isinstance(line, bytes | LinePart):
                some[name] = line
                size += len(line)
        packed = await self._thinking(lambda: [pack(written(line)) for line in some.values()])
        for (name, line), short in zip(some.items(), packed, strict=True):
            self.settle(name, line, short)

    async def _spill_some(self) -> None:
        some: dict[ProjectName, bytes] = {}
        size = 0
        while self._leaving and size < BATCH:
            name = next(iter(self._leaving))
            del self._leaving[name]
            line = self.get(name)
            if isinstance(line, PackedLine) and isinstance(line.part, bytes):
                some[name] = line.part
                size += len(line.part)
        if some:
            moved = await self._blocking(self._written, list(some.values()))
            for (name, before), part in zip(some.items(), moved, strict=True):
                self._moved(name, before, part)

    async def _tidy_spill(self) -> None:
        """Write the last bytes of files that are nearly empty once more, to close them."""
        while self._spill is not None and (misplaced := self._spill.misplaced()):
            moved = await self._blocking(self._rewritten, list(misplaced.values()))
            if not moved:
                return  # the disk is full
            for (name, before), part in zip(misplaced.items(), moved, strict=False):
                self._moved(name, before, part)

    def _moved(
        self, name: ProjectName, before: bytes | SpilledBytes, part: bytes | SpilledBytes
    ) -> None:
        line = self.get(name)
        if not isinstance(line, PackedLine) or line.part is not before:
            return  # it has changed meanwhile
        if self._spill is None or not isinstance(part, SpilledBytes):
            self._lose(name)
            return
        self._share.drop(name)
        line.move(part)
        self._spill.hold(name, part)

    # --- in threads ---

    def _written(self, pieces: Sequence[bytes]) -> Sequence[bytes | SpilledBytes]:
        """Write the pieces; return where they are now."""
        try:
            if self._spill is None:
                return [LOST] * len(pieces)
            written = self._spill.write(pieces)
        except OSError as error:
            if not self._is_disk_full:
                self._is_disk_full = True
                _log.error(
                    "Upstream listings do not fit into memory ([upstream] memory) and cannot be "
                    "written to the state folder. They are requested again when they are needed: "
                    "{error}",
                    error=error,
                )
            return [LOST] * len(pieces)
        self._is_disk_full = False
        return written

    def _rewritten(self, pieces: Sequence[SpilledBytes]) -> Sequence[bytes | SpilledBytes]:
        """Write the first of the pieces once more; return where they are now: none, if they cannot
        be written.
        """
        moved: list[bytes | SpilledBytes] = []
        size = 0
        for part in pieces:
            try:
                [written] = self._written([part.read()])
            except Unreadable:
                moved.append(LOST)
                continue
            if written == LOST:
                return moved
            moved.append(written)
            size += len(part)
            if size > BATCH:
                break
        return moved


def _sizes(line: Line) -> tuple[int, int, int]:
    """Return the bytes that can leave the memory, those on disk, and those that stay in memory."""
    if isinstance(line, PackedLine):
        part = line.part
        if isinstance(part, SpilledBytes):
            return 0, len(part), len(line.beginning)
        return 0 if part is None else len(part), 0, len(line.beginning)
    if isinstance(line, bytes | LinePart):
        return (len(line), 0, 0) if len(line) >= SHORTEST else (0, 0, len(line))
    return 0, 0, 0
