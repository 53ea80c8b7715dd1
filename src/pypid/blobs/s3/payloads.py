"""Payloads of requests to S3: bytes that can be sent twice, since a request may have to be
repeated.

A body can be read once. The bytes of a file are read from there again; everything else is collected
into parts of some megabytes.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import Any

from attrs import field, frozen

from pypid.blobs.keys import pieces
from pypid.flow import Blocking, BytesBody, FileBody
from pypid.flow.bodies import at_hand
from pypid.http_client.request_body import Payload
from pypid.ports import Body

MEBI = 1 << 20
SINGLE = 64 * MEBI
"""Maximum size of a payload sent in one request, if it can be read again."""
FILE_PART = 16 * MEBI
HELD_PART = 8 * MEBI
"""Size of parts collected in memory: of one body, at most four are held at a time."""
MOST_PARTS = 10_000
SENT = 1 << 18
"""Bytes handed to the connection at a time. It must accept them within the time-out for silence."""
AT_ONCE = 1 << 16
"""Maximum size hashed on the reactor thread: the round trip to a thread takes longer."""


@frozen
class BytesPayload:
    """A payload of bytes in memory."""

    data: Sequence[bytes] = field(repr=False)

    @property
    def size(self) -> int:
        return sum(map(len, self.data))

    async def pieces(self) -> AsyncGenerator[bytes]:
        for data in self.data:
            for start in range(0, len(data), SENT):
                yield data[start : start + SENT] if len(data) > SENT else data


@frozen
class FilePayload:
    """The bytes `start` up to `stop` of an open file. Raises `EOFError` if the file is shorter."""

    file: Any = field(repr=False)
    start: int
    stop: int
    blocking: Blocking = field(repr=False)

    @property
    def size(self) -> int:
        return self.stop - self.start

    async def pieces(self) -> AsyncGenerator[bytes]:
        position = self.start
        while position < self.stop:
            piece = self._at_hand(position) or await self.blocking(self.at, position)
            position += len(piece)
            yield piece

    def _at_hand(self, position: int) -> bytes:
        return at_hand(self.file.fileno(), position, min(SENT, self.stop - position))

    def at(self, position: int) -> bytes:
        """Return the next bytes from there. Blocks. (Unlike seek and read, it is safe in several
        threads at once.)
        """
        piece = os.pread(self.file.fileno(), min(SENT, self.stop - position), position)
        if not piece:
            raise EOFError("the file is shorter than it was")
        return piece


NOTHING = BytesPayload(())


async def digest(payload: Payload, blocking: Blocking) -> bytes:
    """Return the SHA-256 of a payload."""
    match payload:
        case BytesPayload() if payload.size <= AT_ONCE:
            return _held_digest(payload)
        case BytesPayload():
            return await blocking(_held_digest, payload)
        case FilePayload():
            return await blocking(_stretch_digest, payload)
    raise TypeError(f"{type(payload).__name__} is no payload of pypid")


def _held_digest(held: BytesPayload) -> bytes:
    hashing = sha256()
    for data in held.data:
        hashing.update(data)
    return hashing.digest()


def _stretch_digest(stretch: FilePayload) -> bytes:
    hashing = sha256()
    position = stretch.start
    while position < stretch.stop:
        piece = stretch.at(position)
        hashing.update(piece)
        position += len(piece)
    return hashing.digest()


async def parts_of(body: Body, blocking: Blocking) -> AsyncGenerator[Payload]:
    """Yield the body as parts for separate requests, at least one, which may be empty. All but the
    last have the same size.

    Raises `EOFError` if the body is not as long as announced, before the last part is yielded.
    Close it by hand.
    """
    match body:
        case BytesBody(data=data) if len(data) <= SINGLE:
            yield BytesPayload((data,))
        case FileBody(file=file, span=span) if _has_descriptor(file):
            size = span.stop - span.start
            for start, stop in _cuts(size, FILE_PART):
                yield FilePayload(file, span.start + start, span.start + stop, blocking)
        case BytesBody(data=data):
            for start, stop in _cuts(len(data), FILE_PART):
                yield BytesPayload((data[start:stop],))
        case _:
            async with aclosing(_collected(body)) as collected:
                async for part in collected:
                    yield part


def _has_descriptor(file: Any) -> bool:
    try:
        return isinstance(file.fileno(), int)
    except (OSError, AttributeError):
        return False


def _cuts(size: int, part: int) -> list[tuple[int, int]]:
    if size <= SINGLE:
        return [(0, size)]
    length = _part_size(size, part)
    return [(start, min(start + length, size)) for start in range(0, size, length)]


def _part_size(size: int | None, part: int) -> int:
    """Return the size of parts: larger if there would be too many; a whole number of mebibytes."""
    needed = -(-(size or 0) // MOST_PARTS)
    return max(part, -(-needed // MEBI) * MEBI)


async def _collected(body: Body) -> AsyncGenerator[BytesPayload]:
    length = _part_size(body.size, HELD_PART)
    held: list[bytes] = []
    missing = length
    async with aclosing(pieces(body)) as source:
        async for piece in source:
            rest = piece
            while len(rest) > missing:
                yield BytesPayload((*held, rest[:missing]))
                held, rest, missing = [], rest[missing:], length
            if not missing:  # only now is it certain that this part is not the last
                yield BytesPayload(tuple(held))
                held, missing = [], length
            held.append(rest)
            missing -= len(rest)
    yield BytesPayload(tuple(held))
