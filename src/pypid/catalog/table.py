"""The values of the catalog's lines, decoded when they are read; as many stay decoded as the memory
budget allows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

from pypid.catalog.lines import CatalogLines, DumpedLine, Line, LinePart, PendingLine, written
from pypid.catalog.packed_line import PackedLine
from pypid.core.memory_budget import BudgetedCache, MemoryBudget
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.flow import Blocking, start
from pypid.flow.single_flight import Flights

_log = Logger()
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
