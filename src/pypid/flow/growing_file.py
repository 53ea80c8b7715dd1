"""A body that is read from a file while that file is still being written."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import BinaryIO

from attrs import define, field
from twisted.internet.defer import Deferred

from pypid.flow.bodies import PIECE, at_hand
from pypid.flow.world import Blocking
from pypid.ports import Body


@define(eq=False)
class GrowingFile:
    """A body of a file to which bytes are still appended. It has one reader, and closes the file.

    `grew` and `end` are for the writing side: the body ends only after `end`, so a store that reads
    it keeps nothing before that. `most` is the maximum number of bytes that may come.
    """

    file: BinaryIO = field(repr=False)
    blocking: Blocking = field(repr=False)
    most: int
    written: int = field(default=0, init=False)
    """Number of bytes that are in the file so far."""
    is_whole: bool = field(default=False, init=False)
    """Whether no more bytes will come."""
    _waiting: Deferred[None] | None = field(default=None, init=False, repr=False)

    @property
    def size(self) -> int | None:
        return self.written if self.is_whole else None

    def grew(self, written: int) -> None:
        """Note that so many bytes are in the file."""
        self.written = max(self.written, written)
        self._wake()

    def end(self, size: int) -> None:
        """Note that the file is complete with so many bytes, and may be stored."""
        self.written, self.is_whole = size, True
        self._wake()

    async def reaches(self, position: int) -> int:
        """Wait until there is a byte at `position`, or until the end; return how many bytes there
        are.
        """
        while self.written <= position and not self.is_whole:
            self._waiting = Deferred()
            await self._waiting
        return self.written

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = 0
        while position < (reach := await self.reaches(position)):
            most = min(PIECE, reach - position)
            descriptor = self.file.fileno()
            piece = at_hand(descriptor, position, most) or await self.blocking(
                os.pread, descriptor, most, position
            )
            if not piece:
                raise EOFError("the file is shorter than it was")
            position += len(piece)
            yield piece

    async def aclose(self) -> None:
        self.file.close()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


_: type[Body] = GrowingFile
