"""Pages of another index, read off the reactor thread in slices, turn and turn about."""

from __future__ import annotations

from collections.abc import Callable, Generator
from time import monotonic
from typing import Generic, TypeVar

from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore

from pypid.core.errors import BadListing
from pypid.flow import Blocking
from pypid.upstream.asking import UpstreamResponse
from pypid.upstream.encodings import unpacked

T = TypeVar("T")
Slices = Generator[None, None, T]

AT_ONCE = 4
"""Pages that are read at the same time, turn and turn about; the others wait as they came."""
TURN = 0.005
"""Seconds that one of them has; then whatever else computes has its turn (`World.thinking`)."""


async def received(answer: UpstreamResponse, limit: int) -> bytearray:
    """The page as it came. Raises `BadListing` beyond `limit` bytes."""
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
    """Reads pages."""

    thinking: Blocking
    _places: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), repr=False)

    async def read(
        self, data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]
    ) -> T:
        """What `slices` makes of the page, once its Content-Encoding is off. Raises what they
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
    """Some slices; None where there are more."""
    end = monotonic() + TURN
    while monotonic() < end:
        try:
            next(slices)
        except StopIteration as ended:
            return _Done(ended.value)
    return None
