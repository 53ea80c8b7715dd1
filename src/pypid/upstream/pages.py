"""Parsing upstream pages off the reactor thread, in slices, in turns."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic
from typing import Generic, TypeVar

from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore

from pypid.core.errors import BadListing
from pypid.flow import Blocking
from pypid.upstream.bodies import unpacked
from pypid.upstream.client import UpstreamResponse

T = TypeVar("T")
Slices = Generator[None, None, T]

AT_ONCE = 4
"""Pages parsed at the same time, in turns; the others wait unparsed."""
TURN = 0.005
"""Seconds of one turn; then other computations run (`World.thinking`)."""


async def received(answer: UpstreamResponse, limit: int) -> bytearray:
    """Return the page as received. Raises `BadListing` beyond `limit` bytes."""
    too_large = BadListing(f"it is larger than {limit >> 20} MiB.")
    if (answer.body.size or 0) > limit:
        raise too_large
    data = bytearray()
    async for piece in answer.body:
        data += piece
        if len(data) > limit:
            raise too_large
    return data


@frozen
class PageReader:
    """Parses pages in turns."""

    thinking: Blocking
    _places: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), repr=False)

    async def read(
        self, data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]
    ) -> T:
        """Return the result of `slices` for the page without its Content-Encoding. Raises what they
        raise.
        """
        await self._places.acquire()
        try:
            page = _page(data, encoding, limit, slices)
            done: _Done[T] | None = None
            while done is None:
                done = await self.thinking(_turn, page)
            return done.result
        finally:
            self._places.release()


@frozen
class _Done(Generic[T]):
    result: T


def _page(
    data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]
) -> Slices[T]:
    plain = yield from unpacked(data, encoding, limit)
    return (yield from slices(plain))


def _turn(slices: Slices[T]) -> _Done[T] | None:
    """Run some slices; return None if there are more."""
    end = monotonic() + TURN
    while monotonic() < end:
        try:
            next(slices)
        except StopIteration as ended:
            return _Done(ended.value)
    return None
