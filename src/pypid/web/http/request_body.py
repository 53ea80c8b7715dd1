"""The body of a request as a stream from the parser to its reader."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime

from pypid.core.errors import Busy, PypidError, TooLarge, TooSlow
from pypid.flow import start, whole
from pypid.ports import Body

T = TypeVar("T")

FULL = 1 << 18
"""Bytes that may wait unread before reading from the client stops."""
PIECE_COST = 64
"""Overhead of a piece beside its bytes; counted, so that a body of one-byte chunks is bounded
too.
"""


@define(slots=False, repr=False)
class ClientGone(PypidError, status=400):
    """The connection was lost before the body was complete; no response can be sent."""

    def text(self) -> str:
        return "The client closed the connection before its request was complete."


class BodyFeed(Protocol):
    """The connection as a body sees it."""

    def bodyAsked(self) -> None:
        """Called when the reader waits for bytes and there are none."""

    def bodyDrained(self) -> None:
        """Called when the buffer has space again."""


class RequestBody:
    """A `pypid.ports.Body` that the connection fills; `size` is the Content-Length, None for a
    chunked body.

    Iterating raises `ClientGone`, or `BadRequest` if the framing is broken.
    """

    def __init__(self, size: int | None, feed: BodyFeed) -> None:
        self._size = size
        self._feed = feed
        self._pieces: deque[bytes] = deque()
        self._waiting = 0
        self._complete = False
        self._closed = False
        self._failure: Exception | None = None
        self._reader: Deferred[None] | None = None

    @property
    def size(self) -> int | None:
        return self._size

    @property
    def full(self) -> bool:
        """Whether so much waits unread that the client should pause."""
        return self._waiting > FULL

    # --- for the reader ---

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while True:
            if self._closed:
                raise RuntimeError("this body was closed")
            if self._pieces:
                return self._take()
            if self._failure is not None:
                raise self._failure
            if self._complete:
                raise StopAsyncIteration
            await self._more()

    def _take(self) -> bytes:
        """Return everything that waits as one piece, which saves the reader turns."""
        taken = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        self._feed.bodyDrained()
        return taken

    async def _more(self) -> None:
        if self._reader is not None:
            raise RuntimeError("this body is already being read")
        reader: Deferred[None] = Deferred()
        self._reader = reader
        self._feed.bodyAsked()
        try:
            await reader
        finally:
            self._reader = None

    async def aclose(self) -> None:
        """Stop reading: data that still comes is discarded."""
        self.discard()
        self.wake()

    # --- for the connection ---

    def feed(self, data: bytes) -> None:
        """Add bytes; the reader is not woken before `wake`."""
        if data and not self._closed:
            self._pieces.append(data)
            self._waiting += len(data) + PIECE_COST

    def end(self) -> None:
        """Mark the body as complete."""
        self._complete = True

    def fail(self, error: Exception) -> None:
        """Mark the body as failed: no more will come."""
        if not self._complete and self._failure is None:
            self._failure = error

    def discard(self) -> None:
        """Discard data that waits and data that will come."""
        self._closed = True
        self._pieces.clear()
        if self._waiting:
            self._waiting = 0
            self._feed.bodyDrained()

    def wake(self) -> None:
        """Resume a waiting reader, if there is data, the end or an error for it."""
        reader = self._reader
        if reader is not None and (
            self._pieces or self._complete or self._closed or self._failure is not None
        ):
            self._reader = None
            reader.callback(None)


@define(eq=False)
class BodyBudget:
    """Bounds the bytes that bodies hold together while they are read into memory for one
    purpose.
    """

    most: int
    taken: int = 0

    def take(self, size: int) -> None:
        """Count `size` bytes. Raises `Busy` if the budget is exhausted."""
        self.taken += size
        if self.taken > self.most:
            raise Busy("Too much is being sent at once.", 30)

    @contextmanager
    def counted(self, body: Body) -> Iterator[Body]:
        """Count what is read of the body until the end of the block. Reading raises `Busy` if the
        budget is exhausted.
        """
        counted = _Counted(body, self)
        try:
            yield counted
        finally:
            self.taken -= counted.taken


@define(eq=False)
class _Counted:
    """A body whose bytes are counted against a budget."""

    body: Body
    budget: BodyBudget
    taken: int = 0

    @property
    def size(self) -> int | None:
        return self.body.size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self.body:
            self.taken += len(piece)
            self.budget.take(len(piece))
            yield piece

    async def aclose(self) -> None:
        await self.body.aclose()


def refuse_early(size: int | None, limit: int, key: str | None = None) -> None:
    """Raise `TooLarge`, before the first byte is read, if the announced `size` is over `limit`."""
    if size is not None and size > limit:
        raise TooLarge(limit, key)


async def in_time(reading: Coroutine[Any, Any, T], seconds: float, clock: IReactorTime) -> T:
    """Return what `reading` the body returns. Raises `TooSlow` if that takes more `seconds`."""
    try:
        return await start(reading).addTimeout(seconds, clock)
    except TimedOut:
        raise TooSlow(seconds) from None


async def read_small(body: Body, limit: int) -> bytes:
    """Return all of a small body (a JSON document), closed; raises `TooLarge` beyond `limit`
    bytes.
    """
    refuse_early(body.size, limit)
    try:
        return await whole(body, limit)
    except ValueError:
        raise TooLarge(limit) from None
