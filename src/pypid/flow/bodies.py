"""Streaming bodies (`pypid.ports.Body`) of bytes in memory and of open files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from threading import local
from typing import BinaryIO

from attrs import define, field

from pypid.core.model import Span
from pypid.flow.world import Blocking
from pypid.ports import Body

_AT_ONCE = getattr(os, "RWF_NOWAIT", 0x8)
PIECE = 1 << 19
"""Bytes in one piece of a file, as it was read (cutting it again is a copy);
`web.http.response_body` lets a transport send it in one go.

500 MB to one client, on one core: 128 KiB 790 MB/s, 512 KiB 1,580, 1 MiB 1,980, nginx 2,190. Each
client holds two pieces.
"""


@define
class BytesBody:
    """A body of bytes in memory."""

    data: bytes = field(repr=False)

    @property
    def size(self) -> int | None:
        return len(self.data)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self.data:
            yield self.data

    async def aclose(self) -> None:
        return None


class _Buffer(local):
    """The buffer into which one thread reads. A new one for each piece costs ten times the copy:
    the system hands out and clears its memory again each time.
    """

    def __init__(self) -> None:
        self.view = memoryview(bytearray(PIECE))


_buffer = _Buffer()


def at_hand(descriptor: int, position: int, most: int) -> bytes:
    """Return what can be read of a file without waiting for a disk, at most `PIECE` bytes; b"" if
    that is not known (``preadv2(2)``, ``RWF_NOWAIT``).
    """
    view = _buffer.view[:most]
    try:
        return bytes(view[: os.preadv(descriptor, [view], position, _AT_ONCE)])
    except (
        OSError
    ):  # EAGAIN: the disk is needed; EOPNOTSUPP, EINVAL: this file system or kernel cannot say
        return b""


@define
class FileBody:
    """A body read from an open file (which it closes), in pieces of `PIECE` bytes.

    What the kernel has in memory is read at once, without waiting; all else is read off the reactor
    thread. (A turn in a thread costs more than the copy of a piece: it held back warm downloads.)

    `path` is where the file is stored, if it has a path: a store on the same file system may link
    it instead of copying. So give it only for a file that is never written to again (its name may
    be removed, and its mode may change). Raises `EOFError` if the file turns out shorter than
    `span`.
    """

    file: BinaryIO
    span: Span
    blocking: Blocking
    path: str | None = None
    in_memory: bool = False
    """Whether the file never needs a disk (``memfd_create(2)``)."""

    @property
    def size(self) -> int | None:
        return self.span.stop - self.span.start

    async def __aiter__(self) -> AsyncIterator[bytes]:
        position = self.span.start
        while position < self.span.stop:
            most = min(PIECE, self.span.stop - position)
            piece = self._at_hand(position, most) or await self.blocking(self._read, position, most)
            if not piece:
                raise EOFError("the file is shorter than it was")
            position += len(piece)
            yield piece

    async def have_at_hand(self, position: int, size: int) -> None:
        """Have the kernel keep these bytes in memory, for a caller that sends them without reading
        them (``sendfile``).

        Looks at the first and the last of them: the kernel reads ahead, and evicts, in longer
        stretches than a window of `sendfile`.
        """
        if self.in_memory or (self._at_hand(position, 1) and self._at_hand(position + size - 1, 1)):
            return
        await self.blocking(self._fetch, position, size)

    def _fetch(self, position: int, size: int) -> None:
        """Read the bytes by pieces and drop them at once: what is sent from the kernel's memory
        need not be in this process's memory too.
        """
        end = position + size
        while position < end:
            piece = self._read(position, min(PIECE, end - position))
            if not piece:
                raise EOFError("the file is shorter than it was")
            position += len(piece)

    def _at_hand(self, position: int, most: int) -> bytes:
        return at_hand(self.file.fileno(), position, most)

    def _read(self, position: int, most: int) -> bytes:
        self.file.seek(position)
        return self.file.read(most)

    async def aclose(self) -> None:
        self.file.close()


async def whole(body: Body, limit: int) -> bytes:
    """Return all of a small body, and close it; raises `ValueError` beyond `limit` bytes."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in body:
            size += len(piece)
            if size > limit:
                raise ValueError(f"the body is larger than {limit} bytes")
            pieces.append(piece)
    finally:
        await body.aclose()
    return b"".join(pieces)
