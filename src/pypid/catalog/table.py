"""A table of projects as lines, with a cache of decoded values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

from pypid.catalog.lines import CatalogLines, Line, LinePart, PendingLine, written
from pypid.core.lru import Recent
from pypid.core.model import Summary
from pypid.core.packaging.names import ProjectName
from pypid.flow import Blocking, start
from pypid.flow.single_flight import Flights

_log = Logger()
V = TypeVar("V")

DECODED = 256
"""How many projects stay decoded: those whose pages are rendered again and again while they are
published to.
"""
MOST_FILES = 150_000
"""How many files they may have together: some 80 MB, which the garbage collector need not look at.

An installer requests 100 projects, and files of each in turn: if not all stay decoded, each request
decodes them again.
"""
FEW = 256
"""Number of files up to which a line is encoded or decoded in the reactor thread: in some 2
milliseconds.
"""
SHORT = 1 << 17
"""Bytes of a line with about so many files."""


class Table(Generic[V]):
    """The `lines`, decoded by `load`. `files` counts the files of a value; `thinking` is for values
    with many (`World.thinking`).
    """

    def __init__(
        self, load: Callable[[bytes], V], files: Callable[[V], int], thinking: Blocking
    ) -> None:
        self.lines = CatalogLines()
        self._load = load
        self._files = files
        self._thinking = thinking
        self._recent: Recent[ProjectName, V] = Recent(DECODED, MOST_FILES)
        self._flights: Flights[ProjectName, None] = Flights()
        self._unwritten: dict[ProjectName, None] = {}
        self._writing = False

    def get(self, name: ProjectName) -> V | None:
        """Return the project now, however long decoding takes; None if there is no line."""
        held = self._recent.get(name)
        if held is not None:
            return held
        line = self.lines.get(name)
        if line is None:
            return None
        value: V = line.value if isinstance(line, PendingLine) else self._load(written(line))
        self._keep(name, value)
        return value

    async def at_hand(self, name: ProjectName) -> V | None:
        """Return the project; a long line is decoded off the reactor thread. It stays decoded until
        other callers have had their turn.
        """
        while self._takes_long(name):
            await self._flights.single(name, lambda: self._read(name))
        return self.get(name)

    def _takes_long(self, name: ProjectName) -> bool:
        line = self.lines.get(name)
        is_long = line is not None and not isinstance(line, PendingLine) and len(line) > SHORT
        return is_long and self._recent.get(name) is None

    async def _read(self, name: ProjectName) -> None:
        line = self.lines.get(name)
        if line is not None and not isinstance(line, PendingLine):
            value = await self._thinking(lambda: self._load(written(line)))
            if self.lines.get(name) is line:
                self._keep(name, value)

    def put(
        self, head: Summary, value: V, line: Line | Callable[[V], bytes], mark: str | None = None
    ) -> None:
        """Hold the value in place of an older one. `line` is its encoded line, or the function that
        encodes it.

        With few files it is encoded at once, and else by `write_down`; readers and dumps need not
        wait for it.
        """
        if not isinstance(line, bytes | LinePart | PendingLine):
            line = line(value) if self._files(value) <= FEW else PendingLine(value, line, mark)
        self.lines.put(head, line)
        self._keep(head.name, value)

    def put_line(self, head: Summary, line: Line) -> None:
        """Hold the line in place of an older one; it is decoded when it is read."""
        self.lines.put(head, line)
        self._recent.forget(head.name)

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
        self._recent.forget(name)

    def _keep(self, name: ProjectName, value: V) -> None:
        self._recent.put(name, value, 1 + self._files(value))
