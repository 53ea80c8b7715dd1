"""A file of theirs on its way in: one writes it to the spool, and any number read what is there already.

Each reader takes the bytes from the spool's file at its own pace, so that a slow client holds up nobody and costs no memory.
The last part is held back from all of them until the whole is proven: what a client has before that is short, and seen to be.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO

from attrs import define, field
from twisted.internet.defer import Deferred

from pypid.core.errors import StorageDown
from pypid.core.model import Span
from pypid.flow import PIECE, Blocking
from pypid.spool import Spool

HELD_BACK = 1 << 16
"""Bytes at the end that nobody gets until the hash is right; a smaller file is held back whole."""
NEAR = 1 << 20
"""Bytes that are waited for, rather than asking upstream for them once more."""


@define(eq=False)
class Growing:
    """The state of one fetch; it is looked at and changed on the reactor's thread only.

    `size` is what was announced, None where nobody said. `grew`, `prove`, `fail` and `end` are for whoever fetches.
    """

    blocking: Blocking
    size: int | None
    spool: Spool | None = field(default=None, repr=False)
    written: int = 0
    proven: bool = False
    error: BaseException | None = None
    over: bool = False
    """Whether it was stored, or will not be."""
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)
    _joining: int = field(default=0, init=False)

    # --- for the one who fetches ---

    def grew(self, written: int) -> None:
        """So many bytes lie in the spool's file."""
        self.written = max(self.written, written)
        self._ring()

    def prove(self) -> None:
        """All has come, and is what was listed: the part that was held back may go."""
        self.size = self.written
        self.proven = True
        self._ring()

    def fail(self, error: BaseException) -> None:
        """Nothing will come of it: every reader raises `error`, unless all was proven before."""
        if not self.proven:
            self.error = error
        self._ring()

    async def nobody_joins(self) -> None:
        """Wait until no reader is about to open the file; from then on, until the next pause, it may be removed."""
        while self._joining:
            await self._change()

    def end(self) -> None:
        """Nothing more will happen."""
        self.over = True
        self._ring()

    # --- for those who read ---

    async def ended(self) -> None:
        """Wait until nothing more will happen, whatever came of it."""
        while not self.over:
            await self._change()

    @property
    def reach(self) -> int:
        """How far it may be read now."""
        if self.proven:
            return self.written
        end = self.written if self.size is None else self.size
        return min(self.written, max(0, end - HELD_BACK))

    def is_near(self, span: Span) -> bool:
        """Whether the bytes are there, or will be in a moment."""
        return span.start <= self.written + NEAR

    async def join(self, start: int, stop: int | None) -> GrowingBody:
        """The bytes from `start` on, once the first of the file lie in the spool. Raises what the fetch failed with."""
        while not self.written and not self.proven:
            self._must_be_well()
            await self._change()
        self._must_be_well()
        assert self.spool is not None  # something was written
        self._joining += 1
        try:
            file = await self.blocking(self.spool.open_for_inspection)
        except (OSError, RuntimeError) as error:
            self._must_be_well()
            raise StorageDown("a file that was being fetched has gone from its spool.") from error
        finally:
            self._joining -= 1
            self._ring()
        return GrowingBody(self, file, start, stop)

    async def reaches(self, position: int) -> int:
        """Wait for a byte at `position` that may be read, or for the end; how far it may be read. Raises as `join`."""
        while True:
            self._must_be_well()
            if self.proven or self.reach > position:
                return self.reach
            await self._change()

    def _must_be_well(self) -> None:
        if self.error is not None:
            raise self.error

    async def _change(self) -> None:
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiting:  # cancelled
                self._waiting.remove(waiter)

    def _ring(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)


@define(eq=False)
class GrowingBody:
    """What one reader gets. Raises what the fetch fails with; then fewer bytes came than `size` says."""

    _growing: Growing
    _file: BinaryIO = field(repr=False)
    _start: int
    _stop: int | None

    @property
    def size(self) -> int | None:
        end = self._growing.size if self._stop is None else self._stop
        return None if end is None else end - self._start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._start
        while self._stop is None or position < self._stop:
            reach = await self._growing.reaches(position)
            end = reach if self._stop is None else min(reach, self._stop)
            if end <= position:
                break
            piece = await self._growing.blocking(self._read, position, min(PIECE, end - position))
            if not piece:
                raise EOFError("the spool is shorter than it was")
            position += len(piece)
            yield piece
        if self._stop is not None and position < self._stop:
            raise EOFError("the file is shorter than it was said to be")

    def _read(self, position: int, most: int) -> bytes:
        self._file.seek(position)
        return self._file.read(most)

    async def aclose(self) -> None:
        self._file.close()
