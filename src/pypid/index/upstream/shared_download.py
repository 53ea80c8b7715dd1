"""A download shared by several readers: one fetch writes the file to the spool, and any number of
readers read what is there already.

Readers that keep up get the bytes from memory, as they come; slower ones read them from the spool
file at their own pace, so that a slow client delays no other and costs no memory. The last part is
held back from all of them until the whole is verified: what a client has before that is visibly too
short.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator

from attrs import define, field
from twisted.internet.defer import Deferred

from pypid.core.errors import StorageDown
from pypid.core.model import Span
from pypid.flow import Blocking
from pypid.flow.bodies import PIECE, at_hand
from pypid.flow.spool import Spool

HELD_BACK = 1 << 16
"""Bytes at the end that no reader gets until the hash is verified; a smaller file is held back
whole.
"""
NEAR = 1 << 20
"""Distance in bytes up to which a reader waits for this fetch instead of asking upstream again."""
RECENT = 1 << 18
"""Bytes that stay in memory once they are written, for readers that are a little behind."""
_NO_FILE = -1
"""The descriptor of a body of a file that was never written."""


@define(eq=False)
class SharedDownload:
    """The state of one fetch; used on the reactor thread only.

    `size` is what was announced, None if nothing was. `came`, `grew`, `prove`, `fail` and `end` are
    for the fetching side.
    """

    blocking: Blocking
    size: int | None
    spool: Spool | None = field(default=None, repr=False)
    written: int = 0
    proven: bool = False
    error: BaseException | None = None
    over: bool = False
    """Whether the fetch has ended: the file was stored, or will not be."""
    come: int = field(default=0, init=False)
    """Number of bytes received: those in the file (`written`), followed by those in memory only."""
    _recent: deque[tuple[int, bytes]] = field(factory=deque, init=False, repr=False)
    """The last pieces, each with its offset: all that are not written, and perhaps some that are.
    """
    _waiting: list[Deferred[None]] = field(factory=list, init=False, repr=False)

    # --- for the fetch ---

    def begin(self, spool: Spool) -> None:
        """Note the spool that the bytes will be written to."""
        self.spool = spool

    def announce(self, size: int | None) -> None:
        """Note the size that upstream announced with its response."""
        self.size = size

    def came(self, piece: bytes) -> None:
        """Add a piece that was received and will be written."""
        self._recent.append((self.come, piece))
        self.come += len(piece)
        self._let_go()
        if self.written:
            self._ring()

    def grew(self, written: int) -> None:
        """Note that so many bytes are in the spool file."""
        self.written = max(self.written, written)
        self._let_go()
        self._ring()

    def prove(self) -> None:
        """Note that all bytes are received, written and verified: release the part held back."""
        self.size = self.come
        self.proven = True
        self._ring()

    def fail(self, error: BaseException) -> None:
        """Note that the fetch failed: every reader raises `error`, unless all was verified
        before.
        """
        if not self.proven:
            self.error = error
        self._ring()

    def end(self) -> None:
        """Note that the fetch has ended."""
        self.over = True
        self._ring()

    # --- for readers ---

    async def ended(self) -> None:
        """Wait until the fetch has ended, successfully or not."""
        while not self.over:
            await self._change()

    @property
    def reach(self) -> int:
        """The offset up to which the file may be read now."""
        if self.proven:
            return self.come
        end = self.come if self.size is None else self.size
        return min(self.come, max(0, end - HELD_BACK))

    def is_near(self, span: Span) -> bool:
        """Return whether the start of the span is received, or will be soon."""
        return span.start <= self.come + NEAR

    async def join(self, start: int, stop: int | None) -> SharedDownloadBody:
        """Return a body from `start` on, once the first bytes of the file are in the spool: then
        the disk is not full, it seems. A small file, which stays in memory, is whole then.

        Raises what the fetch failed with.
        """
        while not self.written and not self.proven:
            self._must_be_well()
            await self._change()
        self._must_be_well()
        if not self.written:
            return SharedDownloadBody(self, _NO_FILE, start, stop)
        assert self.spool is not None  # something was written
        try:
            descriptor = (
                self.spool.descriptor_of_its_own()
            )  # now: it stays readable after the spool is removed
        except (OSError, RuntimeError) as error:
            raise StorageDown("a file that was being fetched has gone from its spool.") from error
        return SharedDownloadBody(self, descriptor, start, stop)

    def recent(self, start: int, stop: int) -> bytes:
        """Return these bytes, as far as they were received, if the first of them is in memory; else
        none.
        """
        found: list[bytes] = []
        for begins, piece in reversed(self._recent):  # usually it is the last one
            if begins < stop:
                found.append(
                    piece
                    if start <= begins and begins + len(piece) <= stop
                    else piece[max(0, start - begins) : stop - begins]
                )
            if begins <= start:
                found.reverse()
                return found[0] if len(found) == 1 else b"".join(found)
        return b""

    async def reaches(self, position: int) -> int:
        """Wait until the byte at `position` may be read, or for the end; return the offset up to
        which it may be read. Raises what `join` raises.
        """
        while True:
            self._must_be_well()
            if self.proven or self.reach > position:
                return self.reach
            await self._change()

    def _must_be_well(self) -> None:
        if self.error is not None:
            raise self.error

    def _let_go(self) -> None:
        while self._recent and self._recent[0][0] + len(self._recent[0][1]) <= min(
            self.written, self.come - RECENT
        ):
            self._recent.popleft()

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
class SharedDownloadBody:
    """The body that one reader gets. Raises what the fetch fails with, after fewer bytes than
    `size`.
    """

    _download: SharedDownload
    _descriptor: int = field(repr=False)
    _start: int
    _stop: int | None

    @property
    def size(self) -> int | None:
        end = self._download.size if self._stop is None else self._stop
        return None if end is None else end - self._start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self._start
        while self._stop is None or position < self._stop:
            reach = await self._download.reaches(position)
            end = reach if self._stop is None else min(reach, self._stop)
            if end <= position:
                break
            piece = await self._read(position, min(PIECE, end - position))
            if not piece:
                raise EOFError("the spool is shorter than it was")
            position += len(piece)
            yield piece
        if self._stop is not None and position < self._stop:
            raise EOFError("the file is shorter than it was said to be")

    async def _read(self, position: int, most: int) -> bytes:
        """Read from memory, from the page cache, or from the disk."""
        piece = self._download.recent(position, position + most) or at_hand(
            self._descriptor, position, most
        )
        return piece or await self._download.blocking(os.pread, self._descriptor, most, position)

    async def aclose(self) -> None:
        descriptor, self._descriptor = self._descriptor, _NO_FILE
        if descriptor != _NO_FILE:
            os.close(descriptor)
