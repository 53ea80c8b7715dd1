"""Pages of another index, read off the reactor thread in slices, between which other threads get their turn."""

from __future__ import annotations

from collections.abc import Callable, Generator
from threading import Event
from time import sleep
from typing import TypeVar

from attrs import field, frozen
from twisted.internet.defer import DeferredSemaphore

from pypid.core.errors import BadListing
from pypid.flow import Blocking
from pypid.upstream.asking import Answer
from pypid.upstream.encodings import unpacked

T = TypeVar("T")
Slices = Generator[None, None, T]

AT_ONCE = 2
"""Pages that are read at the same time; more would only take turns with each other, and with the reactor."""
BREATH = 5e-5
"""Seconds of rest between two slices: Python's lock goes to the reactor, if it wants it, without its waiting 5 ms for it."""


async def received(answer: Answer, limit: int) -> bytearray:
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
class Reading:
    """Reads pages."""

    blocking: Blocking
    _turns: DeferredSemaphore = field(factory=lambda: DeferredSemaphore(AT_ONCE), repr=False)

    async def read(self, data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]) -> T:
        """What `slices` makes of the page, once its Content-Encoding is off. Raises what they raise."""
        nobody_waits = Event()
        await self._turns.acquire()
        try:
            return await self.blocking(_in_slices, _page(data, encoding, limit, slices), nobody_waits)
        finally:
            nobody_waits.set()
            self._turns.release()


def _page(data: bytearray, encoding: str, limit: int, slices: Callable[[bytearray], Slices[T]]) -> Slices[T]:
    plain = yield from unpacked(data, encoding, limit)
    return (yield from slices(plain))


def _in_slices(slices: Slices[T], nobody_waits: Event) -> T:
    while not nobody_waits.is_set():
        try:
            next(slices)
        except StopIteration as ended:
            result: T = ended.value
            return result
        sleep(BREATH)
    raise BadListing("nobody waits for it any more.")
